//! Where pretrained weights can be had.

use crate::data::fetch::{ByteProgress, Options, RemoteFile};
use crate::recipe::Model;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Weights that can be downloaded, all trained on ImageNet.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The network that they are of.
    pub model: Model,
    file: RemoteFile,
}

macro_rules! timm {
    ($release:literal, $name:literal, $sha256:literal) => {
        RemoteFile {
            name: concat!($name, "-", $sha256, ".pth"),
            url: concat!(
                "https://github.com/huggingface/pytorch-image-models/releases/download/",
                $release,
                "/",
                $name,
                "-",
                $sha256,
                ".pth"
            ),
            sha256: $sha256,
        }
    };
}

/// Every file, one for each network. Both timm (`timm/models/efficientnet.py`) and torchvision put the first eight
/// digits of a file's SHA-256 into its name; whole checksums are not published.
pub static SOURCES: [Source; 8] = [
    Source { model: Model::EfficientNetLite0, file: timm!("v0.1-weights", "tf_efficientnet_lite0", "0aa007d2") },
    Source { model: Model::MobileNetV2W050, file: timm!("v0.1-weights", "mobilenetv2_050", "3d30d450") },
    Source { model: Model::MobileNetV2W100, file: timm!("v0.1-weights", "mobilenetv2_100_ra", "b33bc2c4") },
    Source { model: Model::EfficientNetB0, file: timm!("v0.1-weights", "tf_efficientnet_b0_aa", "827b6e33") },
    Source { model: Model::EfficientNetB2, file: timm!("v0.1-weights", "tf_efficientnet_b2_aa", "60c94f97") },
    Source { model: Model::EfficientNetB4, file: timm!("v0.1-weights", "tf_efficientnet_b4_aa", "818f208c") },
    Source { model: Model::EfficientNetV2B1, file: timm!("v0.1-effv2-weights", "tf_efficientnetv2_b1", "be6e41b0") },
    Source { model: Model::EfficientNetV2S, file: timm!("v0.1-effv2-weights", "tf_efficientnetv2_s", "eb54923e") },
];

impl Source {
    /// The weights of the network of this name.
    ///
    /// # Errors
    /// There are none.
    pub fn named(name: &str) -> Result<&'static Self> {
        let known = || SOURCES.iter().map(|source| source.model.name()).collect::<Vec<_>>().join(", ");
        let found = SOURCES.iter().find(|source| source.model.name() == name);
        found.with_context(|| format!("no weights of {name:?} can be fetched: choose one of {}", known()))
    }

    /// Downloads the file unless it is there already; returns its path.
    ///
    /// # Errors
    /// See [`RemoteFile::fetch`].
    pub fn fetch(&self, options: &Options, progress: ByteProgress) -> Result<PathBuf> {
        self.file.fetch("weights", options, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_in_the_files_own_checksum() {
        for source in &SOURCES {
            let file = source.file;
            assert!(source.model.has_imagenet_weights() && file.url.ends_with(file.name));
            assert!(file.name.ends_with(&format!("-{}.pth", file.sha256)) && file.sha256.len() == 8, "{file:?}");
            assert_eq!(Source::named(source.model.name()).unwrap().model, source.model);
        }
        assert!(Source::named("resnet8").unwrap_err().to_string().contains("efficientnet-b0"));
    }
}
