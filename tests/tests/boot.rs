//! A camera board's model region: what is run, and what is refused by which words.

use ocellus_firmware::boot::{self, ModelError};
use ocellus_firmware::link::Report;
use ocellus_shared::plan::encode;
use ocellus_shared::plan::{Plan, PlanError, VERSION};
use ocellus_shared::wire::{Refusal, Reply};
use ocellus_tests::plans;

/// Bytes of the region.
const REGION: usize = 1 << 20;

/// Flash with `bytes` at its start.
fn flash(bytes: &[u8]) -> Vec<u8> {
    let mut flash = vec![0xff; REGION];
    flash[..bytes.len()].copy_from_slice(bytes);
    flash
}

fn plan() -> Vec<u8> {
    encode::encode(&plans::watched(1)).unwrap()
}

/// What the board says of a region, with `arena_bytes` to work in.
fn refusal(region: &[u8], arena_bytes: usize) -> (ModelError, Refusal, [u32; 2], String) {
    struct Ear(Option<(Refusal, [u32; 2], String)>);
    impl Report for Ear {
        fn reply(&mut self, reply: Reply<'_, &[i8]>) {
            let Reply::Error { sequence: 0, refusal, needed, available, detail } = reply else { panic!("{reply:?}") };
            self.0 = Some((refusal, [needed, available], detail.to_owned()));
        }
    }
    let mut arena = vec![0; arena_bytes];
    let error = boot::engine(region, &mut arena).map(|_| ()).unwrap_err();
    let mut ear = Ear(None);
    error.tell(&mut ear);
    let (refusal, bytes, detail) = ear.0.unwrap();
    (error, refusal, bytes, detail)
}

#[test]
fn a_model_is_run_whatever_lies_behind_it() {
    let bytes = plan();
    let mut arena = vec![0; 1 << 18];
    let mut engine = boot::engine(&bytes, &mut arena).unwrap();
    engine.input_mut().fill(3);
    let expected = engine.run().to_vec();
    for rest in [0, 0xff, 0x5a] {
        let mut region = flash(&bytes);
        region[bytes.len()..].fill(rest);
        let mut engine = boot::engine(&region, &mut arena).unwrap();
        engine.input_mut().fill(3);
        assert_eq!(engine.run(), expected);
    }
}

#[test]
fn an_empty_region_is_told_from_a_damaged_one() {
    let (error, refusal, _, detail) = refusal(&flash(&[]), 1 << 18);
    assert_eq!((error, refusal), (ModelError::Empty, Refusal::NoPlan));
    assert!(detail.contains("ocellus flash --model"), "{detail}");
    // The region of a table that names none at all.
    assert_eq!(boot::engine(&[], &mut []).map(|_| ()).unwrap_err(), ModelError::Empty);
}

#[test]
fn every_damage_is_refused_by_its_reason() {
    let good = plan();
    let (last, half) = (good.len() - 1, good.len() / 2);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        flash(&bytes)
    };
    // Programming broke off: the rest is erased.
    let torn = flash(&good[..half]);
    let is_crc = |error: &PlanError| matches!(error, PlanError::Crc { .. });
    for (region, reason) in [
        (changed(0, b'X'), &(|e: &PlanError| *e == PlanError::Magic) as &dyn Fn(&PlanError) -> bool),
        (changed(4, VERSION as u8 + 1), &|e| matches!(e, PlanError::Version { found } if *found == VERSION + 1)),
        (changed(11, 0x7f), &|e| matches!(e, PlanError::Truncated { .. })),
        (changed(half, good[half] ^ 1), &is_crc),
        (changed(last, good[last] ^ 0x80), &is_crc),
        (torn, &is_crc),
        (good[..half].to_vec(), &|e| matches!(e, PlanError::Truncated { needed } if *needed as usize == good.len())),
    ] {
        let (error, refusal, _, detail) = refusal(&region, 1 << 18);
        let ModelError::Plan(error) = error else { panic!("{error:?}") };
        assert!(reason(&error), "{error:?}");
        assert_eq!(refusal, Refusal::BadPlan);
        assert!(detail.contains("write it again"), "{detail}");
    }
}

#[test]
fn a_model_that_needs_more_memory_is_refused_with_both_numbers() {
    let bytes = plan();
    let needed = Plan::parse(&bytes).unwrap().arena_bytes();
    let (_, refusal, sizes, _) = refusal(&flash(&bytes), needed - 1);
    assert_eq!((refusal, sizes), (Refusal::ArenaTooSmall, [needed as u32, needed as u32 - 1]));
    assert!(boot::engine(&flash(&bytes), &mut vec![0; needed]).is_ok());
}
