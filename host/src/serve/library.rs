//! The models that are served: found in the given folders again at each request, since training and `ocellus export` write new ones,
//! and kept loaded while they are in use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use ocellus_shared::plan::Plan;
use serde_json::{Value, json};

use super::message::Fault;
use crate::data::Split;
use crate::eval::engine::EngineModel;
use crate::eval::single::Enlarged;
use crate::eval::{Evaluator, Scores};
use crate::model::ModelFiles;
use crate::view;

/// Models that stay loaded.
const LOADED: usize = 4;

/// A model or a run in one of the folders.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called in addresses.
    pub id: String,
    /// Its folder, or its plan.
    pub path: PathBuf,
}

/// Where models are.
#[derive(Debug)]
pub struct Library {
    /// Models and runs, or folders of them.
    roots: Vec<PathBuf>,
    /// The one that was used last comes last.
    loaded: Mutex<Vec<(Version, Arc<Loaded>)>>,
}

/// What tells a plan from the one that was at its place before.
type Version = (PathBuf, Option<SystemTime>, u64);

/// A model that is ready to be asked.
pub struct Loaded {
    /// What it is called in addresses.
    pub id: String,
    /// Its files.
    pub files: ModelFiles,
    /// The bytes of its plan, which parses.
    plan: Vec<u8>,
    enlarged: Option<Enlarged>,
    float: OnceLock<Result<Evaluator, String>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Library {
    /// The models at `roots`: each is one, or a folder of some.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, loaded: Mutex::default() }
    }

    /// Every folder or plan that was named, and what is in those that are neither model nor run.
    pub fn entries(&self) -> Vec<Entry> {
        let (mut seen, mut ids, mut entries) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for path in self.roots.iter().flat_map(|root| places(root)) {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            let name = name(&path);
            let numbered = (2..).map(|n| format!("{name}-{n}"));
            let id = std::iter::once(name.clone()).chain(numbered).find(|id| !ids.contains(id)).unwrap_or_default();
            ids.insert(id.clone());
            entries.push(Entry { id, path });
        }
        entries
    }

    /// The folder or plan called `id`.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&self, id: &str) -> Result<Entry, Fault> {
        self.entries().into_iter().find(|entry| entry.id == id).ok_or_else(|| Fault::missing("model or run"))
    }

    /// What is said of each model.
    pub fn describe_all(&self) -> Vec<Value> {
        self.entries().iter().filter_map(describe).collect()
    }

    /// The model called `id`, with its plan.
    ///
    /// # Errors
    /// There is none, or its plan cannot be used, or it was not exported yet.
    pub fn load(&self, id: &str) -> Result<Arc<Loaded>, Fault> {
        let entry = self.entry(id)?;
        let files = ModelFiles::find(&entry.path).map_err(|error| Fault::conflict(&error))?;
        let version = version(&files);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.iter().position(|(known, model)| *known == version && model.id == id);
        let found = match known.map(|at| loaded.remove(at)) {
            Some((_, model)) => model,
            None => Arc::new(Loaded::new(id, files).map_err(|error| Fault::conflict(&error))?),
        };
        loaded.push((version, Arc::clone(&found)));
        let surplus = loaded.len().saturating_sub(LOADED);
        loaded.drain(..surplus);
        Ok(found)
    }
}

/// `root` where it is a model or a run, else what it holds, in the order of the names.
fn places(root: &Path) -> Vec<PathBuf> {
    if root.is_file() || is_place(root) {
        return vec![root.to_owned()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir() && is_place(path)).collect();
    found.sort();
    found
}

/// Whether a folder is that of a model, or of a run, be it one that has just begun.
fn is_place(folder: &Path) -> bool {
    ModelFiles::find(folder).is_ok() || super::runs::is_run(folder)
}

fn name(path: &Path) -> String {
    let named = if path.is_dir() { path.file_name() } else { path.file_stem() };
    // A folder such as `.` has none before it is resolved.
    named
        .map_or_else(
            || path.canonicalize().ok().as_deref().and_then(Path::file_name).map(view::name),
            |n| Some(view::name(n)),
        )
        .unwrap_or_else(|| "model".to_owned())
}

fn version(files: &ModelFiles) -> Version {
    let path = files.plan.clone().unwrap_or_default();
    let there = std::fs::metadata(&path).ok();
    let (time, length) = (there.as_ref().and_then(|m| m.modified().ok()), there.map_or(0, |m| m.len()));
    (path, time, length)
}

/// What is said of a model; nothing where there is none, as in a run before its first checkpoint.
fn describe(entry: &Entry) -> Option<Value> {
    let files = ModelFiles::find(&entry.path).ok()?;
    let mut about = json!({
        "id": entry.id,
        "path": view::json_path(&entry.path),
        "exported": false,
        "float": files.checkpoint.is_some() || files.float_onnx.is_some(),
    });
    let bytes = files.plan.as_ref().and_then(|path| std::fs::read(path).ok());
    if let Some(plan) = bytes.as_ref().and_then(|bytes| Plan::parse(bytes).ok()) {
        let input = plan.input().shape;
        about["exported"] = json!(true);
        about["input"] = json!([input.h, input.w, input.c]);
        about["classes"] = json!(plan.labels().collect::<Vec<_>>());
        about["plan_bytes"] = json!(plan.bytes().len());
        about["arena_bytes"] = json!(plan.arena_bytes());
        about["macs"] = json!(plan.steps().map(|step| step.macs()).sum::<u64>());
        about["digest"] = json!(hex::encode(plan.digest()));
    }
    Some(about)
}

impl Loaded {
    fn new(id: &str, files: ModelFiles) -> Result<Self> {
        let plan = files.read_plan()?;
        let engine = EngineModel::new(&plan)?;
        let recipe = files.read_recipe().ok();
        let enlarged = recipe.and_then(|recipe| Enlarged::of(&recipe.data, engine.plan()));
        Ok(Self { id: id.to_owned(), files, plan, enlarged, float: OnceLock::new() })
    }

    /// The bytes of its plan.
    pub fn plan_bytes(&self) -> &[u8] {
        &self.plan
    }

    /// Digest of the quantized graph that the plan was packed from.
    pub fn digest(&self) -> [u8; 8] {
        Plan::parse(&self.plan).map_or([0; 8], |plan| plan.digest())
    }

    /// The board's engine over its plan.
    ///
    /// # Errors
    /// None that a loaded model could cause.
    pub fn engine(&self) -> Result<EngineModel<'_>, Fault> {
        EngineModel::new(&self.plan).map_err(|error| Fault::conflict(&error))
    }

    /// What small pictures are enlarged to before it sees them.
    pub fn enlarged(&self) -> Option<Enlarged> {
        self.enlarged
    }

    /// The network before quantization, which is read when it is first asked for.
    ///
    /// # Errors
    /// There is none.
    pub fn float(&self) -> Result<&Evaluator, String> {
        let load = || self.files.load_float().map_err(|error| format!("{error:#}"));
        self.float.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// Its logits for one image, RGB `(h, w, 3)`, of the network before quantization.
    ///
    /// # Errors
    /// There is none, or it takes other images.
    pub fn logits(&self, image: &[u8], side: (u16, u16)) -> Result<Vec<f32>, String> {
        let split = Split { images: image.to_vec(), labels: vec![0], height: side.0.into(), width: side.1.into() };
        let scores = self.float()?.scores(&split, &|| ()).context("float").map_err(|error| format!("{error:#}"))?;
        match scores {
            Scores::Float(logits) => Ok(logits),
            Scores::Int8(_) => Err("there is no network before quantization".to_owned()),
        }
    }
}
