//! Dense layers.

use super::conv::{Sizes, channel_sums, is_mixed, short};
use super::flatten::{maps, rows};
use crate::net::filters::Epilogue;
use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use burn::tensor::{FloatDType, Tensor};
use ocellus_shared::Window;

/// A dense layer on rows of values, or on maps in the order `(c, h, w)`.
pub struct Dense {
    /// Results of a row.
    pub out_channels: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

impl Compute for Dense {
    fn forward(&self, inputs: Vec<Map>, own: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let dims = x.dims;
        let x = rows(x);
        let sizes = Sizes { input: x.dims, outputs: self.out_channels, window: Window::valid(1, 1) };
        let (weight, bias) = (own.values("weight"), self.bias.then(|| own.values("bias")));
        let y = sizes.forward(&x.values, &weight, Epilogue { bias: bias.as_deref(), ceiling: None });
        let (weight_name, bias_name) = (own.name("weight"), self.bias.then(|| own.name("bias")));
        let back: Back = Box::new(move |dy, wanted, gradients| {
            gradients.add(weight_name, sizes.weight_gradient(&x.values, &dy.values));
            if let Some(name) = bias_name {
                gradients.add(name, channel_sums(&dy.values, sizes.outputs));
            }
            let dx = || Map::new(sizes.input, sizes.input_gradient(&dy.values, &weight));
            vec![wanted[0].then(|| maps(dx(), dims))]
        });
        (Map::new(sizes.output(), y), back)
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, own: Own<'_>, training: Option<&mut Training>) -> Tensor<4> {
        let x: Tensor<2> = only(inputs).flatten(1, 3);
        let [n, len] = x.dims();
        let weight = own.tensor("weight").reshape([self.out_channels, len]).transpose();
        let y =
            if is_mixed(training) { short(x).matmul(short(weight)).cast(FloatDType::F32) } else { x.matmul(weight) };
        let y = if self.bias { y + own.tensor("bias").unsqueeze() } else { y };
        y.reshape([n, self.out_channels, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;
    use ocellus_shared::Op;

    #[test]
    fn agrees_with_burn() {
        for (input, out_channels) in [([3, 1, 1, 40], 7), ([20, 3, 2, 5], 65), ([1, 2, 2, 1], 2)] {
            for bias in [false, true] {
                assert_agrees(LayerKind::Op { op: Op::Dense { out_channels }, bias }, &[input]);
            }
        }
    }
}
