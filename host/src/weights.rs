//! Weights that somebody else trained: reads their files and gives their tensors to a network's parameters.
//!
//! | file | written by |
//! |---|---|
//! | `.safetensors` | timm, Hugging Face, and this tool's own checkpoints |
//! | `.pth` | `torch.save`: timm and torchvision; the pickle in it is read, never executed |
//!
//! The content decides, not the file's name. Every tensor must find its parameter and every parameter its tensor,
//! except that a classifier for other classes is left out, and said so: other in number, or by the names that our own
//! checkpoints hold.

pub mod names;
mod pickle;
mod pytorch;
pub mod sources;
mod tensors;
mod zip;

use crate::net::{Array, Parameter, Role, Weights, head};
use crate::recipe::Model;
use anyhow::{Context, Result, bail, ensure};
use names::Scheme;
use std::collections::BTreeSet;
use std::path::Path;
use tensors::{Origin, read};

/// Names that an error lists of each kind.
const LISTED: usize = 12;
/// What PyTorch's wrappers put before the name of every tensor: DataParallel and its like, `torch.compile`, and
/// Lightning, whose modules call the network within them so.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// What a file had for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Pretrained {
    /// Arrays by [`Parameter::name`]: all but perhaps the head's.
    pub weights: Weights,
    /// Whose names the file has: `timm`, `torchvision` or `ocellus`.
    pub scheme: &'static str,
    /// The parameters of the head that the file has nothing for; they start at random.
    pub fresh: Vec<String>,
    /// What else to tell people, one sentence each.
    pub notes: Vec<String>,
}

impl Pretrained {
    /// Whether all its normalisations are as if they had been folded into the filters before: a mean of 0 and one
    /// variance everywhere. Training on such a network must measure their statistics first.
    pub fn is_folded(&self, parameters: &[Parameter]) -> bool {
        let of = |role| {
            let own = parameters.iter().filter(move |p| p.role == role);
            own.filter_map(|p| self.weights.get(&p.name)).flat_map(|array| &array.values)
        };
        let first = of(Role::Variance).next();
        first.is_some_and(|first| of(Role::Variance).all(|v| v == first)) && of(Role::Mean).all(|&mean| mean == 0.0)
    }

    /// Leaves out the classifier, which tells the classes `own` apart instead of those that are asked for.
    fn forget_classifier(&mut self, own: &[String]) {
        let of_classifier = |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| layer == head::CLASSIFIER);
        let dropped: Vec<String> =
            self.weights.extract_if(.., |name, _| of_classifier(name)).map(|(name, _)| name).collect();
        if dropped.is_empty() {
            return;
        }
        let named = own.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if own.len() > LISTED { ", ..." } else { "" };
        let names = dropped.join(", ");
        self.notes.push(format!("the file's {names} tell other classes apart ({named}{more}): starts at random"));
        self.fresh.extend(dropped);
    }
}

/// Reads the weights of the file at `path` for a network of the family `model` with these `parameters`, which is to tell
/// `classes` apart.
///
/// # Errors
/// The file cannot be read or is damaged, or is of another network: lists what is missing, left over or of another
/// shape. The message names the file.
pub fn load(path: &Path, model: Model, parameters: &[Parameter], classes: &[String]) -> Result<Pretrained> {
    let load = || -> Result<Pretrained> {
        let (tensors, origin) = read(path)?;
        let mut found = give(tensors, &origin, model, parameters)?;
        match &origin.classes {
            Some(own) if own != classes => found.forget_classifier(own),
            _ => {}
        }
        Ok(found)
    };
    load().with_context(|| format!("in the weights {}", path.display()))
}

/// Gives a file's `tensors` to the `parameters` of a network of the family `model`.
///
/// # Errors
/// The tensors are of another network: lists what is missing, left over or of another shape.
pub fn assign(tensors: Weights, model: Model, parameters: &[Parameter]) -> Result<Pretrained> {
    give(tensors, &Origin::default(), model, parameters)
}

/// As [`assign`], of a file that tells its `origin`.
fn give(mut tensors: Weights, origin: &Origin, model: Model, parameters: &[Parameter]) -> Result<Pretrained> {
    tensors.retain(|name, _| !name.ends_with(".num_batches_tracked") && !name.starts_with("state."));
    let mut tensors = unwrapped(tensors);
    let scheme = Scheme::of(model, &tensors, parameters)
        .with_context(|| format!("it is of another network than {}: {}", model.name(), few(tensors.keys())))?;
    let mut found = Pretrained { weights: Weights::new(), scheme: scheme.name, fresh: Vec::new(), notes: Vec::new() };
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for parameter in parameters {
        let name = scheme.foreign(&parameter.name);
        match tensors.remove(&name) {
            Some(array) => match shaped(array, &parameter.shape) {
                Ok(array) => drop(found.weights.insert(parameter.name.clone(), array)),
                Err(_) if head::contains(&parameter.name) => found.fresh.push(parameter.name.clone()),
                Err(shape) => misshapen.push(format!("{name} is {shape:?}, not {:?}", parameter.shape)),
            },
            None if head::contains(&parameter.name) => found.fresh.push(parameter.name.clone()),
            None => missing.push(name),
        }
    }
    let classifier = scheme.foreign(head::CLASSIFIER);
    let of_classifier = |name: &str| name.strip_prefix(&classifier).is_some_and(|rest| rest.starts_with('.'));
    tensors.retain(|name, _| !of_classifier(name) && !head::contains(name));
    refuse(model, origin, &missing, &tensors.keys().collect::<Vec<_>>(), &misshapen)?;
    check_finite(&found.weights)?;
    if !found.fresh.is_empty() {
        found.notes.push(format!("the file has no {} of this shape: starts at random", found.fresh.join(", ")));
    }
    Ok(found)
}

/// The tensors by their names in the network itself, where they were saved by what PyTorch wraps around it to train on
/// several GPUs (`module.`), compiled (`_orig_mod.`), by Lightning (`model.`) or as an average (`n_averaged` beside
/// `module.`).
fn unwrapped(mut tensors: Weights) -> Weights {
    tensors.remove("n_averaged");
    let wrapper = |tensors: &Weights| {
        let has_all = |prefix: &&str| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix));
        WRAPPERS.into_iter().find(has_all)
    };
    while let Some(prefix) = wrapper(&tensors) {
        tensors = tensors.into_iter().map(|(name, array)| (name[prefix.len()..].to_owned(), array)).collect();
    }
    tensors
}

/// The array in a parameter's shape; its own shape if it is of another. A pointwise convolution is a dense layer.
fn shaped(array: Array, shape: &[usize]) -> Result<Array, Vec<usize>> {
    let pointwise = array.shape.len() == 4 && shape.len() == 2 && array.shape[2..] == [1, 1];
    let same = array.shape == shape || (pointwise && array.shape[..2] == *shape);
    if same { Ok(Array { shape: shape.to_vec(), ..array }) } else { Err(array.shape) }
}

fn refuse(model: Model, origin: &Origin, missing: &[String], surplus: &[&String], misshapen: &[String]) -> Result<()> {
    let kinds = [("missing", few(missing)), ("left over", few(surplus)), ("of another shape", few(misshapen))];
    let faults: Vec<String> = kinds
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("{kind}: {names}"))
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults.join("; ");
    if !missing.is_empty() || !surplus.is_empty() {
        bail!("it is not of {}; {faults}. Choose the --model that the file is of", model.name());
    }
    if model.has_pooled_head() {
        bail!("it is of {} with layers of other widths or other images; {faults}. Choose another file", model.name());
    }
    // Without a pooling before its dense layers, the size of the images is that of their filters.
    let size = origin.input.map(|[height, width]| format!(", {height}x{width},")).unwrap_or_default();
    bail!(
        "it is of {} for images of another size, or with layers of other widths; {faults}. Choose the --img-size{size} \
         and the widths that the file was trained with",
        model.name()
    )
}

fn check_finite(weights: &Weights) -> Result<()> {
    for (name, array) in weights {
        ensure!(array.values.iter().all(|v| v.is_finite()), "{name} holds a value that is not finite");
    }
    Ok(())
}

/// The first names, and how many more there are.
fn few<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: BTreeSet<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    let listed: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    match names.len().saturating_sub(LISTED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests;
