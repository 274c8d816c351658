//! Runs a plan: step by step, in the memory that the plan laid out.

use crate::kernels;
use ocellus_shared::Frame;
use ocellus_shared::plan::{Plan, Step};
use ocellus_shared::preprocess::{PreprocessError, preprocess};

/// The lent memory is smaller than the plan's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaTooSmall {
    /// Bytes that the plan needs.
    pub needed: usize,
    /// Bytes that were lent.
    pub available: usize,
}

impl core::fmt::Display for ArenaTooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the plan needs {} bytes of working memory, there are {}", self.needed, self.available)
    }
}

impl core::error::Error for ArenaTooSmall {}

/// A plan and the memory it runs in. Nothing can fail once it stands.
#[derive(Debug)]
pub struct Engine<'p, 'm> {
    plan: Plan<'p>,
    arena: &'m mut [i8],
}

impl<'p, 'm> Engine<'p, 'm> {
    /// An engine for `plan` in `arena`, which may be longer than needed and hold anything.
    ///
    /// # Errors
    /// The arena is shorter than [`Plan::arena_bytes`].
    pub fn new(plan: Plan<'p>, arena: &'m mut [i8]) -> Result<Self, ArenaTooSmall> {
        let (needed, available) = (plan.arena_bytes(), arena.len());
        match arena.get_mut(..needed) {
            Some(arena) => Ok(Self { plan, arena }),
            None => Err(ArenaTooSmall { needed, available }),
        }
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Plan<'p> {
        &self.plan
    }

    /// Where the int8 image goes, `(h, w, c)`. A run overwrites it: fill it before each.
    pub fn input_mut(&mut self) -> &mut [i8] {
        &mut self.arena[self.plan.input().range()]
    }

    /// Scores of a camera frame: the one way from pixels to scores, for boards and workstation.
    ///
    /// # Errors
    /// The network takes no colour image, or the frame none of its crops.
    pub fn classify(&mut self, frame: &Frame) -> Result<&[i8], PreprocessError> {
        let plan = self.plan;
        preprocess(frame, plan.crop(), plan.input().shape, self.input_mut())?;
        Ok(self.run())
    }

    /// Runs every step; the int8 scores, one per class.
    pub fn run(&mut self) -> &[i8] {
        self.run_observed(|_, _, _| {})
    }

    /// The same, showing `observe` each step once it is done, with its position and its output `(h, w, c)`. Never part of
    /// its caller, so that what it takes of the stack can be measured.
    #[inline(never)]
    pub fn run_observed(&mut self, mut observe: impl FnMut(usize, &Step<'p>, &[i8])) -> &[i8] {
        for (index, step) in self.plan.steps().enumerate() {
            kernels::run(&step, self.arena);
            observe(index, &step, &self.arena[step.output.range()]);
        }
        &self.arena[self.plan.output().range()]
    }
}
