//! The plain convolutional network: blocks of 3x3 convolutions that end in a max pooling, then a hidden dense layer.

use super::{Builder, Network, PYTORCH_EPSILON};
use crate::recipe::{LayerOrder, NetRecipe};
use anyhow::Result;
use ocellus_shared::{Op, Shape, Window};

/// Writes down the network of `recipe` for images of `input` size and `classes` classes.
///
/// # Errors
/// The input is too small for the number of poolings; names the layer.
pub fn build(recipe: &NetRecipe, input: Shape, classes: u16) -> Result<Network> {
    let mut net = Builder::new(input);
    for (b, (widths, &rate)) in recipe.blocks.iter().zip(&recipe.block_dropout).enumerate() {
        let block = format!("block{}", b + 1);
        for (i, &width) in widths.iter().enumerate() {
            convolution(&mut net, recipe.order, &format!("{block}.conv{}", i + 1), width)?;
        }
        net.op(&format!("{block}.pool"), Op::MaxPool { window: Window::valid(2, 2) })?;
        net.fading_dropout(&format!("{block}.drop"), rate);
    }
    net.op("flatten", Op::Flatten)?;
    if recipe.dense > 0 {
        net.dense("dense1", recipe.dense)?;
        net.relu("dense1.relu");
        net.dropout("dense1.drop", recipe.dense_dropout);
    }
    net.dense("head", classes)?;
    Ok(net.finish())
}

/// A 3x3 convolution with normalisation and ReLU in the recipe's order.
fn convolution(net: &mut Builder, order: LayerOrder, name: &str, out_channels: u16) -> Result<()> {
    let op = Op::Conv { window: Window::same(3), out_channels };
    match order {
        LayerOrder::ConvBnRelu => {
            net.filter(name, op, false)?;
            net.batch_norm(&format!("{name}.bn"), PYTORCH_EPSILON);
            net.relu(&format!("{name}.relu"));
        }
        LayerOrder::ConvReluBn => {
            net.filter(name, op, true)?;
            net.relu(&format!("{name}.relu"));
            net.batch_norm(&format!("{name}.bn"), PYTORCH_EPSILON);
        }
    }
    Ok(())
}
