//! What a recipe's network needs on a board, in milliseconds and without any training.
//!
//! The network is quantized with its first, random weights, as if all values lay between 0 and 1, and planned. Which layers a plan has,
//! and how large its weights, feature maps and scratch are, follows from the shapes alone. After training, dead-channel
//! elimination may leave a smaller plan, never a larger one.

use super::journal::Cost;
use super::study::BudgetLimits;
use crate::analysis::analyse;
use crate::board::{self, Board};
use crate::calibrate::{Range, Ranges};
use crate::checkpoint::Checkpoint;
use crate::cost::cycles_per_instruction;
use crate::net;
use crate::net::module::Module;
use crate::pack::{Room, pack_within};
use crate::recipe::Recipe;
use crate::toolchain::ProgramSize;
use crate::{deploy, fold, quantize};
use anyhow::Result;
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;

/// What a study's networks may need, and on which board.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: BudgetLimits,
    /// The board that is named, or whose core instructions are predicted for.
    board: Board,
}

/// How a network does not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Excess {
    /// What it needs too much of.
    pub why: String,
    /// Natural logarithm of how many times too much, summed over all limits: above 0.
    pub violation: f64,
}

impl Budget {
    /// The budget of `limits`.
    ///
    /// # Errors
    /// There is no such board.
    pub fn new(limits: &BudgetLimits) -> Result<Self> {
        let board = Board::load(limits.board.as_deref().unwrap_or(board::DEFAULT))?;
        Ok(Self { limits: limits.clone(), board })
    }

    /// Whether it limits anything.
    pub fn is_limited(&self) -> bool {
        self.limits.is_limited()
    }

    /// The same, on `board` and for all of its memory.
    pub fn on(board: Board) -> Self {
        Self { limits: BudgetLimits { board: Some(board.name.clone()), ..BudgetLimits::default() }, board }
    }

    /// What the network of `recipe` needs for images of `side` rows and columns.
    ///
    /// # Errors
    /// There is no such network, or one of its layers cannot run on a board; names it.
    pub fn cost(&self, recipe: &Recipe, side: u16, classes: &[String]) -> Result<Cost> {
        let network = net::build(recipe, Shape::new(side, side, 3), classes.len())?;
        let checkpoint = Checkpoint {
            recipe: recipe.clone(),
            classes: classes.to_vec(),
            input: network.input,
            dataset_hash: String::new(),
            weights: Module::new(network)?.initial(0),
            resume: None,
        };
        deploy::check_deployable(&checkpoint)?;
        let graph = fold::centre(deploy::folded(&checkpoint)?);
        let ranges = Ranges(vec![Range::new(0.0, 1.0); graph.nodes.len() + 1]);
        let quantized = quantize::quantize(&graph, &ranges)?;
        let packed = pack_within(&quantized, recipe.quant.optimize, self.room())?;
        let plan = Plan::parse(&packed.plan)?;
        let analysis = analyse(&plan, &self.board, (ProgramSize::recorded(&self.board.name)?, true))?;
        Ok(Cost {
            flash_bytes: analysis.plan_bytes,
            ram_bytes: analysis.arena_bytes,
            macs: analysis.macs,
            instructions: analysis.instructions,
        })
    }

    /// The memory that a plan may take.
    fn room(&self) -> Room {
        let room = |limit: Option<u64>, board: usize| {
            let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            if self.limits.board.is_some() { limit.min(board) } else { limit }
        };
        Room {
            plan: room(self.limits.flash_bytes, self.board.plan_bytes),
            arena: room(self.limits.ram_bytes, self.board.arena_bytes),
        }
    }

    /// Whether a network that needs this fits.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, cost: &Cost) -> Result<(), Excess> {
        let Room { plan, arena } = self.room();
        let bytes = |room: usize| if room == usize::MAX { f64::INFINITY } else { room as f64 };
        let limit = |limit: Option<u64>| limit.map_or(f64::INFINITY, |limit| limit as f64);
        let needs = [
            (cost.flash_bytes as f64, bytes(plan), "bytes of flash"),
            (cost.ram_bytes as f64, bytes(arena), "bytes of RAM"),
            (cost.macs as f64, limit(self.limits.macs), "multiply-accumulates"),
            (cost.instructions as f64, limit(self.limits.instructions), "instructions"),
            (self.time_ms(cost).unwrap_or_default(), self.limits.time_ms.unwrap_or(f64::INFINITY), "ms"),
        ];
        let too_much: Vec<_> = needs.into_iter().filter(|(needed, limit, _)| needed > limit).collect();
        if too_much.is_empty() {
            return Ok(());
        }
        let whys =
            too_much.iter().map(|(needed, limit, what)| format!("{needed:.0} {what}, the budget has {limit:.0}"));
        let violation = too_much.iter().map(|(needed, limit, _)| (needed / limit).ln()).sum();
        Err(Excess { why: format!("it needs {}", whys.collect::<Vec<_>>().join("; and ")), violation })
    }

    /// The longest that an inference is expected to take at the board's clock, in milliseconds.
    fn time_ms(&self, cost: &Cost) -> Option<f64> {
        let [_, most] = cycles_per_instruction(&self.board.cpu);
        self.board.clock_hz.map(|clock| 1e3 * cost.instructions as f64 * most / clock as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Model;
    use std::time::{Duration, Instant};

    fn classes() -> Vec<String> {
        (0..10).map(|class| class.to_string()).collect()
    }

    fn budget(limits: BudgetLimits) -> Budget {
        Budget::new(&limits).unwrap()
    }

    #[test]
    fn every_family_has_a_cost() {
        let free = budget(BudgetLimits::default());
        for model in [Model::Cnn, Model::Linear, Model::ResNet8, Model::MobileNetV1W025, Model::Sequential] {
            let recipe = Recipe { model, ..Recipe::default() };
            let cost = free.cost(&recipe, 32, &classes()).unwrap();
            assert!(cost.flash_bytes > 1000 && cost.ram_bytes > 3000 && cost.instructions > cost.macs / 8, "{cost:?}");
            free.check(&cost).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_told_by_how_much_in_no_time() {
        let recipe = Recipe::default();
        let limits = BudgetLimits { flash_bytes: Some(100_000), ram_bytes: Some(40_000), ..BudgetLimits::default() };
        let limited = budget(limits);
        let start = Instant::now();
        let cost = limited.cost(&recipe, 32, &classes()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let excess = limited.check(&cost).unwrap_err();
        assert!(excess.why.contains("bytes of flash, the budget has 100000"), "{}", excess.why);
        let expected = (cost.flash_bytes as f64 / 1e5).ln() + (cost.ram_bytes as f64 / 4e4).ln().max(0.0);
        assert!((excess.violation - expected).abs() < 1e-9, "{excess:?}");
        let narrow = recipe.with(&["net.blocks=[[8], [16], [16]]".into(), "net.dense=0".into()]).unwrap();
        limited.check(&limited.cost(&narrow, 32, &classes()).unwrap()).unwrap();
    }

    #[test]
    fn a_board_has_room_and_a_clock() {
        let named = |name: &str, time_ms| {
            budget(BudgetLimits { board: Some(name.to_owned()), time_ms, ..BudgetLimits::default() })
        };
        let cost = named("weact-h743", None).cost(&Recipe::default(), 32, &classes()).unwrap();
        named("weact-h743", None).check(&cost).unwrap();
        let error = named("weact-h743", Some(1.0)).check(&cost).unwrap_err();
        assert!(error.why.ends_with("ms, the budget has 1"), "{}", error.why);
        let large = Cost { flash_bytes: 1 << 30, ..cost };
        assert!(named("weact-h743", None).check(&large).is_err());
        assert!(Budget::on(Board::load("weact-h743").unwrap()).check(&large).is_err());
        budget(BudgetLimits::default()).check(&large).unwrap();
    }
}
