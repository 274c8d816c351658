//! Maps as rows of values.

use crate::net::layer::{Back, Compute, Own, Training, only};
use crate::net::map::Map;
use crate::net::memory::Buffer;
use burn::tensor::Tensor;

/// A map `(h, w, c)` as `(1, 1, c * h * w)`, its values in the order `(c, h, w)`.
pub struct Flatten;

/// The map as rows, in the order `(c, h, w)`.
pub fn rows(x: Map) -> Map {
    let [n, h, w, c] = x.dims;
    let dims = [n, 1, 1, c * h * w];
    if c == 1 || h * w == 1 {
        return Map { dims, ..x };
    }
    Map::new(dims, Buffer::from(&x.to_planes()[..]))
}

/// The opposite of [`rows`], to maps of `dims`, `(n, h, w, c)`.
pub fn maps(rows: Map, dims: [usize; 4]) -> Map {
    let [n, h, w, c] = dims;
    if c == 1 || h * w == 1 { Map { dims, ..rows } } else { Map::from_planes(&rows.values, [n, c, h, w]) }
}

impl Compute for Flatten {
    fn forward(&self, inputs: Vec<Map>, _: Own<'_>, _: Option<&mut Training>) -> (Map, Back) {
        let x = only(inputs);
        let dims = x.dims;
        (rows(x), Box::new(move |dy, _, _| vec![Some(maps(dy, dims))]))
    }

    fn tensor(&self, inputs: Vec<Tensor<4>>, _: Own<'_>, _: Option<&mut Training>) -> Tensor<4> {
        let x: Tensor<2> = only(inputs).flatten(1, 3);
        let [n, len] = x.dims();
        x.reshape([n, len, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use crate::net::LayerKind;
    use crate::net::layers::testing::assert_agrees;

    #[test]
    fn agrees_with_burn() {
        for input in [[2, 3, 5, 20], [2, 1, 1, 7], [3, 4, 2, 1]] {
            assert_agrees(LayerKind::Op { op: ocellus_shared::Op::Flatten, bias: false }, &[input]);
        }
    }
}
