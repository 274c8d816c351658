//! A float ONNX file of any origin as a frozen feature extractor, run by tract.

use super::runnable::{self, Runnable};
use crate::features::Extractor;
use crate::recipe::TransferRecipe;
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::Shape;
use sha2::{Digest, Sha256};
use std::path::Path;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact};

pub use super::runnable::called;

/// Rows and columns of the largest image that one may take.
const LARGEST_SIDE: u16 = 2048;

/// A backbone, ready to run on one image at a time.
#[derive(Clone, Debug)]
pub struct OnnxBackbone {
    runnable: Runnable,
    input: Shape,
    /// Whether it takes `(1, 3, h, w)`; else `(1, h, w, 3)`.
    planar: bool,
    width: usize,
    sha256: [u8; 32],
    mean: [f64; 3],
    std: [f64; 3],
}

impl OnnxBackbone {
    /// The backbone of `recipe`, for square images of `img_size` where the file leaves that open.
    ///
    /// # Errors
    /// The recipe has none; the file, or one beside it that holds its weights, cannot be read; together they have another
    /// SHA-256 than the recipe says; it is no ONNX file, has a node that is not supported, makes no sense or takes too much (the
    /// message names it), or does not take one colour image.
    pub fn load(recipe: &TransferRecipe, img_size: Option<u16>) -> Result<Self> {
        let path = recipe.backbone.as_deref().context("the recipe has no transfer.backbone")?;
        let bytes = runnable::read_regular(path).with_context(|| {
            format!("cannot read the backbone {}: put the file that the head was trained on there", path.display())
        })?;
        let within = || format!("in the backbone {}", path.display());
        let expected = recipe.backbone_sha256.as_str();
        let other = |found: &str| {
            let path = path.display();
            format!(
                "the backbone {path} has the SHA-256 {found}, the head was trained on {expected}: put that file there"
            )
        };
        let decoded = decode(&bytes);
        // What cannot be read is not the file that it was, either.
        ensure!(decoded.is_ok() || expected.is_empty(), other(&hex::encode(Sha256::digest(&bytes))));
        let mut proto = decoded.with_context(within)?;
        let beside = runnable::inline(&mut proto, path.parent().unwrap_or(Path::new(""))).with_context(within)?;
        let all = beside.values().fold(Sha256::new_with_prefix(&bytes), Sha256::chain_update);
        let sha256: [u8; 32] = all.finalize().into();
        let found = hex::encode(sha256);
        ensure!(expected.is_empty() || found == expected, other(&found));
        Self::new(&proto, sha256, recipe, img_size).with_context(within)
    }

    fn new(proto: &ModelProto, sha256: [u8; 32], recipe: &TransferRecipe, img_size: Option<u16>) -> Result<Self> {
        let (runnable, (input, planar)) = runnable::prepare(proto, |model| {
            let outputs: Vec<&str> = model.output_outlets()?.iter().map(|o| model.node(o.node).name.as_str()).collect();
            ensure!(
                outputs.len() == 1,
                "it has {} outputs, of the nodes {}: export it again with the features as its only one",
                outputs.len(),
                outputs.join(", ")
            );
            let (input, planar) = image_shape(model, img_size)?;
            let [h, w, c] = [input.h, input.w, input.c].map(usize::from);
            let dims = if planar { [1, c, h, w] } else { [1, h, w, c] };
            model.set_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), dims))?;
            Ok((input, planar))
        })?;
        let (mean, std) = (recipe.backbone_mean, recipe.backbone_std);
        let mut backbone = Self { runnable, input, planar, width: 0, sha256, mean, std };
        backbone.width = backbone.features(&vec![0.0; input.len()])?.len();
        Ok(backbone)
    }

    /// SHA-256 of its file and of those that hold its weights, in hex.
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256)
    }

    /// The features of one image `(h, w, 3)` with pixels in `[0, 1]`.
    ///
    /// # Errors
    /// As [`Extractor::features`].
    pub fn features_of_pixels(&self, image: &[f32]) -> Result<Vec<f32>> {
        let pixels = self.input.pixels();
        self.features(&(0..image.len()).map(|k| image[k % pixels * 3 + k / pixels]).collect::<Vec<_>>())
    }
}

impl Extractor for OnnxBackbone {
    fn input(&self) -> Shape {
        self.input
    }

    fn width(&self) -> usize {
        self.width
    }

    fn digest(&self) -> [u8; 32] {
        let numbers = self.mean.iter().chain(&self.std);
        numbers.fold(Sha256::new_with_prefix(self.sha256), |sha, x| sha.chain_update(x.to_le_bytes())).finalize().into()
    }

    fn features(&self, image: &[f32]) -> Result<Vec<f32>> {
        ensure!(image.len() == self.input.len(), "the image has {} values, not {}", image.len(), self.input);
        let pixels = self.input.pixels();
        let value = |c: usize, at: usize| ((f64::from(image[c * pixels + at]) - self.mean[c]) / self.std[c]) as f32;
        let (h, w) = (self.input.h.into(), self.input.w.into());
        let (dims, values): (_, Vec<f32>) = if self.planar {
            ([1, 3, h, w], (0..image.len()).map(|k| value(k / pixels, k % pixels)).collect())
        } else {
            ([1, h, w, 3], (0..image.len()).map(|k| value(k % 3, k / 3)).collect())
        };
        let outputs = runnable::run(&self.runnable, tvec!(Tensor::from_shape(&dims, &values)?.into()))?;
        let output = outputs.first().context("it has no output")?;
        let values: Vec<f32> =
            output.to_plain_array_view::<f32>().context("its output is not float")?.iter().copied().collect();
        ensure!(values.iter().all(|value| value.is_finite()), "its features are not all finite numbers");
        Ok(values)
    }
}

/// The network in the file `path`, with the weights that lie beside it. Nothing of it is checked but that it can be decoded.
///
/// # Errors
/// It cannot be read, is no ONNX file, or truncated; names the file.
pub fn read(path: &Path) -> Result<ModelProto> {
    let bytes = runnable::read_regular(path).with_context(|| format!("cannot read the network {}", path.display()))?;
    let whole = decode(&bytes).and_then(|mut proto| {
        runnable::inline(&mut proto, path.parent().unwrap_or(Path::new("")))?;
        Ok(proto)
    });
    whole.with_context(|| format!("in the network {}", path.display()))
}

/// The file's network without the shapes that it tells of its values: they may be for batches of any size, and all of them
/// follow from the image's.
fn decode(bytes: &[u8]) -> Result<ModelProto> {
    let mut proto = runnable::decode(bytes)?;
    if let Some(graph) = &mut proto.graph {
        graph.value_info.clear();
        graph.output.iter_mut().for_each(|output| output.r#type = None);
    }
    Ok(proto)
}

/// What it takes, and whether the channels come first.
fn image_shape(model: &InferenceModel, img_size: Option<u16>) -> Result<(Shape, bool)> {
    let inputs = model.input_outlets()?.len();
    ensure!(inputs == 1, "it has {inputs} inputs, a backbone takes one image");
    let fact = model.input_fact(0)?;
    let kind = fact.datum_type.concretize().unwrap_or(f32::datum_type());
    ensure!(kind == f32::datum_type(), "it takes {kind:?}, not float: give the float model, not a quantized one");
    let dims = fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok()));
    let dims: Vec<Option<usize>> = dims.collect();
    let (planar, sides) = match dims[..] {
        [_, Some(3), h, w] => (true, [h, w]),
        [_, h, w, Some(3)] => (false, [h, w]),
        _ => bail!("its input {dims:?} is no colour image, (1, 3, h, w) or (1, h, w, 3)"),
    };
    let side = |side: Option<usize>| match side {
        Some(side) => {
            let fits = u16::try_from(side).ok().filter(|side| *side <= LARGEST_SIDE);
            fits.with_context(|| {
                format!("its images have a side of {side} pixels, at most {LARGEST_SIDE} are supported")
            })
        }
        None => img_size.context("it takes images of any size: say which by --img-size"),
    };
    let [h, w] = sides.map(side);
    let (h, w) = (h?, w?);
    ensure!(h == w, "it takes images of {h}x{w}; datasets hold square ones");
    Ok((Shape::new(h, w, 3), planar))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use std::path::PathBuf;
    use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
    use tract_onnx::pb::type_proto::{self, Value};
    use tract_onnx::pb::{
        GraphProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
        ValueInfoProto,
    };

    fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
        let size = |&size: &i64| match size {
            0 => dimension::Value::DimParam("n".into()),
            size => dimension::Value::DimValue(size),
        };
        let dim = dims.iter().map(|d| Dimension { value: Some(size(d)), ..Dimension::default() }).collect();
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
        let r#type = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
        ValueInfoProto { name: name.into(), r#type: Some(r#type), ..ValueInfoProto::default() }
    }

    /// A file with one node, called `strange`.
    fn file(op_type: &str, input: &[i64]) -> Vec<u8> {
        let node = NodeProto {
            op_type: op_type.into(),
            name: "strange".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            ..NodeProto::default()
        };
        let graph = GraphProto {
            name: "g".into(),
            node: vec![node],
            input: vec![value("x", input)],
            // Another shape than the node has: nothing relies on it.
            output: vec![value("y", input)],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
            graph: Some(graph),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }

    fn parse(bytes: &[u8], img_size: Option<u16>) -> Result<OnnxBackbone> {
        let recipe = TransferRecipe {
            backbone_mean: [0.5, 0.0, 0.0],
            backbone_std: [1.0, 1.0, 2.0],
            ..TransferRecipe::default()
        };
        OnnxBackbone::new(&decode(bytes)?, [0; 32], &recipe, img_size)
    }

    #[test]
    fn features_are_those_of_the_normalised_image_in_either_layout() {
        let image: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let backbone = parse(&file("GlobalAveragePool", &[0, 3, 2, 2]), None).unwrap();
        assert_eq!((backbone.width(), backbone.input()), (3, Shape::new(2, 2, 3)));
        assert_eq!(backbone.features(&image).unwrap(), [1.0, 5.5, 4.75]);
        // The identity keeps the layout that it is given: pixel by pixel.
        let backbone = parse(&file("Identity", &[1, 0, 0, 3]), Some(2)).unwrap();
        assert_eq!(backbone.features(&image).unwrap()[..6], [-0.5, 4.0, 4.0, 0.5, 5.0, 4.5]);
        let interleaved: Vec<f32> = (0..12).map(|k| image[k % 3 * 4 + k / 3]).collect();
        assert_eq!(backbone.features_of_pixels(&interleaved).unwrap(), backbone.features(&image).unwrap());
        assert!(backbone.features(&[f32::NAN; 12]).unwrap_err().to_string().contains("finite"));
    }

    #[test]
    fn another_normalisation_makes_other_features() {
        let bytes = file("Relu", &[1, 3, 2, 2]);
        let of = |backbone_mean: [f64; 3], backbone_std: [f64; 3]| {
            let recipe = TransferRecipe { backbone_mean, backbone_std, ..TransferRecipe::default() };
            OnnxBackbone::new(&decode(&bytes).unwrap(), [0; 32], &recipe, None).unwrap().digest()
        };
        let plain = of([0.0; 3], [1.0; 3]);
        assert_eq!(plain, of([0.0; 3], [1.0; 3]));
        assert!(of([0.5, 0.0, 0.0], [1.0; 3]) != plain && of([0.0; 3], [1.0, 1.0, 0.5]) != plain);
    }

    #[test]
    fn several_outputs_are_refused_by_name() {
        let mut proto = ModelProto::decode(&file("Relu", &[1, 3, 2, 2])[..]).unwrap();
        let graph = proto.graph.as_mut().unwrap();
        let second = NodeProto { name: "second".into(), output: vec!["z".into()], ..graph.node[0].clone() };
        graph.node.push(second);
        graph.output.push(value("z", &[1, 3, 2, 2]));
        let message = format!("{:#}", parse(&proto.encode_to_vec(), None).unwrap_err());
        assert!(message.contains("2 outputs") && message.contains("strange, second"), "{message}");
    }

    #[test]
    fn what_cannot_be_a_backbone_is_named() {
        let message = |bytes: &[u8], size| format!("{:#}", parse(bytes, size).unwrap_err());
        let unknown = message(&file("Mystery", &[1, 3, 2, 2]), None);
        assert!(unknown.contains("`strange`") && unknown.contains("Mystery"), "{unknown}");
        assert!(message(&file("Relu", &[1, 3, 0, 0]), None).contains("--img-size"));
        assert!(message(&file("Relu", &[1, 4, 2, 2]), None).contains("no colour image"));
        assert!(message(&file("Relu", &[1, 3, 2, 4]), None).contains("square"));
        assert!(message(b"not onnx at all", None).contains("is no ONNX file"));
        let recipe = TransferRecipe { backbone: Some(PathBuf::from("no/such.onnx")), ..TransferRecipe::default() };
        assert!(OnnxBackbone::load(&recipe, None).unwrap_err().to_string().contains("no/such.onnx"));
    }

    /// A file that multiplies an image's colours by three numbers, which are in the file `name` from byte 4 on.
    fn file_with_weights_in(name: &str) -> Vec<u8> {
        let mut proto = ModelProto::decode(&file("Mul", &[1, 3, 2, 2])[..]).unwrap();
        let graph = proto.graph.as_mut().unwrap();
        graph.node[0].input.push("w".into());
        let entry = |(key, value): (&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
        graph.initializer.push(TensorProto {
            name: "w".into(),
            dims: vec![1, 3, 1, 1],
            data_type: DataType::Float as i32,
            data_location: Some(DataLocation::External as i32),
            external_data: [("location", name), ("offset", "4"), ("length", "12")].map(entry).into(),
            ..TensorProto::default()
        });
        proto.encode_to_vec()
    }

    #[test]
    fn weights_beside_the_file_belong_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let [path, data] = ["b.onnx", "b.onnx.data"].map(|name| folder.path().join(name));
        std::fs::write(&path, file_with_weights_in("b.onnx.data")).unwrap();
        let load = |backbone_sha256: String| {
            let recipe = TransferRecipe { backbone: Some(path.clone()), backbone_sha256, ..TransferRecipe::default() };
            OnnxBackbone::load(&recipe, None)
        };
        let message = || format!("{:#}", load(String::new()).unwrap_err());
        assert!(message().contains("b.onnx.data, which cannot be read"), "{}", message());
        let write = |factors: [f32; 4], len: usize| {
            std::fs::write(&data, &factors.map(f32::to_le_bytes).concat()[..len]).unwrap();
        };
        write([9.0, 1.0, 2.0, 3.0], 15);
        assert!(message().contains("b.onnx.data ends before its weights w"), "{}", message());
        write([9.0, 1.0, 2.0, 3.0], 16);
        let backbone = load(String::new()).unwrap();
        assert_eq!(
            backbone.features(&[1.0; 12]).unwrap(),
            [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]
        );
        // Other weights are another backbone.
        let digest = backbone.sha256();
        assert!(load(digest.clone()).is_ok());
        write([9.0, 1.0, 2.0, 4.0], 16);
        assert!(load(digest).unwrap_err().to_string().contains("the head was trained on"));
        for outside in ["../b.onnx.data", "/etc/hostname"] {
            std::fs::write(&path, file_with_weights_in(outside)).unwrap();
            assert!(message().contains("outside its own folder"), "{}", message());
        }
    }

    #[test]
    fn another_file_than_the_head_was_trained_on_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.onnx");
        let bytes = file("Relu", &[1, 3, 2, 2]);
        std::fs::write(&path, &bytes).unwrap();
        let own = hex::encode(Sha256::digest(&bytes));
        let load = |backbone_sha256: &str| {
            let backbone_sha256 = backbone_sha256.to_owned();
            let recipe = TransferRecipe { backbone: Some(path.clone()), backbone_sha256, ..TransferRecipe::default() };
            OnnxBackbone::load(&recipe, None)
        };
        assert_eq!(load(&own).unwrap().sha256(), own);
        assert!(load("ab").unwrap_err().to_string().contains(&own));
        std::fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
        assert!(load(&own).unwrap_err().to_string().contains("SHA-256"), "not even ONNX any more");
    }
}
