//! What int8 scores say: the best classes, and how clearly the first one leads.

use crate::quant::QuantParams;

/// A class and its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranked {
    /// Position among the classes.
    pub class: u16,
    /// Its int8 score; the larger the likelier.
    pub score: i8,
}

/// Fills `best` with the classes of the highest scores, best first; the lower class wins a tie.
/// Returns the part that was filled: fewer than asked for where there are fewer classes.
pub fn top_k<'a>(scores: &[i8], best: &'a mut [Ranked]) -> &'a [Ranked] {
    let mut filled = 0;
    for (class, &score) in (0..=u16::MAX).zip(scores) {
        let rank = best[..filled].iter().position(|b| score > b.score).unwrap_or(filled);
        if rank == best.len() {
            continue;
        }
        filled = (filled + 1).min(best.len());
        best.copy_within(rank..filled - 1, rank + 1);
        best[rank] = Ranked { class, score };
    }
    &best[..filled]
}

/// The best class; the first of equals, and class 0 where there are no scores.
pub fn best(scores: &[i8]) -> Ranked {
    let mut one = [Ranked::default()];
    top_k(scores, &mut one);
    one[0]
}

/// By how much the best score leads the second, in the real unit of the scores (logits): 0 where two are level or there is
/// no second.
pub fn margin(scores: &[i8], params: QuantParams) -> f32 {
    let mut two = [Ranked::default(); 2];
    match top_k(scores, &mut two) {
        [first, second] => (i32::from(first.score) - i32::from(second.score)) as f32 * params.scale,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_go_to_the_lower_class() {
        let mut room = [Ranked::default(); 3];
        let classes = |scores: &[i8], room: &mut [Ranked]| {
            top_k(scores, room).iter().map(|r| r.class).collect::<std::vec::Vec<_>>()
        };
        for (scores, expected) in [
            (&[1i8, 5, 3, 5, -2][..], &[1u16, 3, 2][..]),
            (&[-128, -128, -128, -128], &[0, 1, 2]),
            (&[1, 2, 3, 4], &[3, 2, 1]),
            // Fewer classes than places.
            (&[7], &[0]),
            (&[], &[]),
        ] {
            assert_eq!(classes(scores, &mut room), expected, "{scores:?}");
            assert_eq!(best(scores).class, expected.first().copied().unwrap_or(0));
        }
        assert!(classes(&[1, 2], &mut []).is_empty());
    }

    #[test]
    fn the_margin_is_in_logits() {
        let params = QuantParams { scale: 0.5, zero: 3 };
        assert_eq!(margin(&[-128, 127, 100], params), 13.5);
        assert_eq!(margin(&[4, 4], params), 0.0);
        assert_eq!(margin(&[4], params), 0.0);
    }
}
