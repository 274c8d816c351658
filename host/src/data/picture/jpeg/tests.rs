use super::*;
use crate::data::picture::Picture;
use image::{DynamicImage, ImageFormat, RgbImage};
use std::io::Cursor;

/// Pillow 12, 40x40, quality 12, 4:2:0, of a picture in which every block differs.
const PROGRESSIVE: &str = "\
    ffd8ffe000104a46494600010100000100010000ffdb004300432e323a322a433a363a4b47434f64a66c645c5c64cc929a79a6f1d4fefa\
    edd4e9e5ffffffffffffffffe5e9ffffffffffffffffffffffffffffffffffffffffffdb004301474b4b645764c46c6cc4ffffe9ffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc20011080028\
    002803012200021101031101ffc40017000101010100000000000000000000000000010203ffc400160101010100000000000000000000\
    000000000102ffda000c03010002100310000001e7d33a2508156c400175824a282e7fffc4001a10000203010100000000000000000000\
    0000011020414231ffda00080101000105021195dc1f992c74eba8ffc40017110100030000000000000000000000000001001020ffda00\
    08010301013f0174533fffc40017110100030000000000000000000000000011001020ffda0008010201013f01a1d13fffc40016100101\
    0100000000000000000000000000013010ffda0008010100063f02d2c43fffc4001f100002020201050000000000000000000000013141\
    102161115171b1c1ffda0008010100013f214b426842c2ae30e0a16bab817a0a725df81fc14154503964b789123bbe71ffda000c030100\
    02000300000010576f300008200bffc4001e1100020103050000000000000000000000000141102181115171a1b1ffda0008010301013f\
    10db81dde7c135284efdd12d49521c1fffc4001a1100030100030000000000000000000000000111211031a1ffda0008010201013f1069\
    1486d3b70a22c62df387ffc400201001000202020203010000000000000000010011213141a151916171b1c1ffda0008010100013f10a9\
    4a339418bc4e138bfe4b64706a564333078ba2bdc017ae0222ce8b4b0befdc36ef88aad7b751287959a0f14ea6207c3f60ae937ab8b833\
    f63551dd365513d3a0ea5642be628ccc6cd1507175de1ee360d5228753ffd9\
";
/// As [`PROGRESSIVE`], sequential, with tables of its own and a restart marker every two units.
const RESTARTED: &str = "\
    ffd8ffe000104a46494600010100000100010000ffdb004300432e323a322a433a363a4b47434f64a66c645c5c64cc929a79a6f1d4fefa\
    edd4e9e5ffffffffffffffffe5e9ffffffffffffffffffffffffffffffffffffffffffdb004301474b4b645764c46c6cc4ffffe9ffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc00011080028\
    002803012200021101031101ffc4001800010003010000000000000000000000000001020304ffc4002910000202010301060700000000\
    000000000111000203213141a10412425161912232627172b1c1ffc40017010101010100000000000000000000000000020103ffc40020\
    1100020103040300000000000000000000000111022141123181a15171b1ffdd00040002ffda000c03010002110311003f00e7a5554ce9\
    c7554d664b50359adb4a1d1a0bde1a46d7e382b5431104f12de2c4070ff920006876e0093522b93be76157364c777cfc3fffd08abf848f\
    082a22ac633f81eb11a554ee526b28503b97c4b642b1b7b9da4d42af495cfbd2ab871bb8253bf67fffd110b08f3262db587955748c835c\
    75fb94a2e5dae984844817d001f48fdc47cd7bfa203a44229293ffd2d56a02f598122fda09889330c5392fa5bb46fb05201d2f66ddb4f7\
    8894afd03fffd31601488240e91112f49ceac7a3ffd9\
";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// A sequential one.
fn sequential() -> Vec<u8> {
    let level = |a: u32, b: u32| (a * a * 3 + b * 37) as u8;
    let image = RgbImage::from_fn(72, 56, |x, y| image::Rgb([level(x, y), level(y, x), level(x + y, x)]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn files() -> [Vec<u8>; 3] {
    [sequential(), bytes(PROGRESSIVE), bytes(RESTARTED)]
}

/// Where the data of the first scan begin.
fn start(file: &[u8]) -> usize {
    let at = file.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 2;
    at + usize::from(file[at + 1])
}

fn message(result: Result<impl Sized>) -> String {
    format!("{:#}", result.err().unwrap())
}

#[test]
fn sound_files_pass() {
    for file in files() {
        check(&file).unwrap();
        Picture::decode(&file).unwrap();
        check(&[&file[..], b"behind the end"].concat()).unwrap();
    }
    // Most are spared the reading of codes.
    let file = sequential();
    let outline = Outline::of(&file).unwrap();
    let picture = Picture::decode(&file).unwrap();
    assert!(!outline.odd && !outline.app1 && outline.end == file.len() - 2);
    assert!(!outline.is_doubtful(picture.height.into(), &picture.pixels));
}

#[test]
fn the_decoder_makes_the_same_picture_of_a_sealed_file() {
    for file in files() {
        let sealed = Outline::of(&file).unwrap().sealed(&file);
        let decode = |bytes: &[u8]| image::load_from_memory(bytes).unwrap();
        assert_eq!(decode(&sealed), decode(&file));
    }
}

#[test]
fn data_that_end_too_early_are_noticed_behind_an_end_too() {
    for file in files() {
        let (from, to) = (start(&file), file.len() - 2);
        // Between two scans it may be whole, as far as anybody can tell.
        let is_between =
            |at: usize| (at - 1..=at).any(|at| file[at] == 0xff && !matches!(file[at + 1], 0 | 0xd0..=0xd7));
        for at in (from..to).filter(|&at| !is_between(at)) {
            let cut = [&file[..at], &[0xff, 0xd9]].concat();
            let found = message(check(&cut));
            assert!(found.starts_with("is cut off: "), "{at} of {}: {found}", file.len());
            if at < from + (to - from) * 3 / 4 {
                assert!(Picture::decode(&cut).is_err(), "{at} of {}", file.len());
            }
        }
    }
    let file = sequential();
    let half = start(&file) + (file.len() - start(&file)) / 2;
    let found = message(check(&[&file[..half], &[0xff, 0xd9]].concat()));
    let row: usize = found.split(' ').nth(9).unwrap().parse().unwrap();
    assert!((16..=40).contains(&row) && found.ends_with("of 56"), "{found}");
    assert!(message(check(&[&file[..start(&file) - 14], &[0xff, 0xd9]].concat())).contains("scan is missing"));
}

#[test]
fn holes_are_noticed() {
    for file in files() {
        let (from, to) = (start(&file), file.len() - 2);
        let [one, two] = [1, 2].map(|third| from + (to - from) * third / 3);
        // At the end of a progressive file it may only be a last scan's refinement that is lost.
        let is_sequential = !Outline::of(&file).unwrap().odd;
        for (first, behind) in [(one, two), (two, to)].into_iter().take(1 + usize::from(is_sequential)) {
            let mut damaged = file.clone();
            damaged[first..behind].fill(0);
            assert!(Picture::decode(&damaged).is_err(), "{first} to {behind} of {}", file.len());
        }
    }
}

#[test]
fn data_of_a_larger_picture_are_noticed() {
    let file = sequential();
    let with = |more: usize| [&file[..file.len() - 2], &vec![0x55; more][..], &[0xff, 0xd9]].concat();
    check(&with(20)).unwrap();
    assert!(message(check(&with(100))).contains("100 bytes more than"));
}

#[test]
fn damage_never_panics() {
    for file in files() {
        for at in 0..file.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] ^= flip;
                let _ = (Outline::of(&damaged), check(&damaged));
            }
        }
    }
}

#[test]
fn markers_are_found_at_every_place() {
    let mut bytes = [0x7f; 37];
    assert_eq!(find_ff(&bytes), None);
    for at in (0..37).rev() {
        bytes[at] = 0xff;
        assert_eq!(find_ff(&bytes), Some(at));
    }
    assert_eq!(find_ff(&[0xfe, 0x80, 0, 1, 0xfe, 0, 0x7f, 0x81, 0xff]), Some(8));
}
