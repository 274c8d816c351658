//! Whose names a file's tensors have, and what somebody put before them.

use super::names::Scheme;
use crate::net::Parameter;
use crate::recipe::Model;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the prefix of a moving average's tensors says of itself; it is what its trainer evaluates.
const AVERAGE: &str = "ema";

/// Where a network is among a file's tensors.
#[derive(Debug)]
pub(super) struct Match<'a> {
    pub scheme: Scheme,
    /// What its names have before them: nothing, `module.` by DataParallel, `_orig_mod.` by `torch.compile`, `model.` by
    /// Lightning, or the attribute's name of whatever module the network is within.
    pub prefix: &'a str,
}

impl<'a> Match<'a> {
    /// Finds it by the `names` of the tensors: more than half of the network's parameters must be there. Nothing if they
    /// are not.
    ///
    /// # Errors
    /// Several are there, and which one is meant cannot be told.
    pub(super) fn find(
        model: Model,
        names: impl Iterator<Item = &'a str> + Clone,
        parameters: &[Parameter],
    ) -> Result<Option<Self>> {
        // The best scheme of each prefix, with how many parameters it names.
        let mut found: BTreeMap<&str, (usize, Scheme)> = BTreeMap::new();
        for scheme in Scheme::known(model) {
            for (prefix, hits) in hits(&scheme, names.clone(), parameters) {
                let enough = hits * 2 > parameters.len();
                if enough && found.get(prefix).is_none_or(|(others, _)| *others < hits) {
                    found.insert(prefix, (hits, scheme.clone()));
                }
            }
        }
        let prefixes: Vec<&str> = found.keys().copied().collect();
        let averages: Vec<&str> = prefixes.iter().copied().filter(|prefix| is_average(prefix)).collect();
        let prefix = match (&prefixes[..], &averages[..]) {
            ([], _) => return Ok(None),
            ([prefix], _) | (_, [prefix]) => *prefix,
            ([first, second, ..], _) => bail!(
                "it holds several networks, under {first:?} and {second:?}: save the state_dict() of one of them alone"
            ),
        };
        Ok(found.remove(prefix).map(|(_, scheme)| Self { scheme, prefix }))
    }

    /// What the file should call our parameter or layer `name`.
    pub(super) fn foreign(&self, name: &str) -> String {
        format!("{}{}", self.prefix, self.scheme.foreign(name))
    }
}

fn is_average(prefix: &str) -> bool {
    prefix.split(['.', '_']).any(|part| part == AVERAGE)
}

/// How many parameters have their names of `scheme` among `names`, by what stands before them.
fn hits<'a>(
    scheme: &Scheme,
    names: impl Iterator<Item = &'a str>,
    parameters: &[Parameter],
) -> HashMap<&'a str, usize> {
    let wanted: HashSet<String> = parameters.iter().map(|p| scheme.foreign(&p.name)).collect();
    let deepest = wanted.iter().map(|name| name.split('.').count()).max().unwrap_or_default();
    let mut hits = HashMap::new();
    for name in names {
        let starts = name.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
        for start in starts.take(deepest).filter(|&start| wanted.contains(&name[start..])) {
            *hits.entry(&name[..start]).or_default() += 1;
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::module::Module;
    use crate::recipe::Recipe;
    use ocellus_shared::Shape;

    fn parameters() -> Vec<Parameter> {
        let recipe = Recipe { model: Model::EfficientNetLite0, ..Recipe::default() };
        Module::new(crate::net::build(&recipe, Shape::new(32, 32, 3), 10).unwrap()).unwrap().parameters().to_vec()
    }

    /// The prefix that is found where the network is under each of `prefixes`, and whose names it has.
    fn find(prefixes: &[&str]) -> Result<Option<(String, &'static str)>> {
        let (parameters, timm) = (parameters(), &Scheme::known(Model::EfficientNetLite0)[0]);
        let names =
            |prefix: &&str| parameters.iter().map(|p| format!("{prefix}{}", timm.foreign(&p.name))).collect::<Vec<_>>();
        let names: Vec<String> = prefixes.iter().flat_map(names).chain(["loss.weight".into(), "fc.x".into()]).collect();
        let found = Match::find(Model::EfficientNetLite0, names.iter().map(String::as_str), &parameters)?;
        Ok(found.map(|found| (found.prefix.to_owned(), found.scheme.name)))
    }

    #[test]
    fn prefixes_are_found_by_the_names_behind_them() {
        let deep = "a.b.c.d.e.f.g.h.i.j.";
        for prefix in ["", "module.", "timm_model.", "backbone.", "net.", "model.", "module._orig_mod.model.", deep] {
            assert_eq!(find(&[prefix]).unwrap(), Some((prefix.to_owned(), "timm")));
        }
        assert_eq!(find(&[]).unwrap(), None);
    }

    #[test]
    fn of_several_networks_the_average_is_meant_or_none() {
        assert_eq!(find(&["model.", "model_ema.module."]).unwrap().unwrap().0, "model_ema.module.");
        let message = find(&["student.", "teacher."]).unwrap_err().to_string();
        assert!(message.contains("\"student.\" and \"teacher.\""), "{message}");
    }
}
