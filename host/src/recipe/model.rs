//! `model` of a recipe.

use super::{Normalise, Padding};
use serde::{Deserialize, Serialize};

/// Network architectures; each family is written down in one file of `net/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Blocks of 3x3 convolutions and max pooling, then a hidden dense layer.
    #[default]
    Cnn,
    /// The layers that `net.layers` lists, one after the other.
    Sequential,
    /// One dense layer on the pixels: the baseline that a dataset must not be solvable by.
    Linear,
    /// The image classification network of MLPerf Tiny.
    #[serde(rename = "resnet8")]
    ResNet8,
    /// The same, two and a half times as wide.
    #[serde(rename = "resnet8-w40")]
    ResNet8W40,
    /// 20 layers for CIFAR.
    #[serde(rename = "resnet20")]
    ResNet20,
    /// 56 layers for CIFAR.
    #[serde(rename = "resnet56")]
    ResNet56,
    /// The visual wake words network of MLPerf Tiny: the first MobileNet, a quarter as wide.
    #[serde(rename = "mobilenetv1-025")]
    MobileNetV1W025,
    /// The second MobileNet, 0.35 times as wide.
    #[serde(rename = "mobilenetv2-035")]
    MobileNetV2W035,
    /// The same, half as wide.
    #[serde(rename = "mobilenetv2-050")]
    MobileNetV2W050,
    /// The same, three quarters as wide.
    #[serde(rename = "mobilenetv2-075")]
    MobileNetV2W075,
    /// The same in its full width.
    #[serde(rename = "mobilenetv2-100")]
    MobileNetV2W100,
    /// The base of the EfficientNets.
    #[serde(rename = "efficientnet-b0")]
    EfficientNetB0,
    /// 1.1 times as wide and 1.2 times as deep.
    #[serde(rename = "efficientnet-b2")]
    EfficientNetB2,
    /// 1.4 times as wide and 1.8 times as deep.
    #[serde(rename = "efficientnet-b4")]
    EfficientNetB4,
    /// Without squeeze-excite and with ReLU6: made for int8.
    #[serde(rename = "efficientnet-lite0")]
    EfficientNetLite0,
    /// The same, 1.1 times as deep.
    #[serde(rename = "efficientnet-lite1")]
    EfficientNetLite1,
    /// 1.1 times as wide and 1.2 times as deep.
    #[serde(rename = "efficientnet-lite2")]
    EfficientNetLite2,
    /// 1.2 times as wide and 1.4 times as deep.
    #[serde(rename = "efficientnet-lite3")]
    EfficientNetLite3,
    /// 1.4 times as wide and 1.8 times as deep.
    #[serde(rename = "efficientnet-lite4")]
    EfficientNetLite4,
    /// The second version's base, 1.1 times as deep.
    #[serde(rename = "efficientnetv2-b1")]
    EfficientNetV2B1,
    /// The second version's small network.
    #[serde(rename = "efficientnetv2-s")]
    EfficientNetV2S,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Cnn,
        Self::Sequential,
        Self::Linear,
        Self::ResNet8,
        Self::ResNet8W40,
        Self::ResNet20,
        Self::ResNet56,
        Self::MobileNetV1W025,
        Self::MobileNetV2W035,
        Self::MobileNetV2W050,
        Self::MobileNetV2W075,
        Self::MobileNetV2W100,
        Self::EfficientNetLite0,
        Self::EfficientNetLite1,
        Self::EfficientNetLite2,
        Self::EfficientNetLite3,
        Self::EfficientNetLite4,
        Self::EfficientNetB0,
        Self::EfficientNetB2,
        Self::EfficientNetB4,
        Self::EfficientNetV2B1,
        Self::EfficientNetV2S,
    ];

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Sequential => "sequential",
            Self::Linear => "linear",
            Self::ResNet8 => "resnet8",
            Self::ResNet8W40 => "resnet8-w40",
            Self::ResNet20 => "resnet20",
            Self::ResNet56 => "resnet56",
            Self::MobileNetV1W025 => "mobilenetv1-025",
            Self::MobileNetV2W035 => "mobilenetv2-035",
            Self::MobileNetV2W050 => "mobilenetv2-050",
            Self::MobileNetV2W075 => "mobilenetv2-075",
            Self::MobileNetV2W100 => "mobilenetv2-100",
            Self::EfficientNetB0 => "efficientnet-b0",
            Self::EfficientNetB2 => "efficientnet-b2",
            Self::EfficientNetB4 => "efficientnet-b4",
            Self::EfficientNetLite0 => "efficientnet-lite0",
            Self::EfficientNetLite1 => "efficientnet-lite1",
            Self::EfficientNetLite2 => "efficientnet-lite2",
            Self::EfficientNetLite3 => "efficientnet-lite3",
            Self::EfficientNetLite4 => "efficientnet-lite4",
            Self::EfficientNetV2B1 => "efficientnetv2-b1",
            Self::EfficientNetV2S => "efficientnetv2-s",
        }
    }

    /// Height and width of the images that it was published for.
    pub fn img_size(self) -> u16 {
        match self {
            Self::MobileNetV1W025 => 96,
            Self::EfficientNetB0 | Self::EfficientNetLite0 => 224,
            _ if self.is_mobilenetv2() => 224,
            Self::EfficientNetB2 | Self::EfficientNetLite2 => 260,
            Self::EfficientNetLite3 => 280,
            Self::EfficientNetLite4 => 300,
            Self::EfficientNetB4 => 380,
            Self::EfficientNetV2B1 | Self::EfficientNetLite1 => 240,
            Self::EfficientNetV2S => 384,
            _ => 32,
        }
    }

    /// What its networks do to the pixels first, unless the recipe says otherwise: what the published weights were
    /// trained with.
    pub fn normalise(self) -> Normalise {
        match self {
            Self::EfficientNetV2S => Normalise::CENTRED,
            _ if self.is_lite() => Normalise::CENTRED,
            _ if self.has_imagenet_weights() => Normalise::IMAGENET,
            _ => Normalise::NONE,
        }
    }

    /// Where its filters are padded, unless the recipe says otherwise: as in the published networks.
    pub fn padding(self) -> Padding {
        if self.is_mobilenetv2() { Padding::Symmetric } else { Padding::Same }
    }

    /// What its normalisations add to the variance, unless the recipe says otherwise: PyTorch's value where the published
    /// weights are PyTorch's, otherwise TensorFlow's.
    pub fn bn_epsilon(self) -> f64 {
        if self.is_mobilenetv2() { 1e-5 } else { 1e-3 }
    }

    /// Whether it was published for photos, with weights: the EfficientNets and the second MobileNet.
    pub fn has_imagenet_weights(self) -> bool {
        self.is_efficientnet() || self.is_mobilenetv2()
    }

    /// Whether it is a residual network for small images.
    pub fn is_resnet(self) -> bool {
        self.name().starts_with("resnet")
    }

    /// Whether it is a MobileNet of the second version.
    pub fn is_mobilenetv2(self) -> bool {
        self.name().starts_with("mobilenetv2")
    }

    /// Whether it is an EfficientNet of either version.
    pub fn is_efficientnet(self) -> bool {
        self.name().starts_with("efficientnet")
    }

    /// Whether it is an EfficientNet of the first version, the lite ones among them.
    pub fn is_first_efficientnet(self) -> bool {
        self.is_efficientnet() && !matches!(self, Self::EfficientNetV2B1 | Self::EfficientNetV2S)
    }

    /// Whether it is an EfficientNet without squeeze-excite and with ReLU6.
    pub fn is_lite(self) -> bool {
        self.name().starts_with("efficientnet-lite")
    }

    /// Whether its classifier stands on the mean of each channel, so that `net.head` chooses it.
    pub fn has_pooled_head(self) -> bool {
        !matches!(self, Self::Cnn | Self::Sequential | Self::Linear)
    }

    /// The keys that list its layers, where it has no such head.
    pub(super) fn layer_keys(self) -> &'static str {
        if self == Self::Sequential { "net.layers" } else { "net.blocks and net.dense" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_recipes() {
        for model in Model::ALL {
            assert_eq!(toml::Value::try_from(model).unwrap().as_str(), Some(model.name()));
        }
    }
}
