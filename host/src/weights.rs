//! Weights that somebody else trained: reads their files and gives their tensors to a network's parameters.
//!
//! | file | written by |
//! |---|---|
//! | `.safetensors` | timm, Hugging Face, and this tool's own checkpoints |
//! | `.pth`, `.bin`, `.ckpt` | `torch.save`: timm, torchvision, Lightning; the pickle in it is read, never executed |
//! | `.index.json` and its shards, and a folder with any of these | Hugging Face |
//!
//! The content decides, not the file's name. A network is found by its tensors' names, whatever stands before them. Every
//! parameter must find its tensor, and every tensor that is a layer of such a network its parameter; what else a training
//! checkpoint holds is passed over. A classifier for other classes is left out, and said so: other in number, or by the
//! names that our own checkpoints hold.

mod float;
mod location;
mod matching;
pub mod names;
mod pickle;
mod pytorch;
pub mod sealed;
pub mod sources;
mod tensors;
mod zip;

use crate::net::{Array, PYTORCH_EPSILON, Parameter, Role, TENSORFLOW_EPSILON, Weights, head};
use crate::recipe::{Model, Padding, Recipe};
use anyhow::{Context, Result, bail, ensure};
use matching::Match;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tensors::{Origin, Parsed, Tensor};

/// Names that an error lists of each kind.
const LISTED: usize = 12;
/// Characters of a name that a message shows.
const SHOWN: usize = 80;

/// What a file had for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Pretrained {
    /// Arrays by [`Parameter::name`]: all but perhaps the head's.
    pub weights: Weights,
    /// Whose names the file has: `timm`, `torchvision`, `efficientnet_pytorch` or `ocellus`.
    pub scheme: &'static str,
    /// How the networks that have such names are padded, and what their normalisations add to the variance, where that
    /// is one for all of them.
    pub built: Option<(Padding, f64)>,
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

    /// What of a recipe's network is built in another way than the one that the file is of, and so computes something
    /// else with its weights: what to set.
    pub fn differs_from(&self, recipe: &Recipe) -> Option<String> {
        let (padding, epsilon) = self.built?;
        if (recipe.padding(), recipe.bn_epsilon()) == (padding, epsilon) {
            return None;
        }
        let name = if padding == Padding::Same { "same" } else { "symmetric" };
        Some(format!(
            "{}'s networks are padded and normalised otherwise than this recipe's, so that these weights compute something \
             else: add --set net.padding={name} --set net.bn-epsilon={epsilon:e}",
            self.scheme
        ))
    }

    /// Leaves out the classifier, which is for the classes `own`, not for those that are asked for.
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
        self.notes
            .push(format!("the file's classifier {names} is for other classes ({named}{more}): initialized at random"));
        self.fresh.extend(dropped);
    }
}

/// The network that weights are for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its family.
    pub model: Model,
    /// Its parameters.
    pub parameters: &'a [Parameter],
    /// Names of the parameters that it has lost, where it is a truncated one: a file may hold them.
    pub cut_off: &'a [String],
}

impl<'a> Target<'a> {
    /// A network that is not truncated.
    pub fn whole(model: Model, parameters: &'a [Parameter]) -> Self {
        Self { model, parameters, cut_off: &[] }
    }
}

/// Reads the weights at `path`, a file, an index of shards or a folder, for the network `target` and `classes`.
///
/// # Errors
/// A file cannot be read or is damaged, or is of another network: lists what is missing, left over or of another
/// shape. The message names the file.
pub fn load(path: &Path, target: Target<'_>, classes: &[String]) -> Result<Pretrained> {
    let load = || -> Result<Pretrained> {
        let files = location::read(path)?;
        let parsed = files.iter().map(|bytes| Parsed::of(bytes)).collect::<Result<Vec<_>>>()?;
        let origin = files.first().map(|bytes| Origin::of(bytes)).unwrap_or_default();
        let mut found = give(tensors::of_all(&parsed)?, &origin, target)?;
        match &origin.classes {
            Some(own) if own != classes => found.forget_classifier(own),
            _ => {}
        }
        Ok(found)
    };
    load().with_context(|| format!("in the weights {}", path.display()))
}

/// Gives arrays by somebody's names to the parameters of the network `target`.
///
/// # Errors
/// The arrays are of another network: lists what is missing, left over or of another shape.
pub fn assign(arrays: &Weights, target: Target<'_>) -> Result<Pretrained> {
    give(tensors::of_arrays(arrays), &Origin::default(), target)
}

/// As [`assign`], of files that tell their `origin`.
fn give(mut tensors: BTreeMap<&str, Tensor<'_>>, origin: &Origin, target: Target<'_>) -> Result<Pretrained> {
    let Target { model, parameters, .. } = target;
    let names: Vec<&str> = tensors.keys().copied().collect();
    let network = Match::find(model, names.iter().copied(), parameters)?
        .with_context(|| format!("it is of another network than {}: {}", model.name(), few(&names)))?;
    let scheme = network.scheme.name;
    let built = built(scheme, model);
    let mut found = Pretrained { weights: Weights::new(), scheme, built, fresh: Vec::new(), notes: Vec::new() };
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for parameter in parameters {
        let name = network.foreign(&parameter.name);
        match tensors.remove(&*name) {
            Some(tensor) if is_shaped(&tensor.shape(), &parameter.shape) => {
                let values = tensor.values().with_context(|| format!("its tensor {name}"))?;
                ensure!(values.iter().all(|v| v.is_finite()), "its tensor {name} holds a value that is not finite");
                found.weights.insert(parameter.name.clone(), Array { shape: parameter.shape.clone(), values });
            }
            _ if head::contains(&parameter.name) => found.fresh.push(parameter.name.clone()),
            Some(tensor) => misshapen.push(format!("{name} is {:?}, not {:?}", tensor.shape(), parameter.shape)),
            None => missing.push(name),
        }
    }
    let cut_off: BTreeSet<String> = target.cut_off.iter().map(|name| network.foreign(name)).collect();
    let (cut_off, rest): (Vec<&str>, Vec<&str>) = tensors.keys().partition(|&&name| cut_off.contains(name));
    let (surplus, others) = left_over(&network, rest.into_iter());
    // What gives a network nothing at all is of another one.
    let surplus = if found.weights.is_empty() { [surplus, others.clone()].concat() } else { surplus };
    refuse(model, origin, &missing, &surplus, &misshapen)?;
    if !found.fresh.is_empty() {
        found.notes.push(format!("the file has no {} of this shape: starts at random", found.fresh.join(", ")));
    }
    if !cut_off.is_empty() {
        found.notes.push(format!("passed over what net.truncate cuts off: {}", few(&cut_off)));
    }
    if !others.is_empty() {
        found.notes.push(format!("passed over what is no part of the network: {}", few(&others)));
    }
    Ok(found)
}

/// How the networks of a scheme are built, where that is one for all of them. Of timm's, those with `tf_` before their
/// names are TensorFlow's, and the others PyTorch's, which their tensors do not tell.
fn built(scheme: &str, model: Model) -> Option<(Padding, f64)> {
    match scheme {
        "torchvision" if model.is_first_efficientnet() || model.is_mobilenetv2() => {
            Some((Padding::Symmetric, PYTORCH_EPSILON))
        }
        "torchvision" => Some((Padding::Symmetric, TENSORFLOW_EPSILON)),
        "efficientnet_pytorch" => Some((Padding::Same, TENSORFLOW_EPSILON)),
        _ => None,
    }
}

/// Of the tensors that no parameter has: those that are layers of such a network, and what else a file holds, without the
/// counters and states that every training checkpoint has.
fn left_over<'a>(network: &Match<'_>, names: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<&'a str>) {
    let classifier = network.scheme.foreign(head::CLASSIFIER);
    let own = |name: &'a str| name.strip_prefix(network.prefix);
    let is_counter = |name: &str| name.ends_with(".num_batches_tracked") || name == "n_averaged";
    let of_head = |name: &str| {
        let of_classifier = name.strip_prefix(&classifier).is_some_and(|rest| rest.starts_with('.'));
        of_classifier || head::contains(name) || name.starts_with("state.")
    };
    let rest = names.filter(|name| !is_counter(name) && !own(name).is_some_and(of_head));
    rest.partition(|name| own(name).is_some_and(|name| network.scheme.is_layer(name)))
}

/// Whether a tensor of shape `found` is a parameter of shape `wanted`. A pointwise convolution is a dense layer.
fn is_shaped(found: &[usize], wanted: &[usize]) -> bool {
    let pointwise = found.len() == 4 && wanted.len() == 2 && found[2..] == [1, 1];
    found == wanted || (pointwise && found[..2] == *wanted)
}

fn refuse(model: Model, origin: &Origin, missing: &[String], surplus: &[&str], misshapen: &[String]) -> Result<()> {
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

/// The first names, and how many more there are.
fn few<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: BTreeSet<String> = names.into_iter().map(|name| shown(name.as_ref())).collect();
    let listed: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    match names.len().saturating_sub(LISTED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// A name as a message shows it: without what a terminal would obey, and not endless.
fn shown(name: &str) -> String {
    let shown: String = name.escape_debug().take(SHOWN + 1).collect();
    if shown.chars().count() > SHOWN { format!("{}...", shown.chars().take(SHOWN).collect::<String>()) } else { shown }
}

#[cfg(test)]
mod tests;
