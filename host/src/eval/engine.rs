//! The board's engine on the workstation: the same code over the same plan.

use anyhow::{Context, Result, bail, ensure};
use ocellus_firmware::Engine;
use ocellus_firmware::kernels;
use ocellus_shared::Frame;
use ocellus_shared::plan::Plan;
use rayon::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The variable that names the best vector instructions which the kernels may use, for tests and comparisons.
pub const SIMD_VARIABLE: &str = "OCELLUS_SIMD";

/// Heeds [`SIMD_VARIABLE`], once.
fn limit_instructions() -> Result<()> {
    static WANTED: LazyLock<Option<String>> = LazyLock::new(|| {
        let wanted = std::env::var_os(SIMD_VARIABLE).map(|name| name.to_string_lossy().into_owned());
        wanted.filter(|name| !kernels::simd::limit(name))
    });
    let Some(unknown) = WANTED.as_ref() else { return Ok(()) };
    let sets: Vec<_> = kernels::simd::instruction_sets().collect();
    bail!("{SIMD_VARIABLE} is {unknown:?}, and this machine has {}: choose one of them, or unset it", sets.join(", "))
}

/// A plan that is ready to run.
#[derive(Clone, Copy, Debug)]
pub struct EngineModel<'a> {
    plan: Plan<'a>,
}

impl<'a> EngineModel<'a> {
    /// The model in `plan`, the bytes of a plan file.
    ///
    /// # Errors
    /// They are no plan that this version runs; or [`SIMD_VARIABLE`] names what this machine does not have.
    pub fn new(plan: &'a [u8]) -> Result<Self> {
        limit_instructions()?;
        let plan = Plan::parse(plan).context("not a usable plan: `ocellus export` writes one from a run")?;
        Ok(Self { plan })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan<'a> {
        &self.plan
    }

    /// int8 scores `(classes)` of one int8 image `(h, w, c)`.
    ///
    /// # Errors
    /// The image has another length than the plan's input.
    pub fn scores(&self, image: &[i8]) -> Result<Vec<i8>> {
        self.check_len(image.len() == self.image_len(), image.len())?;
        let mut arena = self.arena();
        Ok(self.load(&mut arena, image)?.run().to_vec())
    }

    /// int8 scores `(classes)` of a camera frame, which is preprocessed as on a board.
    ///
    /// # Errors
    /// The model takes no colour pictures.
    pub fn classify(&self, frame: &Frame) -> Result<Vec<i8>> {
        let mut arena = self.arena();
        let mut engine = Engine::new(self.plan, &mut arena)?;
        Ok(engine.classify(frame).context("the model takes no colour pictures")?.to_vec())
    }

    /// int8 scores `(n, classes)` of int8 images `(n, h, w, c)`, on all cores. `progress` is called once per image that is
    /// done, from any thread.
    ///
    /// # Errors
    /// The images are not a whole number of the plan's inputs.
    pub fn scores_all(&self, images: &[i8], progress: &(dyn Fn() + Sync)) -> Result<Vec<i8>> {
        let (image_len, classes) = (self.image_len(), self.plan.output().shape.len());
        self.check_len(images.len().is_multiple_of(image_len), images.len())?;
        let mut scores = vec![0; images.len() / image_len * classes];
        let work = images.par_chunks_exact(image_len).zip(scores.par_chunks_exact_mut(classes));
        work.try_for_each_init(
            || self.arena(),
            |arena, (image, scores)| {
                scores.copy_from_slice(self.load(arena, image)?.run());
                progress();
                anyhow::Ok(())
            },
        )?;
        Ok(scores)
    }

    /// How long `count` runs over one image take, one after the other on this thread.
    ///
    /// # Errors
    /// The image has another length than the plan's input.
    pub fn time(&self, image: &[i8], count: u32) -> Result<Duration> {
        self.check_len(image.len() == self.image_len(), image.len())?;
        let mut arena = self.arena();
        let start = Instant::now();
        for _ in 0..count {
            std::hint::black_box(self.load(&mut arena, image)?.run());
        }
        Ok(start.elapsed())
    }

    /// The vector instructions of this machine that the kernels use.
    pub fn instruction_set() -> &'static str {
        kernels::simd::instruction_set()
    }

    /// What every step puts out for one int8 image, `(h, w, c)` each.
    ///
    /// # Errors
    /// The image has another length than the plan's input.
    pub fn trace(&self, image: &[i8]) -> Result<Vec<Vec<i8>>> {
        self.check_len(image.len() == self.image_len(), image.len())?;
        let (mut arena, mut outputs) = (self.arena(), Vec::new());
        self.load(&mut arena, image)?.run_observed(|_, _, output| outputs.push(output.to_vec()));
        Ok(outputs)
    }

    /// What every step puts out if it gets these `values` instead of what the steps before it put out. `inputs` are the
    /// values that each step reads, the image being value 0.
    ///
    /// # Errors
    /// There are not as many values of the lengths that the steps read.
    pub fn run_apart(&self, values: &[Vec<i8>], inputs: &[&[usize]]) -> Result<Vec<Vec<i8>>> {
        ensure!(inputs.len() == self.plan.step_count(), "the values are of another plan");
        let mut arena = self.arena();
        let mut outputs = Vec::with_capacity(inputs.len());
        for (step, inputs) in self.plan.steps().zip(inputs) {
            for (operand, &v) in step.inputs().iter().zip(*inputs) {
                let fits = values.get(v).filter(|values| values.len() == operand.shape.len());
                arena[operand.range()].copy_from_slice(fits.context("the values are of another plan")?);
            }
            kernels::run(&step, &mut arena);
            outputs.push(arena[step.output.range()].to_vec());
        }
        Ok(outputs)
    }

    /// Values of one image.
    fn image_len(&self) -> usize {
        self.plan.input().shape.len()
    }

    fn check_len(&self, fits: bool, given: usize) -> Result<()> {
        let shape = self.plan.input().shape;
        ensure!(fits, "got {given} values, but the plan's images have {} ({shape}) each", shape.len());
        Ok(())
    }

    /// Memory for one run.
    fn arena(&self) -> Vec<i8> {
        vec![0; self.plan.arena_bytes()]
    }

    /// An engine with `image` in place.
    fn load<'m>(&self, arena: &'m mut [i8], image: &[i8]) -> Result<Engine<'a, 'm>> {
        let mut engine = Engine::new(self.plan, arena)?;
        engine.input_mut().copy_from_slice(image);
        Ok(engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
    use ocellus_shared::plan::{Crop, Operand};
    use ocellus_shared::{Op, Shape};

    /// Turns three values into their table's results, then into the same once more.
    fn twice_negated() -> Vec<u8> {
        let at = |offset| Operand { offset, shape: Shape::vector(3), zero: 0 };
        let negate = |from, to| StepSpec {
            op: Op::Lut,
            inputs: vec![at(from)],
            output: at(to),
            scratch: (0, 0),
            strip_rows: 0,
            weights: (-128..=127).map(|v: i32| (-v).min(127) as i8).collect(),
            biases: vec![],
            multipliers: vec![],
        };
        encode(&PlanSpec {
            digest: [0; 8],
            arena_bytes: 8,
            input: at(0),
            crop: Crop::Centre,
            output: at(0),
            output_scale: 1.0,
            labels: ["a", "b", "c"].map(String::from).to_vec(),
            steps: vec![negate(0, 4), negate(4, 0)],
        })
        .unwrap()
    }

    #[test]
    fn one_image_many_images_and_every_step() {
        let plan = twice_negated();
        let model = EngineModel::new(&plan).unwrap();
        assert_eq!(model.scores(&[1, -128, 3]).unwrap(), [1, -127, 3]);
        assert_eq!(model.trace(&[1, -128, 3]).unwrap(), [[-1, 127, -3], [1, -127, 3]]);
        let count = std::sync::atomic::AtomicUsize::new(0);
        let progress = || _ = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(model.scores_all(&[1, 2, 3, 4, 5, 6], &progress).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(count.into_inner(), 2);
    }

    #[test]
    fn steps_run_apart_see_only_what_they_are_given() {
        let plan = twice_negated();
        let model = EngineModel::new(&plan).unwrap();
        let values = [vec![1, 2, 3], vec![7, 8, 9]];
        assert_eq!(model.run_apart(&values, &[&[0], &[1]]).unwrap(), [[-1, -2, -3], [-7, -8, -9]]);
        assert!(model.run_apart(&values, &[&[0], &[2]]).is_err());
        assert!(model.run_apart(&values, &[&[0]]).is_err());
    }

    #[test]
    fn images_of_another_size_are_refused() {
        let plan = twice_negated();
        let model = EngineModel::new(&plan).unwrap();
        assert!(model.scores(&[1; 6]).is_err());
        assert!(model.trace(&[]).is_err());
        let error = model.scores_all(&[1; 7], &|| {}).unwrap_err().to_string();
        assert_eq!(error, "got 7 values, but the plan's images have 3 (1x1x3) each");
    }

    #[test]
    fn a_damaged_plan_is_refused() {
        let mut plan = twice_negated();
        plan[100] ^= 1;
        assert!(EngineModel::new(&plan).is_err());
    }
}
