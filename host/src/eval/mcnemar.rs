//! Whether two classifiers differ by more than chance: McNemar's test on the images that only one of them classifies correctly
//! (McNemar 1947; Dietterich 1998 recommends it for two classifiers and one test set).

use serde::Serialize;

/// Images that only one side has right below which the exact binomial test is taken, as is usual: the chi-squared distribution
/// is an approximation for many.
const MANY: usize = 25;

/// Which form of the test gave a p-value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The two-sided binomial test with probability 1/2.
    Exact,
    /// `(|b - c| - 1)^2 / (b + c)`, chi-squared with one degree of freedom and Edwards' continuity correction.
    ChiSquared,
}

impl Form {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact binomial",
            Self::ChiSquared => "chi-squared with continuity correction",
        }
    }
}

/// The test's result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Images that only the first classifier has right.
    pub first_only: usize,
    /// Images that only the second has right.
    pub second_only: usize,
    /// Which form of the test it is.
    pub form: Form,
    /// Probability of a difference as large as this one or larger if both classifiers are equally good.
    pub p_value: f64,
}

impl McNemar {
    /// Compares the classes that two classifiers give to the same images, `(n)` each, by the images' `labels`, `(n)`.
    pub fn of(first: &[usize], second: &[usize], labels: &[u16]) -> Self {
        let (mut first_only, mut second_only) = (0, 0);
        for ((&first, &second), &label) in first.iter().zip(second).zip(labels) {
            let label = usize::from(label);
            first_only += usize::from(first == label && second != label);
            second_only += usize::from(second == label && first != label);
        }
        Self::new(first_only, second_only)
    }

    /// The test of so many images that only the first, and only the second, has right.
    pub fn new(first_only: usize, second_only: usize) -> Self {
        let all = first_only + second_only;
        let (form, p_value) = if all < MANY {
            (Form::Exact, binomial(first_only.min(second_only), all))
        } else {
            let apart = first_only.abs_diff(second_only).saturating_sub(1) as f64;
            (Form::ChiSquared, erfc((apart * apart / all as f64 / 2.0).sqrt()))
        };
        Self { first_only, second_only, form, p_value }
    }
}

/// Two-sided probability that at most `fewer` or at least `all - fewer` of `all` fair coins show heads.
fn binomial(fewer: usize, all: usize) -> f64 {
    let mut ways = 1.0;
    let mut sum = 0.0;
    for k in 0..=fewer {
        sum += ways;
        ways *= (all - k) as f64 / (k + 1) as f64;
    }
    (2.0 * sum / 2f64.powi(all as i32)).min(1.0)
}

/// The complementary error function of `x >= 0`, to about 1e-14 of itself: by the series of `erf` for small `x`, else by Laplace's
/// continued fraction from its far end (Abramowitz and Stegun, 7.1.6 and 7.1.14).
fn erfc(x: f64) -> f64 {
    const ROOT_PI: f64 = 1.772_453_850_905_516;
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - 2.0 / ROOT_PI * (-x * x).exp() * sum;
    }
    let fraction = (1..=200).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    (-x * x).exp() / (ROOT_PI * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found / expected - 1.0).abs() < relative, "{found}, expected {expected}");
    }

    #[test]
    fn published_examples() {
        // https://en.wikipedia.org/wiki/McNemar%27s_test: 6 and 16, exact; 121 and 59, which statsmodels documents, too.
        let few = McNemar::new(6, 16);
        assert_eq!(few.form, Form::Exact);
        close(few.p_value, 0.0525, 0.002);
        let many = McNemar::new(121, 59);
        assert_eq!(many.form, Form::ChiSquared);
        close(many.p_value, 5.45e-6, 0.001);
        // https://rasbt.github.io/mlxtend/user_guide/evaluate/mcnemar: 25 and 15, chi-squared 2.025.
        close(McNemar::new(15, 25).p_value, 0.154_7, 0.001);
        assert_eq!(McNemar::new(0, 0).p_value, 1.0);
        assert_eq!(McNemar::new(7, 7).p_value, 1.0);
        close(McNemar::new(0, 5).p_value, 2.0 / 32.0, 1e-12);
    }

    #[test]
    fn the_complementary_error_function() {
        // By Python's math.erfc.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.999, 0.004_698_443_348_629_488),
            (2.0, 0.004_677_734_981_047_266),
            (5.0, 1.537_459_794_428_035e-12),
        ] {
            close(erfc(x), expected, 1e-12);
        }
    }

    #[test]
    fn only_disagreements_about_the_label_count() {
        let found = McNemar::of(&[0, 0, 1, 2, 1], &[0, 1, 0, 1, 1], &[0, 0, 0, 0, 1]);
        assert_eq!((found.first_only, found.second_only, found.form), (1, 1, Form::Exact));
    }
}
