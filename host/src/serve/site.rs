//! What outlives a request: models and datasets that were read, the board, and work that goes on.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::albums::Albums;
use super::board::BoardDesk;
use super::evaluation::{Judged, Wanted};
use super::guard::Access;
use super::jobs::Jobs;
use super::library::Library;
use super::live::LiveDesk;
use super::shelf::{Shelf, Source};
use super::task::Desk;
use super::{Options, runs};
use crate::data::check::Report;
use crate::probe::Settings;

/// Everything that requests share.
pub struct Site {
    /// Who may ask.
    pub access: Access,
    /// The models.
    pub library: Library,
    /// Folder of new runs.
    pub runs_folder: PathBuf,
    /// The datasets.
    pub shelf: Arc<Shelf>,
    /// Photos that are taken.
    pub albums: Albums,
    /// The emulated board.
    pub board: BoardDesk,
    /// How to reach a real board.
    pub probe: Settings,
    /// The real board's program, where it is not to be built.
    pub elf: Option<PathBuf>,
    /// What a real board sees.
    pub live: LiveDesk,
    /// Training, exports, and writing to boards.
    pub jobs: Jobs,
    /// Models on their datasets.
    pub evaluations: Desk<Wanted, Judged>,
    /// Checks of datasets; a photo more makes it another one.
    pub checks: Desk<(Source, usize), Report>,
    /// What a board needs for a plan: its file, its digest, the board.
    pub analyses: Desk<(PathBuf, [u8; 8], String), Value>,
}

impl Site {
    /// A site of what `options` name.
    pub fn new(options: Options, access: Access) -> Self {
        let mut roots = options.models;
        roots.push(options.runs.clone());
        Self {
            access,
            library: Library::new(roots),
            runs_folder: options.runs,
            shelf: Arc::new(Shelf::new(options.data, options.photos.clone(), options.find_dataset)),
            albums: Albums::new(options.photos),
            board: BoardDesk::new(options.board),
            probe: options.probe,
            elf: options.elf,
            live: LiveDesk::default(),
            jobs: Jobs::default(),
            evaluations: Desk::default(),
            checks: Desk::default(),
            analyses: Desk::default(),
        }
    }

    /// What is said of each run.
    pub fn runs(&self) -> Vec<Value> {
        let entries = self.library.entries();
        entries
            .iter()
            .filter(|entry| runs::is_run(&entry.path))
            .map(|entry| runs::summary(&entry.id, &entry.path))
            .collect()
    }

    /// Ends what goes on beside the requests.
    pub fn end(&self) {
        self.evaluations.end();
        self.analyses.end();
        self.board.end();
        self.live.end();
        self.jobs.end();
    }
}
