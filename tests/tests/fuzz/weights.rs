//! Files of weights: safetensors, what `torch.save` writes (an archive, and the pickle in it), and checkpoints of our own.

use super::target::{Target, crc32};
use ocellus::checkpoint::{Checkpoint, Progress, Resume};
use ocellus::net::module::Module;
use ocellus::net::{self, Weights};
use ocellus::recipe::Recipe;
use ocellus::weights::{self, sealed};
use ocellus_shared::Shape;
use ocellus_tests::program::TINY;
use std::fmt::Write as _;
use std::path::Path;

/// The network that the files are read for.
fn module() -> Module {
    Module::new(net::build(&Recipe::parse(TINY).unwrap(), Shape::new(16, 16, 3), 3).unwrap()).unwrap()
}

/// Reads `bytes` as the weights of `module`. If they are taken, every parameter has an array of its shape.
fn is_taken(path: &Path, bytes: &[u8], module: &Module) -> bool {
    std::fs::write(path, bytes).unwrap();
    let model = Recipe::parse(TINY).unwrap().model;
    let classes = ["a", "b", "c"].map(str::to_owned);
    let target = weights::Target::whole(model, module.parameters());
    let Ok(found) = weights::load(path, target, &classes) else { return false };
    for parameter in module.parameters() {
        let array = found.weights.get(&parameter.name);
        let fits = array.is_some_and(|array| {
            array.shape == parameter.shape && array.values.len() == parameter.shape.iter().product::<usize>()
        });
        assert!(fits || found.fresh.contains(&parameter.name), "{} has no array of its shape", parameter.name);
    }
    true
}

/// A safetensors file with these tensors.
fn safetensors(weights: &Weights) -> Vec<u8> {
    let (mut header, mut data) = (String::new(), Vec::new());
    for (name, array) in weights {
        let begin = data.len();
        data.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
        let (end, shape) = (data.len(), &array.shape);
        write!(header, "\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}},")
            .unwrap();
    }
    let header = format!("{{{}}}", header.trim_end_matches(','));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// A state dictionary with the shapes of these tensors, each in a storage of its own, pickled as `torch.save` does.
fn pickle(weights: &Weights) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: usize| [&b"J"[..], &(number as u32).to_le_bytes()].concat();
    let tuple =
        |numbers: &[usize]| [&b"("[..], &numbers.iter().flat_map(|n| number(*n)).collect::<Vec<_>>(), b"t"].concat();
    let mut bytes = b"\x80\x02}(".to_vec();
    for (key, (name, array)) in weights.iter().enumerate() {
        let strides = (0..array.shape.len()).map(|axis| array.shape[axis + 1..].iter().product());
        let storage = [
            &b"("[..],
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text(&key.to_string()),
            &text("cpu"),
            &number(array.values.len()),
            b"tQ",
        ];
        let view = [&number(0)[..], &tuple(&array.shape), &tuple(&strides.collect::<Vec<_>>()), b"\x89ccollections\n"];
        bytes.extend([&text(name)[..], b"ctorch._utils\n_rebuild_tensor_v2\n("].concat());
        bytes.extend([storage.concat(), view.concat(), b"OrderedDict\n)RtR".to_vec()].concat());
    }
    bytes.extend(b"u.");
    bytes
}

/// An archive of entries that are not compressed.
fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let at = (bytes.len() as u32).to_le_bytes();
        let sizes = [(content.len() as u32).to_le_bytes(); 2].concat();
        let (checksum, len) = (crc32(content).to_le_bytes(), (name.len() as u16).to_le_bytes());
        bytes.extend(
            [&b"PK\x03\x04"[..], &[0; 10], &checksum, &sizes, &len, &[0; 2], name.as_bytes(), content].concat(),
        );
        let head = [&b"PK\x01\x02"[..], &[0; 12], &checksum, &sizes, &len, &[0; 12], &at, name.as_bytes()];
        directory.extend(head.concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let [size, start] = [directory.len() as u32, bytes.len() as u32].map(u32::to_le_bytes);
    [&bytes[..], &directory, b"PK\x05\x06", &[0; 4], &count, &count, &size, &start, &[0; 2]].concat()
}

/// What `torch.save` writes of `weights`, described by `pickle`.
fn saved(pickle: &[u8], weights: &Weights) -> Vec<u8> {
    let storages = weights.values().enumerate().map(|(key, array)| {
        (format!("x/data/{key}"), array.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    });
    archive(&[("x/data.pkl".to_owned(), pickle.to_vec())].into_iter().chain(storages).collect::<Vec<_>>())
}

#[test]
fn safetensors_file() {
    let module = module();
    let seeds = [safetensors(&module.initial(1)), safetensors(&module.initial(2))];
    let words: &[&[u8]] = &[
        b"\"F16\"",
        b"\"F64\"",
        b"\"BF16\"",
        b"\"BOOL\"",
        b"[",
        b"{",
        b"\"__metadata__\":{",
        b"\"a\":",
        b"-",
        b",",
        b"\\u0000",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    // The header is as long as it is.
    let mend = |bytes: &mut [u8]| {
        let data: usize = module.parameters().iter().map(|p| 4 * p.shape.iter().product::<usize>()).sum();
        if let Some(length) = bytes.len().checked_sub(8 + data) {
            bytes[..8].copy_from_slice(&(length as u64).to_le_bytes());
        }
    };
    let target = Target { quick: 5_000, words, mend: &mend, ..Target::new("safetensors", &seeds) };
    target.run(|bytes| is_taken(&path, bytes, &module));
}

#[test]
fn pickled() {
    let module = module();
    let weights = module.initial(1);
    let seeds = [pickle(&weights)];
    let words: &[&[u8]] = &[
        b"ctorch\nDoubleStorage\n",
        b"ctorch\nHalfStorage\n",
        b"ctorch\nBFloat16Storage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"cos\nsystem\n",
        b"h\x00",
        b"q\x00",
        b"2",
        b"0",
        b"(",
        b"t",
        b"\x86",
        b"}",
        b"]",
        b"R",
        b"Q",
        b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    let target = Target { quick: 5_000, words, ..Target::new("pickle", &seeds) };
    target.run(|bytes| is_taken(&path, &saved(bytes, &weights), &module));
}

#[test]
fn zip() {
    let module = module();
    let weights = module.initial(1);
    let seeds = [saved(&pickle(&weights), &weights)];
    let words: &[&[u8]] = &[b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"x/data/0", b"x/data.pkl", b"x/version"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    Target { quick: 5_000, words, ..Target::new("zip", &seeds) }.run(|bytes| is_taken(&path, bytes, &module));
}

/// A checkpoint that is taken is the same when it is written and read again.
#[test]
fn checkpoint() {
    let recipe = Recipe::parse(TINY).unwrap();
    let weights = module().initial(1);
    let progress = Progress { epoch: 2, seconds: 3.5, ..Progress::default() };
    let whole = Checkpoint {
        recipe,
        classes: ["a", "b", "c"].map(str::to_owned).into(),
        input: Shape::new(16, 16, 3),
        dataset_hash: "ab".repeat(32),
        weights,
        resume: None,
    };
    let state: Weights = whole.weights.iter().map(|(name, array)| (format!("m.{name}"), array.clone())).collect();
    let begun = Checkpoint { resume: Some(Resume { progress, state }), ..whole.clone() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let written = |checkpoint: &Checkpoint| {
        checkpoint.save(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    let seeds = [written(&whole), written(&begun)];
    let words: &[&[u8]] = &[b"\\n", b"\\\"", b"nan", b"1e999", b"\"F16\"", b"\"shape\":[", b"[", b"{", b"}", b"-"];
    Target { quick: 3_000, words, mend: &seal, ..Target::new("checkpoint", &seeds) }.run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(checkpoint) = Checkpoint::load(&path) else { return false };
        let once = written(&checkpoint);
        assert!(written(&Checkpoint::load(&path).unwrap()) == once, "it is another one when it is written and read");
        true
    });
}

/// Gives a damaged checkpoint the digest of what it is now.
fn seal(bytes: &mut [u8]) {
    let key = format!("\"{}\":\"", sealed::KEY);
    let at = bytes.windows(key.len()).position(|part| part == key.as_bytes()).map(|at| at + key.len());
    if let Some(place) = at.and_then(|at| bytes.get_mut(at..at + sealed::UNSEALED.len())) {
        place.copy_from_slice(sealed::UNSEALED.as_bytes());
        // What has no header any more cannot be sealed either.
        let _ = sealed::seal(bytes);
    }
}
