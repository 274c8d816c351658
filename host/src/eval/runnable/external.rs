//! Weights that an ONNX file keeps in others beside it.

use super::nodes;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, TensorProto};

/// Bytes that an ONNX file may have: the most that a message of protocol buffers can.
const MOST_BYTES: u64 = 1 << 31;
/// Bytes of weights that may lie beside it.
const MOST_WEIGHTS: u64 = 1 << 33;
/// Bytes of a file beside another that no weights lie in: their gaps.
const MOST_UNUSED: u64 = 1 << 20;

/// Where weights are.
struct Range {
    file: String,
    offset: usize,
    end: Option<usize>,
}

/// The whole of a regular file of at most [`MOST_BYTES`]: a pipe or a device may have no end.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_regular(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, MOST_BYTES)
}

fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    // Only opening a pipe may already wait for ever.
    ensure!(path.metadata()?.is_file(), "it is no regular file");
    let file = std::fs::File::open(path)?;
    let found = file.metadata()?;
    ensure!(found.is_file(), "it is no regular file");
    ensure!(found.len() <= most, "it has {} bytes, more than the {most} that could be of use", found.len());
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(found.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Takes the weights that the file keeps in others in its `folder` into it, as PyTorch's exporter leaves them there and
/// as every file of more than 2 GB must; returns the contents of those files by their names.
///
/// # Errors
/// A file is missing or none, lies elsewhere, ends too early or is far longer than what lies in it, or weights have another length
/// than their dimensions say.
pub fn inline(proto: &mut ModelProto, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let Some(graph) = proto.graph.as_mut() else { return Ok(files) };
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let of_nodes = attributes.flat_map(|attribute| attribute.t.iter_mut().chain(&mut attribute.tensors));
    let mut tensors: Vec<(Range, &mut TensorProto)> = graph
        .initializer
        .iter_mut()
        .chain(of_nodes)
        .filter(|tensor| tensor.data_location == Some(DataLocation::External as i32))
        .map(|tensor| Ok((range(tensor)?, tensor)))
        .collect::<Result<_>>()?;
    // Each byte belongs to one tensor, so that what is read is no longer than what there is.
    let mut used = BTreeMap::<String, u64>::new();
    for (range, tensor) in &tensors {
        *used.entry(range.file.clone()).or_default() += nodes::bytes(tensor)?;
    }
    for (name, used) in used {
        let path = folder.join(&name);
        let missing =
            || format!("it keeps its weights in {}, which cannot be read: put that file there", path.display());
        ensure!(used <= MOST_WEIGHTS, "it says that {used} bytes of weights are in {name}");
        let file = read_up_to(&path, 2 * used + MOST_UNUSED).with_context(missing)?;
        ensure!(
            used <= file.len() as u64,
            "{name} ends before the {used} bytes of weights that are said to be in it: it was cut off, or belongs to another \
             file; copy it again"
        );
        files.insert(name, file);
    }
    for (range, tensor) in &mut tensors {
        let (name, file) = (&range.file, &files[&range.file]);
        let data = file.get(range.offset..range.end.unwrap_or(file.len())).with_context(|| {
            let of = &tensor.name;
            format!("{name} ends before its weights {of}: it was cut off, or belongs to another file; copy it again")
        })?;
        tensor.raw_data = data.to_vec();
        tensor.data_location = None;
        nodes::check_tensor(tensor)?;
    }
    Ok(files)
}

/// Where the weights of `tensor` are, within the file's own folder.
fn range(tensor: &TensorProto) -> Result<Range> {
    let of = &tensor.name;
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        let parse = |text: &str| text.parse().with_context(|| format!("its weights {of} have the {key} {text:?}"));
        entry(key).map(parse).transpose()
    };
    let name = entry("location").with_context(|| format!("its weights {of} are in no file that it names"))?;
    let (offset, length): (Option<usize>, Option<usize>) = (number("offset")?, number("length")?);
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(inside, "it keeps weights outside its own folder, in {name}: export it again with all files in one folder");
    let offset = offset.unwrap_or(0);
    let end = length.map(|length| offset.checked_add(length).with_context(|| format!("its weights {of} have no end")));
    Ok(Range { file: name.to_owned(), offset, end: end.transpose()? })
}
