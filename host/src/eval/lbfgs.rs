//! Minimising a smooth convex function: L-BFGS (Liu and Nocedal 1989). The same numbers on every run.

use std::collections::VecDeque;

/// Pairs of steps and changes of slope that are remembered.
const MEMORY: usize = 10;
/// Steps at most.
const MOST_STEPS: usize = 500;
/// The minimum is found where no slope is steeper.
const FLAT: f64 = 1e-7;
/// Part of the decrease that the slope promises with which a step is taken (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;
/// Curvature along a step below which nothing is learnt from it: a slope that is nearly straight would promise a minimum far away.
const STRAIGHT: f64 = 1e-9;
/// Halvings of a step at most.
const MOST_HALVINGS: usize = 40;

/// One step, and how the slopes changed over it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 / (step * change).
    inverse: f64,
}

/// Where `function`, which gives a value and its slopes, is smallest, searched from `start` on.
pub fn minimise(start: Vec<f64>, function: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Vec<f64> {
    let mut at = start;
    let (mut value, mut slopes) = function(&at);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    for _ in 0..MOST_STEPS {
        if slopes.iter().all(|slope| slope.abs() <= FLAT) {
            break;
        }
        let direction = direction(&slopes, &pairs);
        let promised = dot(&slopes, &direction);
        // Without a memory the slopes say nothing of a step's length.
        let first = if pairs.is_empty() { 1.0 / dot(&slopes, &slopes).sqrt().max(1.0) } else { 1.0 };
        let tried = (0..MOST_HALVINGS).map(|halvings| first * 0.5f64.powi(halvings as i32)).find_map(|length| {
            let to: Vec<f64> = at.iter().zip(&direction).map(|(at, d)| at + length * d).collect();
            let (new, slopes) = function(&to);
            (new <= value + SUFFICIENT * length * promised).then_some((to, new, slopes))
        });
        let Some((to, new, new_slopes)) = tried else {
            // What is remembered misleads; where nothing is, numbers have no more digits to go down by.
            if pairs.is_empty() {
                break;
            }
            pairs.clear();
            continue;
        };
        let step: Vec<f64> = to.iter().zip(&at).map(|(to, at)| to - at).collect();
        let change: Vec<f64> = new_slopes.iter().zip(&slopes).map(|(new, old)| new - old).collect();
        let curvature = dot(&step, &change);
        if curvature > STRAIGHT * dot(&step, &step) {
            pairs.push_back(Pair { step, change, inverse: 1.0 / curvature });
            if pairs.len() > MEMORY {
                pairs.pop_front();
            }
        }
        (at, value, slopes) = (to, new, new_slopes);
    }
    at
}

/// The slopes times the remembered estimate of the inverse Hessian, downhill: the two loops of the method.
fn direction(slopes: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut d: Vec<f64> = slopes.iter().map(|slope| -slope).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for Pair { step, change, inverse } in pairs.iter().rev() {
        let share = inverse * dot(step, &d);
        add(&mut d, change, -share);
        shares.push(share);
    }
    if let Some(Pair { change, inverse, .. }) = pairs.back() {
        let scale = 1.0 / (inverse * dot(change, change));
        d.iter_mut().for_each(|x| *x *= scale);
    }
    for (Pair { step, change, inverse }, share) in pairs.iter().zip(shares.into_iter().rev()) {
        let back = inverse * dot(change, &d);
        add(&mut d, step, share - back);
    }
    d
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64], times: f64) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steep_and_a_flat_axis_have_one_minimum() {
        // x^2 / 2 * scale about 1, 2, 3, ... with scales over six orders of magnitude.
        let scales = [1e-3, 1.0, 30.0, 1e3];
        let quadratic = |x: &[f64]| {
            let off = |i: usize| x[i] - (i + 1) as f64;
            let value = (0..4).map(|i| scales[i] * off(i) * off(i) / 2.0).sum();
            (value, (0..4).map(|i| scales[i] * off(i)).collect())
        };
        let found = minimise(vec![0.0; 4], quadratic);
        assert!(found.iter().enumerate().all(|(i, x)| (x - (i + 1) as f64).abs() < 1e-3), "{found:?}");
    }

    #[test]
    fn a_function_that_is_no_parabola() {
        // ln(e^x + e^-2x) is smallest where e^x = 2 e^-2x.
        let function = |x: &[f64]| {
            let [a, b] = [x[0].exp(), (-2.0 * x[0]).exp()];
            ((a + b).ln(), vec![(a - 2.0 * b) / (a + b)])
        };
        let found = minimise(vec![30.0], function);
        assert!((found[0] - 2f64.ln() / 3.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn nothing_is_done_at_the_minimum() {
        assert_eq!(minimise(vec![2.0], |x| ((x[0] - 2.0).powi(2), vec![2.0 * (x[0] - 2.0)])), [2.0]);
    }
}
