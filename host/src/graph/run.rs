//! Runs a [`Graph`] in f32: what `eval --with float` measures and what calibration looks at.

use super::Graph;
use crate::ops;
use ocellus_shared::Shape;

/// A graph's input for an RGB image, `(h, w, 3)`: its pixels in `[0, 1]`. For a graph that was centred, see [`input`].
pub fn image(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&p| f32::from(p) / 255.0).collect()
}

/// What `graph` takes for an RGB image, `(h, w, 3)`.
pub fn input(graph: &Graph, pixels: &[u8]) -> Vec<f32> {
    let zero = f32::from(graph.zero_pixel) / 255.0;
    pixels.iter().map(|&p| f32::from(p) / 255.0 - zero).collect()
}

/// The logits of `image`, `(h, w, c)` as the graph's input.
pub fn logits(graph: &Graph, image: &[f32]) -> Vec<f32> {
    values(graph, image).pop().expect("the image is a value")
}

/// Every value of the graph for `image`, the image itself first; each `(h, w, c)`.
///
/// # Panics
/// If the image has another size than the graph's input.
pub fn values(graph: &Graph, image: &[f32]) -> Vec<Vec<f32>> {
    assert_eq!(image.len(), graph.input.len(), "the image has another size than the graph's input");
    let mut values = Vec::with_capacity(graph.nodes.len() + 1);
    values.push(image.to_vec());
    for node in &graph.nodes {
        let inputs: Vec<(&[f32], Shape)> =
            node.inputs.iter().map(|&v| (values[v].as_slice(), graph.shape(v))).collect();
        let mut out = ops::of(node.op).run(node, &inputs);
        out.iter_mut().for_each(|x| *x = node.activation.apply(*x));
        values.push(out);
    }
    values
}
