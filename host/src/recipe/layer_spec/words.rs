//! The words of a line.

use super::window::{Filter, Pool};
use anyhow::{Context, Result, bail, ensure};
use std::str::FromStr;

/// A line, taken word by word.
pub struct Words<'a> {
    /// What stands without a name.
    plain: Vec<&'a str>,
    /// `name=value`.
    named: Vec<(&'a str, &'a str)>,
}

/// What `text` names a layer.
pub fn name(text: &str) -> Result<String> {
    let text = text.trim();
    let is_part = |c: char| c.is_alphanumeric() || ['-', '_', '.', '/'].contains(&c);
    ensure!(
        !text.is_empty() && text.chars().all(is_part),
        "{text:?} cannot name a layer: letters, digits, and any of - _ . /"
    );
    Ok(text.to_owned())
}

impl<'a> Words<'a> {
    /// The first word of `text`, and the others.
    pub fn of(text: &'a str) -> Result<(&'a str, Self)> {
        let mut words = text.split_whitespace();
        let kind = words.next().context("it is empty")?;
        let (named, plain): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains('='));
        Ok((kind, Self { plain, named: named.into_iter().filter_map(|word| word.split_once('=')).collect() }))
    }

    /// The next word without a name, which is `what`.
    pub fn one<T: FromStr>(&mut self, what: &str) -> Result<T> {
        ensure!(!self.plain.is_empty(), "{what} is missing");
        let word = self.plain.remove(0);
        word.parse().ok().with_context(|| format!("{word:?} is not {what}"))
    }

    /// All words without a name, of which there is one at least.
    pub fn rest<T: FromStr>(&mut self, what: &str) -> Result<Vec<T>> {
        let first = self.one(what)?;
        let others = (0..self.plain.len()).map(|_| self.one(what)).collect::<Result<Vec<T>>>()?;
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// The value of `name`, if it is there.
    pub fn named<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().ok().map(Some).with_context(|| format!("{value:?} cannot be its {name}"))
    }

    /// How many outputs there are.
    pub fn outputs(&mut self) -> Result<u16> {
        let outputs = self.one("a number of outputs, 1 to 65535")?;
        ensure!(outputs > 0, "it has no outputs");
        Ok(outputs)
    }

    pub fn filter(&mut self) -> Result<Filter> {
        let kernel = self.size("kernel")?.unwrap_or([3; 2]);
        let [h, w] = kernel.map(|size| size / 2);
        Ok(Filter {
            kernel,
            stride: self.size("stride")?.unwrap_or([1; 2]),
            padding: self.padding()?.unwrap_or([h, w, h, w]),
            bias: self.named("bias")?.unwrap_or(true),
        })
    }

    pub fn pool(&mut self) -> Result<Pool> {
        ensure!(!self.plain.is_empty(), "the size of a window is missing");
        let size = size(self.plain.remove(0), "size")?;
        Ok(Pool { size, stride: self.size("stride")?.unwrap_or(size), padding: self.padding()?.unwrap_or([0; 4]) })
    }

    /// There is no other word in a line of this `kind`.
    pub fn end(&self, kind: &str) -> Result<()> {
        if let Some(word) = self.plain.first() {
            bail!("{word:?} is one word too many");
        }
        if let Some((name, _)) = self.named.first() {
            bail!("{kind} has no {name}, or it is given twice");
        }
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.named.iter().position(|&(given, _)| given == name)?;
        Some(self.named.remove(at).1)
    }

    fn size(&mut self, name: &str) -> Result<Option<[u8; 2]>> {
        self.take(name).map(|text| size(text, name)).transpose()
    }

    fn padding(&mut self) -> Result<Option<[u8; 4]>> {
        let Some(text) = self.take("padding") else { return Ok(None) };
        let sides: Option<Vec<u8>> = text.split(',').map(|side| side.parse().ok()).collect();
        match sides.as_deref() {
            Some(&[all]) => Ok(Some([all; 4])),
            Some(&[top, left, bottom, right]) => Ok(Some([top, left, bottom, right])),
            _ => bail!("{text:?} is no padding: give N, or those above, to the left, below and to the right"),
        }
    }
}

/// Height and width.
fn size(text: &str, name: &str) -> Result<[u8; 2]> {
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    let size = h.parse().ok().zip(w.parse().ok()).map(|(h, w)| [h, w]);
    let size = size.with_context(|| format!("{text:?} is no {name}: give N or HxW, each at most 255"))?;
    ensure!(size.iter().all(|&side| side > 0), "its {name} is 0");
    Ok(size)
}
