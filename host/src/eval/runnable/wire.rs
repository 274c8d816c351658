//! How much an encoded ONNX file unfolds to, found before it is decoded: two bytes can be an empty node, which takes two hundred
//! in memory.
//!
//! Source: the encoding of protocol buffers, and the numbers of fields in `onnx.proto`.

use anyhow::{Context, Result, ensure};

/// Strings and messages that a file may have; a large network's has a hundred thousand.
const MOST_PARTS: usize = 1 << 20;
/// Messages within messages, as the decoder has it.
const DEEPEST: usize = 100;

/// The messages of `onnx.proto` that hold others, by what this needs to tell apart.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Other,
}

impl Message {
    /// What its field `number` is; nothing where that is a string, bytes or numbers.
    fn field(self, number: u64) -> Option<Self> {
        match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Model, 8 | 14 | 20 | 25) | (Self::Graph, 11..=15) | (Self::Tensor, 3 | 13) => Some(Self::Other),
            _ => None,
        }
    }
}

/// Refuses `bytes` if they are no ONNX file or have more parts than a network has.
///
/// # Errors
/// They are, or have.
pub fn check(bytes: &[u8]) -> Result<()> {
    let mut parts = 0;
    count(bytes, Message::Model, 0, &mut parts).context("it is no ONNX file, or it is truncated")
}

fn count(mut bytes: &[u8], message: Message, depth: usize, parts: &mut usize) -> Result<()> {
    ensure!(depth < DEEPEST, "its messages are nested more than {DEEPEST} deep");
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?)?,
            5 => 4,
            other => anyhow::bail!("a field has the wire type {other}"),
        };
        ensure!(length <= bytes.len(), "a field of {length} bytes has only {}", bytes.len());
        let (content, rest) = bytes.split_at(length);
        bytes = rest;
        if key & 7 != 2 {
            continue;
        }
        *parts += 1;
        ensure!(*parts <= MOST_PARTS, "it has more than {MOST_PARTS} nodes, names and values");
        match message.field(key >> 3) {
            // Types and pairs of strings: a part each, and few.
            Some(Message::Other) => *parts += content.len() / 16,
            Some(inner) => count(content, inner, depth + 1, parts)?,
            None => (),
        }
    }
    Ok(())
}

/// Takes an integer off the front.
fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().context("it ends within a number")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number has more than ten bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

    fn with(node: Vec<NodeProto>) -> Vec<u8> {
        ModelProto { graph: Some(GraphProto { node, ..GraphProto::default() }), ..ModelProto::default() }
            .encode_to_vec()
    }

    #[test]
    fn what_unfolds_is_counted_and_large_weights_are_not() {
        let tensor = TensorProto { raw_data: vec![0x0a; 3 * MOST_PARTS], ..TensorProto::default() };
        let attribute = vec![AttributeProto { t: Some(tensor), ..AttributeProto::default() }];
        check(&with(vec![NodeProto { attribute, ..NodeProto::default() }])).unwrap();
        // Two bytes each.
        let bytes = with(vec![NodeProto::default(); MOST_PARTS]);
        assert!(bytes.len() < 3 * MOST_PARTS);
        assert!(format!("{:#}", check(&bytes).unwrap_err()).contains("more than"));
        let input = vec![String::new(); MOST_PARTS];
        assert!(check(&with(vec![NodeProto { input, ..NodeProto::default() }])).is_err());
        let strings = vec![vec![]; MOST_PARTS];
        let attribute = vec![AttributeProto { strings, ..AttributeProto::default() }];
        assert!(check(&with(vec![NodeProto { attribute, ..NodeProto::default() }])).is_err());
    }

    #[test]
    fn what_is_cut_off_is_refused_without_decoding_it() {
        let bytes = with(vec![NodeProto { name: "a".into(), ..NodeProto::default() }]);
        check(&bytes).unwrap();
        for end in 1..bytes.len() {
            assert!(check(&bytes[..end]).is_err(), "{end}");
        }
        for garbage in [&b"not onnx at all"[..], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(check(garbage).is_err());
        }
    }
}
