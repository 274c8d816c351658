//! `[transfer]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// Transfer learning: which layers are frozen, and on which backbone a head is trained.
///
/// The layers of a network fall into groups, from the image up: the stem, each block, and what may follow the blocks.
/// The head comes last: the layers called `head` or `head.*`, and in the families `cnn` and `linear` everything from
/// `flatten` on. The groups below the head are the backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TransferRecipe {
    /// Which groups are frozen.
    pub freeze: Freeze,
    /// The epoch, from 1, from which on everything is trained; 0 for never.
    pub unfreeze_at: u32,
    /// Epochs over which the learning rate rises again from there on.
    pub unfreeze_warmup_epochs: f64,
    /// A group's learning rate is multiplied by this once for every step from the head down, in `(0, 1]`
    /// (<https://arxiv.org/abs/1801.06146>, section 3.2).
    pub layer_decay: f64,
    /// What batch normalisations of frozen layers do.
    pub statistics: Statistics,
    /// Whether a frozen backbone's features are computed once and kept on the disk, where that is possible: the whole
    /// backbone is frozen with its statistics, and an image looks the same whenever it is seen.
    pub cache: bool,
    /// Variations of each training image that are drawn once and then taken in turn, one an epoch, as long as the backbone is
    /// frozen; 0 for a new one in each epoch, whose features cannot be kept. With a `backbone` and an `[augment]` that varies images, 0 means 4.
    pub cache_views: u32,
    /// External ONNX backbone: a float ONNX file that is the frozen backbone of a linear probe, instead of `model`. A relative
    /// path that leads nowhere from where the command is called is looked for beside the recipe.
    pub backbone: Option<PathBuf>,
    /// SHA-256 of that file, and of those beside it that hold its weights, in hex, which training writes down.
    pub backbone_sha256: String,
    /// Mean that is subtracted from an image's red, green and blue, in `[0, 1]`, before that backbone sees it.
    pub backbone_mean: [f64; 3],
    /// Standard deviation that they are then divided by.
    pub backbone_std: [f64; 3],
    /// Values of the hidden layer between that backbone and the classifier; 0 for none.
    pub hidden: u16,
    /// Drop rate before that classifier, in `[0, 1)`.
    pub dropout: f64,
}

impl Default for TransferRecipe {
    fn default() -> Self {
        Self {
            freeze: Freeze::None,
            unfreeze_at: 0,
            unfreeze_warmup_epochs: 0.0,
            layer_decay: 1.0,
            statistics: Statistics::Frozen,
            cache: true,
            cache_views: 0,
            backbone: None,
            backbone_sha256: String::new(),
            backbone_mean: [0.0; 3],
            backbone_std: [1.0; 3],
            hidden: 0,
            dropout: 0.2,
        }
    }
}

impl TransferRecipe {
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(
            self.unfreeze_at == 0 || (self.freeze != Freeze::None && self.unfreeze_at > 1),
            "transfer.unfreeze-at = {} needs transfer.freeze, and an epoch after the first",
            self.unfreeze_at
        );
        let warmup = self.unfreeze_warmup_epochs;
        ensure!(
            (0.0..=f64::from(u32::MAX)).contains(&warmup),
            "transfer.unfreeze-warmup-epochs = {warmup} is not a number of epochs"
        );
        let decay = self.layer_decay;
        ensure!(decay > 0.0 && decay <= 1.0, "transfer.layer-decay = {decay} is not in (0, 1]");
        ensure!((0.0..1.0).contains(&self.dropout), "transfer.dropout = {} is not in [0, 1)", self.dropout);
        let usable = self.backbone_mean.iter().chain(&self.backbone_std).all(|x| x.is_finite());
        ensure!(usable && self.backbone_std.iter().all(|&std| std > 0.0), "transfer.backbone-std is not above 0");
        ensure!(
            self.backbone.is_none() || self.freeze == Freeze::None,
            "transfer.backbone is always frozen: leave out transfer.freeze"
        );
        Ok(())
    }

    /// Which variation of an image `epoch`, from 0, shows.
    pub fn view(&self, epoch: u32) -> u32 {
        if self.cache_views > 0 && self.is_frozen_in(epoch) { epoch % self.cache_views } else { epoch }
    }

    /// Whether the frozen groups are still frozen in `epoch`, from 0.
    pub fn is_frozen_in(&self, epoch: u32) -> bool {
        self.unfreeze_at == 0 || epoch + 1 < self.unfreeze_at
    }
}

/// Which groups of layers are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Freeze {
    /// None of them.
    #[default]
    None,
    /// What comes before the first block.
    Stem,
    /// The first so many.
    First(u32),
    /// The whole backbone.
    All,
}

/// How it is written in TOML.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Count(u32),
    Text(String),
}

impl TryFrom<Written> for Freeze {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Count(count) => Ok(if count == 0 { Self::None } else { Self::First(count) }),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Freeze> for Written {
    fn from(freeze: Freeze) -> Self {
        match freeze {
            Freeze::None => Self::Text("none".into()),
            Freeze::Stem => Self::Text("stem".into()),
            Freeze::All => Self::Text("all".into()),
            Freeze::First(count) => Self::Count(count),
        }
    }
}

impl FromStr for Freeze {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("none", _) => Ok(Self::None),
            ("stem", _) => Ok(Self::Stem),
            ("all", _) => Ok(Self::All),
            (_, Ok(count)) => Self::try_from(Written::Count(count)),
            _ => Err(format!("freeze = {text:?} is neither none, stem, all nor a number of groups")),
        }
    }
}

/// What batch normalisations of frozen layers do while the others are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// They normalise by the statistics that they have, as in evaluation.
    #[default]
    Frozen,
    /// They normalise by each batch's, and go on following them.
    ReEstimated,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn what_to_freeze_is_a_word_or_a_number() {
        for (text, freeze) in [
            ("\"all\"", Freeze::All),
            ("\"stem\"", Freeze::Stem),
            ("\"none\"", Freeze::None),
            ("3", Freeze::First(3)),
            ("\"3\"", Freeze::First(3)),
            ("0", Freeze::None),
        ] {
            let recipe = Recipe::parse(&format!("[transfer]\nfreeze = {text}")).unwrap();
            assert_eq!(recipe.transfer.freeze, freeze);
            assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
        }
        let error = Recipe::parse("[transfer]\nfreeze = \"most\"").unwrap_err();
        assert!(format!("{error:#}").contains("neither none, stem, all"), "{error:#}");
    }

    #[test]
    fn epochs_see_their_views_in_turn_until_the_network_thaws() {
        let recipe = TransferRecipe { cache_views: 2, unfreeze_at: 4, ..TransferRecipe::default() };
        assert_eq!([0, 1, 2, 3, 4, 5].map(|epoch| recipe.view(epoch)), [0, 1, 0, 3, 4, 5]);
        assert_eq!([0, 2, 3, 9].map(|epoch| recipe.is_frozen_in(epoch)), [true, true, false, false]);
        let frozen = TransferRecipe { unfreeze_at: 0, ..recipe };
        assert_eq!([0, 1, 2, 3].map(|epoch| frozen.view(epoch)), [0, 1, 0, 1]);
        assert_eq!(TransferRecipe::default().view(7), 7);
        assert!(TransferRecipe::default().is_frozen_in(u32::MAX - 1));
    }
}
