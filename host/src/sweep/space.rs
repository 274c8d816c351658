//! What is searched: a range of values for each of some keys of a recipe.
//!
//! A point of the space is a coordinate for each key. Samplers know coordinates alone; recipes and the journal have
//! values, as texts `KEY=VALUE`.

use crate::recipe::Recipe;
use anyhow::{Context, Result, bail, ensure};
use toml::{Table, Value};

/// Significant digits of a value that was drawn from a range of real numbers: a recipe with more would only be harder to read.
const DIGITS: usize = 4;
/// Most values that a key may have, where they are counted.
const MOST_VALUES: i64 = 1 << 32;

/// The keys that are searched, in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Space(Vec<Key>);

/// A key of a recipe, and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its dotted name: `train.lr`.
    pub name: String,
    /// Its values.
    pub range: Range,
}

/// The values that a key may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// One of these, in no order that matters.
    Choices(Vec<Value>),
    /// Whole numbers from the first on, a step apart.
    Steps {
        /// The smallest.
        from: i64,
        /// From one to the next.
        step: i64,
        /// How many there are.
        count: i64,
    },
    /// Whole numbers, drawn by their logarithm.
    Magnitudes {
        /// The smallest, at least 1.
        from: i64,
        /// The largest.
        to: i64,
    },
    /// Real numbers, evenly spaced, by their logarithm or not.
    Points {
        /// The smallest.
        from: f64,
        /// The largest.
        to: f64,
        /// Whether their logarithms are evenly spaced.
        log: bool,
        /// How many there are, at least 2.
        count: i64,
    },
    /// Any real number.
    Real {
        /// The smallest.
        from: f64,
        /// The largest.
        to: f64,
        /// Whether it is drawn by its logarithm.
        log: bool,
    },
}

/// What a sampler knows of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dimension {
    /// Numbers below this one, in no order that matters.
    Choice(usize),
    /// Whole numbers below this one.
    Grid(i64),
    /// Real numbers between two.
    Real(f64, f64),
}

/// A coordinate for each key: the number of a choice or of a step, or a real number.
pub type Point = Vec<f64>;

impl Space {
    /// Reads the section `[search]` of a study: keys of `recipe` with arrays of choices or tables `{ from, to, ... }`, as dotted names
    /// or in sections.
    ///
    /// # Errors
    /// No keys, a key that no recipe has, or a range that makes no sense for it; names the key and the remedy.
    pub fn parse(search: &Table, recipe: &Recipe) -> Result<Self> {
        let mut keys = Vec::new();
        collect(search, "", &mut keys)?;
        ensure!(
            !keys.is_empty(),
            "[search] names no key of the recipe: give at least one, for example \"train.lr\" = {{ from = 0.01, to = 0.3, log = true }}"
        );
        for Key { name, range } in &keys {
            for value in range.samples() {
                recipe.check_key(name, value.clone()).with_context(|| format!("search.{name} = {value}"))?;
            }
        }
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(keys))
    }

    /// The keys.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// How many points there are; nothing where a key is any real number, or there are more than anybody counts.
    pub fn size(&self) -> Option<u64> {
        self.0.iter().try_fold(1u64, |size, key| size.checked_mul(key.range.count()?))
    }

    /// The point with this number of all, the last key changing fastest; nothing where there are fewer, or no numbers.
    pub fn numbered(&self, mut number: u64) -> Option<Point> {
        let mut point = vec![0.0; self.0.len()];
        for (at, key) in point.iter_mut().zip(&self.0).rev() {
            let count = key.range.count()?;
            *at = key.range.numbered(number % count);
            number /= count;
        }
        (number == 0).then_some(point)
    }

    /// `KEY=VALUE` of each key, as [`Recipe::with`] takes it.
    pub fn texts(&self, point: &[f64]) -> Vec<String> {
        self.0.iter().zip(point).map(|(key, &at)| format!("{}={}", key.name, key.range.value(at))).collect()
    }

    /// The point that [`Space::texts`] wrote down.
    ///
    /// # Errors
    /// The texts are of other keys or have values that these may not have.
    pub fn point(&self, texts: &[String]) -> Result<Point> {
        ensure!(texts.len() == self.0.len(), "{} keys, not {}", texts.len(), self.0.len());
        let coordinate = |(key, text): (&Key, &String)| {
            let value = text.strip_prefix(&key.name).and_then(|rest| rest.strip_prefix('='));
            let value = value.with_context(|| format!("{text:?} is no value of {}", key.name))?;
            key.range.coordinate(value).with_context(|| format!("{} cannot be {value}", key.name))
        };
        self.0.iter().zip(texts).map(coordinate).collect()
    }
}

/// Finds the keys below `table`, whose dotted name is `prefix`.
fn collect(table: &Table, prefix: &str, keys: &mut Vec<Key>) -> Result<()> {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(section) if !section.contains_key("from") && !section.contains_key("to") => {
                collect(section, &name, keys)?
            }
            value => {
                let range = Range::parse(value).with_context(|| format!("search.{name}"))?;
                ensure!(
                    keys.iter().all(|key| key.name != name),
                    "search.{name} is given twice, as a dotted name and in a section: leave one out"
                );
                keys.push(Key { name, range });
            }
        }
    }
    Ok(())
}

impl Range {
    fn parse(value: &Value) -> Result<Self> {
        match value {
            Value::Array(choices) => {
                ensure!(!choices.is_empty(), "the list of choices is empty: give at least one value");
                let is_new = |i: &usize| !choices[..*i].contains(&choices[*i]);
                let double = (0..choices.len()).find(|i| !is_new(i));
                ensure!(
                    double.is_none(),
                    "the choice {} is given twice: leave one out",
                    choices[double.unwrap_or_default()]
                );
                Ok(Self::Choices(choices.clone()))
            }
            Value::Table(range) => Self::between(range),
            other => bail!(
                "{other} is one value: give a list of choices, [{other}, ...], or a range, {{ from = ..., to = ... }}; a key that stays the \
                 same belongs in [set]"
            ),
        }
    }

    /// The range of a table `{ from, to, log, step, count }`.
    fn between(range: &Table) -> Result<Self> {
        const KEYS: [&str; 5] = ["from", "to", "log", "step", "count"];
        if let Some(unknown) = range.keys().find(|key| !KEYS.contains(&key.as_str())) {
            bail!("unknown key {unknown:?} of a range; there are: {}", KEYS.join(", "));
        }
        let log = match range.get("log") {
            None => false,
            Some(Value::Boolean(log)) => *log,
            Some(other) => bail!("log = {other} is neither true nor false"),
        };
        let end =
            |key: &str| range.get(key).with_context(|| format!("the range has no {key:?}: give both from and to"));
        let whole = |key: &str| match range.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) if *value > 0 => Ok(Some(*value)),
            Some(other) => bail!("{key} = {other} is not a whole number above 0"),
        };
        match (end("from")?, end("to")?) {
            (&Value::Integer(from), &Value::Integer(to)) => {
                ensure!(from < to, "from = {from} is not below to = {to}: exchange them");
                ensure!(to.checked_sub(from).is_some_and(|span| span < MOST_VALUES), "from {from} to {to} is too wide");
                ensure!(!range.contains_key("count"), "count is for real numbers; whole ones have a step");
                let step = whole("step")?;
                if log {
                    ensure!(from >= 1, "from = {from} has no logarithm: begin at 1 or above, or leave out log");
                    ensure!(step.is_none(), "step and log exclude each other: leave one out");
                    return Ok(Self::Magnitudes { from, to });
                }
                let step = step.unwrap_or(1);
                Ok(Self::Steps { from, step, count: (to - from) / step + 1 })
            }
            (from, to) => {
                let (from, to) = (number("from", from)?, number("to", to)?);
                ensure!(from < to, "from = {from} is not below to = {to}: exchange them");
                ensure!(!log || from > 0.0, "from = {from} has no logarithm: begin above 0, or leave out log");
                ensure!(!range.contains_key("step"), "step is for whole numbers; of real ones, give their count");
                match whole("count")? {
                    None => Ok(Self::Real { from, to, log }),
                    Some(1) => bail!("count = 1 leaves out one end of the range: give at least 2"),
                    Some(count) => Ok(Self::Points { from, to, log, count: count.min(MOST_VALUES) }),
                }
            }
        }
    }

    /// What a sampler knows of it.
    pub fn dimension(&self) -> Dimension {
        match *self {
            Self::Choices(ref choices) => Dimension::Choice(choices.len()),
            Self::Steps { count, .. } | Self::Points { count, .. } => Dimension::Grid(count),
            Self::Magnitudes { from, to } => Dimension::Real((from as f64).ln(), (to as f64).ln()),
            Self::Real { from, to, log } => Dimension::Real(along(from, log), along(to, log)),
        }
    }

    /// How many values there are; nothing for any real number.
    pub fn count(&self) -> Option<u64> {
        match *self {
            Self::Choices(ref choices) => Some(choices.len() as u64),
            Self::Steps { count, .. } | Self::Points { count, .. } => Some(count as u64),
            Self::Magnitudes { from, to } => Some((to - from) as u64 + 1),
            Self::Real { .. } => None,
        }
    }

    /// The coordinate of the value with this number, below [`Range::count`].
    fn numbered(&self, number: u64) -> f64 {
        match *self {
            Self::Magnitudes { from, .. } => ((from + number as i64) as f64).ln(),
            _ => number as f64,
        }
    }

    /// The value at a coordinate.
    pub fn value(&self, at: f64) -> Value {
        match *self {
            Self::Choices(ref choices) => choices[(at.max(0.0) as usize).min(choices.len() - 1)].clone(),
            Self::Steps { from, step, count } => Value::Integer(from + step * (at.round() as i64).clamp(0, count - 1)),
            Self::Magnitudes { from, to } => Value::Integer((at.exp().round() as i64).clamp(from, to)),
            Self::Points { from, to, log, count } => {
                let part = at.round().clamp(0.0, (count - 1) as f64) / (count - 1) as f64;
                let (low, high) = (along(from, log), along(to, log));
                Value::Float(rounded(back(low + part * (high - low), log)).clamp(from, to))
            }
            Self::Real { from, to, log } => Value::Float(rounded(back(at, log)).clamp(from, to)),
        }
    }

    /// The coordinate of a value that [`Range::value`] gave, as text; nothing where it never gives that.
    fn coordinate(&self, text: &str) -> Option<f64> {
        let within = |x: f64, low: f64, high: f64| (low..=high).contains(&x).then_some(x);
        match *self {
            Self::Choices(ref choices) => {
                choices.iter().position(|choice| choice.to_string() == text).map(|at| at as f64)
            }
            Self::Steps { from, step, count } => {
                let beyond = text.parse::<i64>().ok()?.checked_sub(from)?;
                (beyond % step == 0 && (0..count).contains(&(beyond / step))).then_some((beyond / step) as f64)
            }
            Self::Magnitudes { from, to } => {
                within(text.parse::<i64>().ok()? as f64, from as f64, to as f64).map(f64::ln)
            }
            Self::Points { from, to, log, count } => {
                let value = within(text.parse().ok()?, from, to)?;
                let (low, high) = (along(from, log), along(to, log));
                Some(((along(value, log) - low) / (high - low) * (count - 1) as f64).round())
            }
            Self::Real { from, to, log } => within(text.parse().ok()?, from, to).map(|value| along(value, log)),
        }
    }

    /// Where a coordinate lies on an axis, as a part of 1.
    pub fn part(&self, at: f64) -> f64 {
        let part = |at: f64, low: f64, high: f64| if high > low { (at - low) / (high - low) } else { 0.5 };
        match self.dimension() {
            Dimension::Choice(count) => part(at, 0.0, count as f64 - 1.0),
            Dimension::Grid(count) => part(at, 0.0, count as f64 - 1.0),
            Dimension::Real(low, high) => part(at, low, high),
        }
    }

    /// Names of the ends of its axis; of all of its choices.
    pub fn labels(&self) -> Vec<(f64, String)> {
        let label = |at: f64| (self.part(at), self.value(at).to_string().trim_matches('"').to_owned());
        match self.dimension() {
            Dimension::Choice(count) => (0..count).map(|at| label(at as f64)).collect(),
            Dimension::Grid(1) => vec![label(0.0)],
            Dimension::Grid(count) => vec![label(0.0), label((count - 1) as f64)],
            Dimension::Real(low, high) => vec![label(low), label(high)],
        }
    }

    /// Values that its key must take: all choices, or both ends.
    fn samples(&self) -> Vec<Value> {
        match self.dimension() {
            Dimension::Choice(count) => (0..count).map(|at| self.value(at as f64)).collect(),
            Dimension::Grid(count) => vec![self.value(0.0), self.value((count - 1) as f64)],
            Dimension::Real(low, high) => vec![self.value(low), self.value(high)],
        }
    }
}

fn number(key: &str, value: &Value) -> Result<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
    number.filter(|number| number.is_finite()).with_context(|| format!("{key} = {value} is not a number"))
}

/// `value`, or its logarithm.
fn along(value: f64, log: bool) -> f64 {
    if log { value.ln() } else { value }
}

/// The inverse of [`along`].
fn back(value: f64, log: bool) -> f64 {
    if log { value.exp() } else { value }
}

/// `value` with [`DIGITS`] significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(search: &str) -> Result<Space> {
        Space::parse(&search.parse().unwrap(), &Recipe::default())
    }

    #[test]
    fn every_kind_of_range_has_values_that_are_found_again() {
        let space = space(
            "model = ['cnn', 'linear']\n\
             [net]\nblocks = [[[8]], [[8], [16, 16]]]\ndense = { from = 16, to = 64, step = 16 }\n\
             [train]\nlr = { from = 0.001, to = 1.0, log = true }\nbatch-size = { from = 8, to = 512, log = true }\n\
             momentum = { from = 0.5, to = 0.9, count = 5 }\nsmoothing = { from = 0.0, to = 0.3 }",
        )
        .unwrap();
        let names: Vec<&str> = space.keys().iter().map(|key| key.name.as_str()).collect();
        let expected =
            ["model", "net.blocks", "net.dense", "train.batch-size", "train.lr", "train.momentum", "train.smoothing"];
        assert_eq!(names, expected);
        let point = vec![1.0, 1.0, 3.0, 100f64.ln(), 0.0123456f64.ln(), 2.0, 0.123456];
        let texts = space.texts(&point);
        let expected = [
            "model=\"linear\"",
            "net.blocks=[[8], [16, 16]]",
            "net.dense=64",
            "train.batch-size=100",
            "train.lr=0.01235",
            "train.momentum=0.7",
            "train.smoothing=0.1235",
        ];
        assert_eq!(texts, expected);
        assert_eq!(space.texts(&space.point(&texts).unwrap()), texts);
        // Beyond its ends no coordinate leads.
        for far in [-1e9, 1e9] {
            let texts = space.texts(&[far; 7]);
            assert_eq!(space.texts(&space.point(&texts).unwrap()), texts);
        }
        assert!(space.point(&texts[1..]).is_err());
        assert!(space.point(&[&["model=\"lenet\"".to_owned()], &texts[1..]].concat()).is_err());
        assert_eq!(space.size(), None);
    }

    #[test]
    fn points_are_counted_where_they_can_be() {
        let space = space("model = ['cnn', 'linear']\n'train.epochs' = { from = 1, to = 3 }").unwrap();
        assert_eq!(space.size(), Some(6));
        let all: Vec<String> = (0..6).map(|i| space.texts(&space.numbered(i).unwrap()).join(" ")).collect();
        assert_eq!(all[0], "model=\"cnn\" train.epochs=1");
        assert_eq!(all[5], "model=\"linear\" train.epochs=3");
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        assert_eq!(space.numbered(6), None);
        let log = Range::Magnitudes { from: 1, to: 4 };
        let values: Vec<Value> = (0..4).map(|i| log.value(log.numbered(i))).collect();
        assert_eq!(values, [1, 2, 3, 4].map(Value::Integer));
    }

    #[test]
    fn mistakes_are_told_with_the_key_and_the_remedy() {
        for (search, parts) in [
            ("", &["[search]", "at least one"][..]),
            ("'train.lr' = 0.1", &["search.train.lr", "list of choices", "[set]"]),
            ("'train.lr' = []", &["search.train.lr", "empty"]),
            ("'train.lr' = [0.1, 0.2, 0.1]", &["search.train.lr", "0.1 is given twice"]),
            ("'train.lr' = { from = 0.1 }", &["search.train.lr", "no \"to\""]),
            ("'train.lr' = { from = 0.3, to = 0.1 }", &["search.train.lr", "exchange them"]),
            ("'train.lr' = { from = 0.0, to = 0.1, log = true }", &["search.train.lr", "begin above 0"]),
            (
                "'train.lr' = { from = 0.1, to = 0.2, low = 1 }",
                &["search.train.lr", "\"low\"", "from, to, log, step, count"],
            ),
            ("'train.lr' = { from = 0.1, to = 0.2, step = 1 }", &["search.train.lr", "count"]),
            ("'train.lr' = { from = 0.1, to = 0.2, count = 1 }", &["search.train.lr", "at least 2"]),
            ("'train.lr' = { from = 0.1, to = 'b' }", &["search.train.lr", "not a number"]),
            ("'train.lr' = { from = 0.1, to = 0.2, log = 1 }", &["search.train.lr", "neither true nor false"]),
            ("'train.epochs' = { from = 0, to = 9, log = true }", &["search.train.epochs", "begin at 1"]),
            ("'train.epochs' = { from = 1, to = 9, log = true, step = 2 }", &["search.train.epochs", "leave one out"]),
            ("'train.epochs' = { from = 1, to = 9, count = 2 }", &["search.train.epochs", "step"]),
            ("'train.epochs' = { from = 1.5, to = 9.0 }", &["search.train.epochs", "1.5"]),
            ("'train.speed' = [1, 2]", &["search.train.speed", "unknown field `speed`"]),
            ("'trian.lr' = [1, 2]", &["search.trian.lr", "unknown field `trian`"]),
            ("model = ['lenet']", &["search.model", "lenet"]),
            ("'train.lr' = [0.1]\n[train]\nlr = [0.2]", &["search.train.lr", "twice"]),
        ] {
            let error = format!("{:#}", space(search).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{search}: {part:?} is not in: {error}");
            }
        }
    }
}
