//! The judge: tract runs the ONNX files, which know nothing of the engine.

use super::runnable::{self, Runnable};
use crate::onnx;
use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use rayon::prelude::*;
use std::sync::Arc;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

/// An int8 ONNX file, ready to run.
#[derive(Clone, Debug)]
pub struct TractModel {
    runnable: Runnable,
    proto: Arc<ModelProto>,
    input: Shape,
    labels: Vec<String>,
    digest: [u8; 8],
}

impl TractModel {
    /// The model in `bytes`, an int8 ONNX file.
    ///
    /// # Errors
    /// The file is not one that this version of the program wrote, or not the int8 one.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let proto = onnx::open(bytes, "int8")?;
        let labels = serde_json::from_str(onnx::metadata(&proto, "ocellus.labels")?).context("its labels")?;
        let digest = u64::from_str_radix(onnx::metadata(&proto, "ocellus.digest")?, 16).context("its digest")?;
        let input = input_shape(&proto)?;
        let runnable = optimize(proto.clone())?;
        Ok(Self { runnable, proto: Arc::new(proto), input, labels, digest: digest.to_be_bytes() })
    }

    /// Digest of the quantized graph it was written from.
    pub fn digest(&self) -> [u8; 8] {
        self.digest
    }

    /// Shape of the images it takes.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Class names, one per score.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What a step of the scores stands for, in logits.
    ///
    /// # Errors
    /// The file does not say.
    pub fn score_scale(&self) -> Result<f32> {
        let graph = self.proto.graph.as_ref().context("the ONNX file has no graph")?;
        let node = graph.node.iter().find(|node| node.output.first().is_some_and(|name| name == "logits"));
        let name = node.and_then(|node| node.input.get(1)).context("the ONNX file has no logits")?;
        let scale = graph.initializer.iter().find(|tensor| tensor.name == *name);
        let scale = scale.context("the ONNX file has no scale of its logits")?;
        let bytes = scale.raw_data.first_chunk().map(|bytes| f32::from_le_bytes(*bytes));
        scale.float_data.first().copied().or(bytes).context("the scale of the logits is empty")
    }

    /// int8 scores `(classes)` of one int8 image `(h, w, c)`.
    ///
    /// # Errors
    /// The image has another length than the model's input.
    pub fn scores(&self, image: &[i8]) -> Result<Vec<i8>> {
        let outputs = run(&self.runnable, image, self.input)?;
        to_vec(&outputs[0])
    }

    /// int8 scores `(n, classes)` of int8 images `(n, h, w, c)`, on all cores. `done` is called once per image, from any
    /// thread.
    ///
    /// # Errors
    /// The images are not a whole number of the model's inputs.
    pub fn scores_all(&self, images: &[i8], done: &(dyn Fn() + Sync)) -> Result<Vec<i8>> {
        ensure!(
            images.len().is_multiple_of(self.input.len()),
            "got {} values, but the model's images have {} ({}) each",
            images.len(),
            self.input.len(),
            self.input
        );
        let scores = images.par_chunks_exact(self.input.len()).map(|image| {
            let scores = self.scores(image);
            done();
            scores
        });
        Ok(scores.collect::<Result<Vec<_>>>()?.concat())
    }

    /// The name and result of every layer for one int8 image, `(h, w, c)` each, in the order of the plan's steps.
    ///
    /// # Errors
    /// The image has another length than the model's input.
    pub fn trace(&self, image: &[i8]) -> Result<Vec<(String, Vec<i8>)>> {
        self.tracer()?.trace(image)
    }

    /// Prepares [`TractModel::trace`] for many images.
    ///
    /// # Errors
    /// tract cannot run the model with every value as an output.
    pub fn tracer(&self) -> Result<Tracer> {
        let mut proto = ModelProto::clone(&self.proto);
        let graph = proto.graph.as_mut().context("the ONNX file has no graph")?;
        graph.output = std::mem::take(&mut graph.value_info);
        let layers =
            graph.output.iter().map(|value| Ok((value.name.clone(), shape_of(value)?))).collect::<Result<_>>()?;
        Ok(Tracer { runnable: optimize(proto)?, input: self.input, layers })
    }
}

/// An int8 model of which every layer's result can be seen.
#[derive(Clone, Debug)]
pub struct Tracer {
    runnable: Runnable,
    input: Shape,
    layers: Vec<(String, Shape)>,
}

impl Tracer {
    /// As [`TractModel::trace`].
    ///
    /// # Errors
    /// The image has another length than the model's input.
    pub fn trace(&self, image: &[i8]) -> Result<Vec<(String, Vec<i8>)>> {
        let outputs = run(&self.runnable, image, self.input)?;
        let layer = |((name, shape), output): (&(String, Shape), &TValue)| {
            Ok((name.clone(), interleaved(&to_vec::<i8>(output)?, *shape)))
        };
        self.layers.iter().zip(&outputs).map(layer).collect()
    }
}

/// A float ONNX file, ready to run.
#[derive(Clone, Debug)]
pub struct FloatModel {
    runnable: Runnable,
    input: Shape,
    labels: Vec<String>,
}

impl FloatModel {
    /// The model in `bytes`, a float ONNX file.
    ///
    /// # Errors
    /// The file is not one that this version of the program wrote, or not the float one.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let proto = onnx::open(bytes, "float")?;
        let labels = serde_json::from_str(onnx::metadata(&proto, "ocellus.labels")?).context("its labels")?;
        Ok(Self { input: input_shape(&proto)?, runnable: optimize(proto)?, labels })
    }

    /// Shape of the images it takes.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Class names, one per logit.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Logits of one image `(h, w, c)` with pixels in `[0, 1]`.
    ///
    /// # Errors
    /// The image has another length than the model's input.
    pub fn logits(&self, image: &[f32]) -> Result<Vec<f32>> {
        to_vec(&run(&self.runnable, image, self.input)?[0])
    }
}

/// Has tract prepare `proto` for a batch of one.
fn optimize(mut proto: ModelProto) -> Result<Runnable> {
    let graph = proto.graph.as_mut().context("the ONNX file has no graph")?;
    graph.value_info.clear();
    graph.input.iter_mut().chain(&mut graph.output).for_each(fix_batch);
    let (runnable, ()) = runnable::prepare(&proto, |_| Ok(())).context("tract cannot run the model")?;
    Ok(runnable)
}

/// Makes a symbolic batch size 1.
fn fix_batch(value: &mut ValueInfoProto) {
    let Some(Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else { return };
    for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
        if let Some(dimension::Value::DimParam(_)) = dim.value {
            dim.value = Some(dimension::Value::DimValue(1));
        }
    }
}

fn input_shape(proto: &ModelProto) -> Result<Shape> {
    let graph = proto.graph.as_ref().context("the ONNX file has no graph")?;
    shape_of(graph.input.first().context("the ONNX file has no input")?)
}

/// Shape of a value `(batch, c, h, w)`.
fn shape_of(value: &ValueInfoProto) -> Result<Shape> {
    let size = |dim: &dimension::Value| match dim {
        dimension::Value::DimValue(size) => u16::try_from(*size).ok(),
        dimension::Value::DimParam(_) => None,
    };
    let tensor = match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(Value::TensorType(tensor)) => tensor,
        _ => anyhow::bail!("the value `{}` is no tensor", value.name),
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).skip(1);
    let dims: Vec<Option<u16>> = dims.map(|dim| dim.value.as_ref().and_then(size)).collect();
    match dims[..] {
        [Some(c), Some(h), Some(w)] => Ok(Shape::new(h, w, c)),
        _ => anyhow::bail!("the value `{}` is no feature map", value.name),
    }
}

/// The outputs for an image `(h, w, c)`.
fn run<T: Datum + Copy>(runnable: &Runnable, image: &[T], shape: Shape) -> Result<TVec<TValue>> {
    ensure!(
        image.len() == shape.len(),
        "the image has {} values, the model takes {} ({shape})",
        image.len(),
        shape.len()
    );
    let [h, w, c] = [shape.h, shape.w, shape.c].map(usize::from);
    let planes: Vec<T> = (0..image.len()).map(|k| image[k % (h * w) * c + k / (h * w)]).collect();
    let tensor = Tensor::from_shape(&[1, c, h, w], &planes)?;
    runnable::run(runnable, tvec!(tensor.into()))
}

/// A map `(c, h, w)` as `(h, w, c)`.
fn interleaved(planes: &[i8], shape: Shape) -> Vec<i8> {
    let (pixels, c) = (shape.pixels(), usize::from(shape.c));
    (0..planes.len()).map(|k| planes[k % c * pixels + k / c]).collect()
}

fn to_vec<T: Datum + Copy>(value: &TValue) -> Result<Vec<T>> {
    Ok(value.to_plain_array_view::<T>()?.iter().copied().collect())
}
