//! What board and host read of each other: plans, messages and replies.

use super::target::{Target, crc32};
use ocellus_shared::Op;
use ocellus_shared::plan::{Plan, encode};
use ocellus_shared::wire::{EVENT_LEN, Event, HEADER_LEN, Header, Reply, packet};
use ocellus_tests::mutants::{self, ARENA_BYTES};
use std::cell::RefCell;

/// A plan that is taken runs. More mutations, of the fields alone, are in the tests of the engine.
#[test]
fn plan() {
    let seeds: Vec<Vec<u8>> = (0..24).map(|seed| encode::encode(&mutants::plan(seed)).unwrap()).collect();
    let has_products =
        |bytes: &Vec<u8>| Plan::parse(bytes).unwrap().steps().any(|step| matches!(step.op, Op::MatMul { .. }));
    assert!(seeds.iter().filter(|bytes| has_products(bytes)).count() >= 6);
    let arena = RefCell::new(vec![1; ARENA_BYTES]);
    let target = Target { quick: 4_000, words: &[b"OCPL"], mend: &encode::reseal, ..Target::new("plan", &seeds) };
    target.run(|bytes| {
        mutants::try_out(bytes, &mut arena.borrow_mut());
        Plan::parse(bytes).is_ok()
    });
}

/// A message's header and an event that are taken are what is written for them.
#[test]
fn message() {
    let kinds = (1..=10).map(|kind| {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(b"OCM2");
        (bytes[4], bytes[12], bytes[16]) = (kind, 7, 9);
        [&bytes[..], &[3, 0, 0, 0, 1, 0, 2, 0]].concat()
    });
    let seeds: Vec<Vec<u8>> = kinds.filter(|bytes| header(bytes).is_some()).collect();
    assert!(seeds.len() >= 9);
    Target { quick: 200_000, words: &[b"OCM2"], ..Target::new("message", &seeds) }.run(|bytes| {
        if let Some(event) = bytes.last_chunk::<EVENT_LEN>().and_then(Event::parse) {
            assert_eq!(event.emit(), bytes[bytes.len() - EVENT_LEN..]);
        }
        let header = header(bytes);
        if let Some(header) = header {
            assert_eq!(header.emit(), bytes[..HEADER_LEN]);
        }
        header.is_some()
    });
}

fn header(bytes: &[u8]) -> Option<Header> {
    Header::parse(bytes.first_chunk()?).ok()
}

/// A reply that is taken is what is written for it, and is as long as it says.
#[test]
fn reply() {
    let emitted = |reply: &Reply| {
        let mut bytes = Vec::new();
        packet::emit(reply, &mut |part| bytes.extend(part));
        bytes
    };
    let seeds = [
        Reply::Ready { board: "mps2-an500", plan_bytes: 1 << 20, arena_bytes: 1 << 18 },
        Reply::Plan { sequence: 3, digest: [1, 2, 3, 4, 5, 6, 7, 8], steps: 9, arena_bytes: 4096 },
        Reply::Scores { sequence: 4, crc: 0x1234_5678, values: &[-128, 0, 127, 5] },
        Reply::Label { sequence: 5, class: 2, margin: 1.5, name: "größer" },
        Reply::End { messages: 9 },
    ]
    .map(|reply| emitted(&reply));
    let mend = |bytes: &mut [u8]| {
        if let Some(body) = bytes.get(packet::HEADER_LEN..) {
            let (length, crc) = (body.len() as u32, crc32(body));
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        }
    };
    Target { quick: 200_000, words: &[b"OCR2"], mend: &mend, ..Target::new("reply", &seeds) }.run(|bytes| {
        let Ok(Some((reply, length))) = packet::parse(bytes) else { return false };
        assert_eq!(emitted(&reply), bytes[..length]);
        true
    });
}
