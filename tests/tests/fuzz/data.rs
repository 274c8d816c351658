//! Datasets: CIFAR's files, pictures, and folders of them.

use super::target::{Target, crc32};
use ocellus::data::picture::Picture;
use ocellus::data::{self, check};
use ocellus::recipe::DataRecipe;
use std::fs;
use std::path::{Component, Path};

fn recipe(path: &Path) -> DataRecipe {
    DataRecipe { path: Some(path.to_owned()), img_size: Some(8), ..DataRecipe::default() }
}

/// Loads and checks the dataset at `path`; if it is taken, it has no more images than `most`, and each has a class.
fn is_taken(path: &Path, most: usize) -> bool {
    let recipe = recipe(path);
    let report = check::check(&recipe, &|_, _| ());
    let loaded = data::load(&recipe, &|_, _| ());
    let Ok(dataset) = loaded else { return false };
    assert!(report.is_usable(), "data check finds fault with what is taken");
    let splits = [&dataset.train, &dataset.val, &dataset.test];
    assert!(splits.iter().map(|split| split.len()).sum::<usize>() <= most);
    for split in splits {
        assert_eq!(split.images.len(), split.len() * split.height * split.width * 3);
        assert!(split.labels.iter().all(|label| usize::from(*label) < dataset.classes.len()));
    }
    true
}

/// Records of CIFAR-100 behind the names of their classes.
#[test]
fn cifar() {
    let names: String = (0..100).map(|class| format!("class {class}\n")).collect();
    let record = |i: usize| [&[0, (i % 3) as u8][..], &[i as u8; 3072]].concat();
    let seeds = [60, 80].map(|count| [names.clone().into_bytes(), (0..count).flat_map(record).collect()].concat());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let words: &[&[u8]] = &[b"\n", b"\x1b[2J", b"class 1\n"];
    Target { quick: 1_000, words, ..Target::new("cifar", &seeds) }.run(|bytes| {
        let (names, records) = bytes.split_at(names.len().min(bytes.len()));
        let half = records.len() / RECORD / 2 * RECORD;
        write("fine_label_names.txt", names);
        write("train.bin", &records[..half]);
        write("test.bin", &records[half..]);
        is_taken(folder.path(), records.len() / RECORD)
    });
}

/// Bytes of a record of CIFAR-100.
const RECORD: usize = 3074;

/// A picture of some pixels, as a PNG file.
fn png(width: u16, height: u16) -> Vec<u8> {
    let pixels = (0..usize::from(width) * usize::from(height) * 3).map(|i| (7 * i) as u8).collect();
    Picture { width, height, pixels }.to_png().unwrap()
}

/// A picture that is taken has as many pixels as it says, and becomes a square.
#[test]
fn picture() {
    let jpeg = include_bytes!("../../golden/picture.jpg").to_vec();
    let seeds = [png(9, 7), png(1, 30), jpeg];
    let words: &[&[u8]] =
        &[b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"\xff\xc0", b"\xff\xd9", b"\xff\xda", b"\xff\xe1"];
    // A hundred million pixels may be told in a few bytes.
    let target =
        Target { quick: 4_000, most_bytes: 3 << 30, mend: &checksums, words, ..Target::new("picture", &seeds) };
    target.run(|bytes| {
        let Ok(picture) = Picture::decode(bytes) else { return false };
        let pixels = usize::from(picture.width) * usize::from(picture.height);
        assert_eq!(picture.pixels.len(), 3 * pixels);
        picture.square(8, DataRecipe::default().fit(), &mut [0; 8 * 8 * 3]);
        true
    });
}

/// Makes the checksums of a PNG file's parts good again.
fn checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(&length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        let end = (at + 8).saturating_add(u32::from_be_bytes(length) as usize);
        let Some(content) = bytes.get(at + 4..end) else { return };
        let crc = crc32(content).to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&crc);
        at = end + 4;
    }
}

/// A folder with pictures of these names, one a line.
#[cfg(unix)]
#[test]
fn folder() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let of = |parts: &[&str]| -> Vec<u8> {
        let names = parts.iter().flat_map(|part| {
            ["cat", "dog"].into_iter().flat_map(move |class| (10..20).map(move |i| format!("{part}{class}/{i}.png\n")))
        });
        names.collect::<String>().into_bytes()
    };
    let seeds = [of(&[""]), of(&["train/", "test/"]), of(&["train/", "val/", "test/"])];
    let words: &[&[u8]] = &[
        b"\n",
        b"/",
        b"train/",
        b"test/cow/1.png\n",
        b"__MACOSX/",
        b".hidden/",
        b"\xff",
        b"\x1b[2J",
        "e\u{301}".as_bytes(),
        "é".as_bytes(),
        b"recipe.toml\n",
        b"best.safetensors\n",
        b"data_batch_1.bin\n",
        b"train.bin\n",
        b"=cmd",
    ];
    let pictures = [png(9, 7), png(8, 8)];
    Target { quick: 400, words, ..Target::new("folder", &seeds) }.run(|bytes| {
        let folder = tempfile::tempdir().unwrap();
        let mut count = 0;
        for name in bytes.split(|&byte| byte == b'\n').filter(|name| !name.is_empty() && !name.contains(&0)) {
            let inside = Path::new(OsStr::from_bytes(name));
            let is_inside = inside.components().all(|part| matches!(part, Component::Normal(name) if name.len() < 200));
            let path = folder.path().join(inside);
            // A file of that name may be where a folder should be.
            if !is_inside || fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            let mut content = pictures[count % 2].clone();
            // One that is cut off now and then.
            content.truncate(if name.len().is_multiple_of(97) { 40 } else { content.len() });
            count += usize::from(fs::write(path, content).is_ok());
        }
        is_taken(folder.path(), count)
    });
}
