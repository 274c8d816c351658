//! Writes graphs as ONNX files, and opens those that it wrote.
//!
//! Opset 13, IR 8, default domain; feature maps are `(batch, c, h, w)`, vectors `(batch, c, 1, 1)`. Every value has the
//! name of its layer; the input is `image`. Where a map becomes a vector, a transpose keeps the board's `(h, w, c)` order.
//!
//! | metadata key | value |
//! |---|---|
//! | `ocellus.kind` | `int8` or `float` |
//! | `ocellus.format` | version of this table and of the operators used |
//! | `ocellus.version` | version of the program that wrote the file |
//! | `ocellus.labels` | class names, JSON array |
//! | `ocellus.preprocessing` | how a picture becomes the input, JSON object |
//! | `ocellus.dataset` | SHA-256 of the training data, hex; empty where that is unknown |
//! | `ocellus.weights` | SHA-256 of the trained weights, hex; empty where that is unknown |
//! | `ocellus.digest` | int8: digest of the quantized graph, hex; the plan written with it has the same |
//! | `ocellus.scales` | int8: what each value's integers stand for, JSON object of name to `[scale, zero point]` |
//! | `ocellus.sha256` | last in the file: SHA-256 of all bytes before this entry, hex |

mod float;
mod int8;

use crate::graph::Origin;
use crate::quantize::QuantGraph;
use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Crop;
use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};
use tract_onnx::pb::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

pub use float::{read as read_float, write as write_float};

/// Version of the metadata and of the form of the operators.
const FORMAT: &str = "1";
const IR_VERSION: i64 = 8;
const OPSET: i64 = 13;
const SEAL: &str = "ocellus.sha256";

/// `graph` as an int8 ONNX file, in the form in which tract and ONNX Runtime compute what the board computes.
///
/// Outputs are `scores`, int8 `(batch, classes)`, and `logits`, the same dequantized.
///
/// # Errors
/// The graph breaks a rule of [`QuantGraph::check`].
pub fn write(graph: &QuantGraph) -> Result<Vec<u8>> {
    graph.check()?;
    let input = graph.values[0];
    let scales: serde_json::Map<_, _> = (0..graph.values.len())
        .map(|v| (graph.value_name(v).to_owned(), json!([graph.values[v].params.scale, graph.values[v].params.zero])))
        .collect();
    let preprocessing = json!({
        "crop": crop_name(graph.crop),
        "size": [input.shape.h, input.shape.w],
        "colour": "RGB",
        "quantization": "int8 = pixel - 128",
    });
    let metadata = [
        ("ocellus.kind", "int8".to_owned()),
        ("ocellus.labels", json!(graph.labels).to_string()),
        ("ocellus.preprocessing", preprocessing.to_string()),
        ("ocellus.dataset", graph.origin.dataset.clone()),
        ("ocellus.weights", graph.origin.weights.clone()),
        ("ocellus.digest", hex::encode(graph.digest())),
        ("ocellus.scales", serde_json::Value::Object(scales).to_string()),
    ];
    Ok(seal(int8::graph(graph), &metadata))
}

/// What the metadata calls `crop`.
fn crop_name(crop: Crop) -> &'static str {
    match crop {
        Crop::Centre => "centre",
        Crop::Stretch => "stretch",
    }
}

/// The bytes of a model file of `graph` with this metadata.
fn seal(graph: tract_onnx::pb::GraphProto, metadata: &[(&str, String)]) -> Vec<u8> {
    let common = [("ocellus.format", FORMAT.to_owned()), ("ocellus.version", env!("CARGO_PKG_VERSION").to_owned())];
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "ocellus".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        metadata_props: metadata.iter().chain(&common).map(|(key, value)| entry(key, value)).collect(),
        ..ModelProto::default()
    };
    let mut bytes = model.encode_to_vec();
    let seal = seal_entry(&bytes);
    bytes.extend(seal);
    bytes
}

/// The encoded metadata entry that vouches for `bytes`. Protobuf messages may be concatenated: it is simply appended.
fn seal_entry(bytes: &[u8]) -> Vec<u8> {
    let metadata_props = vec![entry(SEAL, &hex::encode(Sha256::digest(bytes)))];
    ModelProto { metadata_props, ..ModelProto::default() }.encode_to_vec()
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned() }
}

/// The model in `bytes`, which must be exactly what this version of the program wrote.
///
/// # Errors
/// It is truncated, damaged, changed by another program, of another version or of another kind than `kind`.
pub fn open(bytes: &[u8], kind: &str) -> Result<ModelProto> {
    let again = "write it again with `ocellus export`";
    let content = bytes.len().checked_sub(seal_entry(&[]).len());
    let intact = content.is_some_and(|at| bytes[at..] == seal_entry(&bytes[..at]));
    let model = ModelProto::decode(bytes);
    if !intact {
        let ours = model.is_ok_and(|m| m.producer_name == "ocellus");
        let what = if ours {
            "was changed or damaged since it was written"
        } else {
            "is truncated, damaged, or not from Ocellus"
        };
        bail!("the ONNX file {what}: {again}");
    }
    let model = model.context("the ONNX file cannot be decoded")?;
    let format = metadata(&model, "ocellus.format")?;
    ensure!(format == FORMAT, "the ONNX file is of format {format}, this program reads {FORMAT}: {again}");
    let found = metadata(&model, "ocellus.kind")?;
    ensure!(found == kind, "this is the {found} model, expected the {kind} one: name the other file");
    Ok(model)
}

/// The metadata entry `key` of `model`.
///
/// # Errors
/// There is none.
pub fn metadata<'a>(model: &'a ModelProto, key: &str) -> Result<&'a str> {
    let entry = model.metadata_props.iter().find(|entry| entry.key == key);
    Ok(&entry.with_context(|| format!("the ONNX file has no `{key}`"))?.value)
}

/// What the file in `bytes` says that it is, `int8` or `float`; nothing where it is not one of ours.
pub fn kind(bytes: &[u8]) -> Option<String> {
    let model = ModelProto::decode(bytes).ok()?;
    metadata(&model, "ocellus.kind").ok().map(str::to_owned)
}

/// How the file in `bytes` has pictures cut; nothing where it does not say.
pub fn crop(bytes: &[u8]) -> Option<Crop> {
    let model = ModelProto::decode(bytes).ok()?;
    let preprocessing: serde_json::Value =
        serde_json::from_str(metadata(&model, "ocellus.preprocessing").ok()?).ok()?;
    let name = preprocessing["crop"].as_str()?;
    [Crop::Centre, Crop::Stretch].into_iter().find(|crop| crop_name(*crop) == name)
}

/// Where the model in `bytes` comes from, and the digest that it shares with a plan if it is an int8 one; nothing where it
/// is not intact, or was written before files said so.
pub fn origin(bytes: &[u8]) -> Option<(Origin, String)> {
    let model = ["int8", "float"].iter().find_map(|kind| open(bytes, kind).ok())?;
    let entry = |key| metadata(&model, key).unwrap_or_default().to_owned();
    let origin = Origin { dataset: entry("ocellus.dataset"), weights: entry("ocellus.weights") };
    Some((origin, entry("ocellus.digest")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::GraphProto;

    fn file() -> Vec<u8> {
        let graph = GraphProto { name: "a graph".into(), ..GraphProto::default() };
        seal(graph, &[("ocellus.kind", "int8".into()), ("ocellus.labels", "[]".into())])
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let model = open(&file(), "int8").unwrap();
        assert_eq!(model.graph.as_ref().unwrap().name, "a graph");
        assert_eq!(metadata(&model, "ocellus.labels").unwrap(), "[]");
        assert!(metadata(&model, "ocellus.digest").unwrap_err().to_string().contains("ocellus.digest"));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let file = file();
        for at in 0..file.len() {
            assert!(open(&file[..at], "int8").is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(open(&damaged, "int8").is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn another_kind_version_or_program_is_refused_with_the_remedy() {
        let refusal = |bytes: &[u8], kind: &str| open(bytes, kind).unwrap_err().to_string();
        assert_eq!(refusal(&file(), "float"), "this is the int8 model, expected the float one: name the other file");
        let mut other = ModelProto::decode(file().as_slice()).unwrap();
        other.metadata_props.retain(|entry| entry.key != SEAL);
        other.metadata_props.iter_mut().filter(|e| e.key == "ocellus.format").for_each(|e| e.value = "99".into());
        let mut bytes = other.encode_to_vec();
        assert!(refusal(&bytes, "int8").contains("was changed or damaged"));
        bytes.extend(seal_entry(&bytes));
        assert!(refusal(&bytes, "int8").contains("format 99, this program reads 1: write it again"));
        assert!(refusal(b"not a model", "int8").contains("not from Ocellus"));
        assert!(refusal(b"", "int8").contains("truncated"));
    }
}
