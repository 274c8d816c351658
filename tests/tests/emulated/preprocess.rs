//! Preprocessing on the emulated cores: every pixel of every format and size is what this machine makes of it.
//!
//! The network here changes nothing, so that its scores are the image. QEMU and a compiler for the boards are needed; where
//! they are missing this test fails and says how to get them.

use ocellus::board::Board;
use ocellus::client::Client;
use ocellus::toolchain;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::plan::{Crop, encode};
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::{Frame, Op, PixelFormat, Shape};
use ocellus_tests::plans::Sketch;
use ocellus_tests::random::Random;

/// Columns and rows of frames: of cameras, narrow, of the image's own size, and smaller than that.
const SIZES: [(u16, u16); 6] = [(160, 120), (320, 240), (34, 97), (12, 10), (200, 8), (6, 4)];

/// A plan whose scores are its image, `(h, w, c)`.
fn mirror(shape: Shape, crop: Crop) -> Vec<u8> {
    let mut sketch = Sketch::new(Random::new(1), shape);
    sketch.push(Op::Flatten, &[0]).unwrap();
    let mut spec = sketch.finish();
    spec.crop = crop;
    encode::encode(&spec).unwrap()
}

#[test]
fn every_core_makes_the_same_image_of_every_format_and_size() {
    let shape = Shape::new(10, 12, 3);
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_some()) {
        let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
        let mut client = Client::boot(&board, &built.elf, ClockMode::Free).unwrap_or_else(|error| panic!("{error:#}"));
        let mut random = Random::new(5);
        for crop in [Crop::Centre, Crop::Stretch] {
            client.set_plan(&mirror(shape, crop)).unwrap();
            for (format, (width, height)) in PixelFormat::ALL.into_iter().flat_map(|f| SIZES.map(|size| (f, size))) {
                let data = random.bytes(Frame::bytes(format, width, height).unwrap());
                let frame = Frame::new(format, width, height, &data).unwrap();
                let mut expected = vec![0; shape.len()];
                preprocess(&frame, crop, shape, &mut expected).unwrap();
                let seen = client.frame(&frame).unwrap().scores;
                assert_eq!(seen, expected, "{} {format:?} {width}x{height} {crop:?}", board.name);
            }
        }
        client.end().unwrap();
    }
}
