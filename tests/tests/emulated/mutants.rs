//! Damaged plans on a core of 32 bits, where other sums wrap than here: it takes those that this machine takes, computes the same, and
//! refuses the others.
//!
//! QEMU and a compiler for the boards are needed; where they are missing this test fails and says how to get them.

use ocellus::board::Board;
use ocellus::toolchain;
use ocellus::transport::Transport;
use ocellus::transport::qemu::{ClockMode, Qemu};
use ocellus_firmware::Engine;
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{Header, Kind, Reply, packet};
use ocellus_tests::cases;
use ocellus_tests::mutants::{self, ARENA_BYTES};
use ocellus_tests::random::Random;
use std::time::{Duration, Instant};

/// Mutations of one plan.
const PER_PLAN: u64 = 100;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An emulated board that is asked one thing after the other.
struct Conversation {
    board: Qemu,
    received: Vec<u8>,
    sequence: u32,
}

impl Conversation {
    /// What `read` makes of the first reply to `payload` of which it makes something.
    fn ask<T>(&mut self, kind: Kind, payload: &[u8], read: impl Fn(&Reply, u32) -> Option<T>) -> T {
        self.sequence += 1;
        let header = Header::new(kind, self.sequence, payload.len() as u32).emit();
        let (message, mut sent, start) = ([&header[..], payload].concat(), 0, Instant::now());
        loop {
            assert!(start.elapsed() < PATIENCE, "the board is silent");
            sent += self.board.write(&message[sent..]).unwrap();
            self.board.read(&mut self.received, Duration::from_millis(20)).unwrap();
            while let Some((reply, length)) = packet::parse(&self.received).unwrap() {
                let found = read(&reply, self.sequence);
                self.received.drain(..length);
                if let Some(found) = found {
                    return found;
                }
            }
        }
    }

    /// Whether it takes the plan.
    fn takes(&mut self, plan: &[u8]) -> bool {
        self.ask(Kind::Plan, plan, |reply, sequence| match *reply {
            Reply::Plan { sequence: s, .. } if s == sequence => Some(true),
            Reply::Error { sequence: s, .. } if s == sequence => Some(false),
            _ => None,
        })
    }

    /// Scores of an int8 image.
    fn scores(&mut self, image: &[i8]) -> Vec<i8> {
        let bytes: Vec<u8> = image.iter().map(|&value| value as u8).collect();
        self.ask(Kind::Tensor, &bytes, |reply, sequence| match *reply {
            Reply::Scores { sequence: s, values, .. } if s == sequence => Some(values.to_vec()),
            Reply::Error { refusal, .. } => panic!("the image is refused: {}", refusal.name()),
            _ => None,
        })
    }
}

/// Scores of an image by the engine on this machine.
fn scores(plan: Plan, image: &[i8]) -> Vec<i8> {
    let mut arena = vec![0; ARENA_BYTES];
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    engine.input_mut().copy_from_slice(image);
    engine.run().to_vec()
}

#[test]
fn damaged_plans_are_the_same_to_a_core_of_32_bits() {
    let board = Board::load("mps2-an500").unwrap();
    let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    let board = Qemu::start(&board, &built.elf, ClockMode::Free).unwrap_or_else(|error| panic!("{error:#}"));
    let mut there = Conversation { board, received: vec![], sequence: 0 };
    let (mut taken, mut refused, mut compared) = (0, 0, 0);
    for seed in 0..cases(100, 500) {
        for (number, bytes) in mutants::of_plan(seed, PER_PLAN).enumerate() {
            let Ok(plan) = Plan::parse(&bytes) else {
                assert!(!there.takes(&bytes), "plan {seed}, mutant {number} is taken");
                refused += 1;
                continue;
            };
            // The board's memory is larger than ours.
            if plan.arena_bytes() > ARENA_BYTES {
                continue;
            }
            assert!(there.takes(&bytes), "plan {seed}, mutant {number} is refused");
            let image = Random::new(!seed).tensor(plan.input().shape.len());
            let (here, there) = (scores(plan, &image), there.scores(&image));
            if mutants::is_determined(&plan) {
                assert_eq!(there, here, "plan {seed}, mutant {number}");
                compared += 1;
            }
            taken += 1;
        }
    }
    println!("{taken} damaged plans ran, {compared} of them to scores that are determined; {refused} were refused");
    assert!(compared > 50 && refused > 50, "{taken} were taken, {compared} compared, {refused} refused");
}
