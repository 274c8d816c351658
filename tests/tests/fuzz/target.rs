//! What a fuzz target is, and how it is gone through.

use super::mutate;
use ocellus_tests::cases;
use ocellus_tests::random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// More than this for one case is an error of the parser's; a busy machine takes a hundredth of it.
const SLOWEST: Duration = Duration::from_secs(60);
/// How much memory a case may take at one time, unless a target says otherwise: a small network's parameters.
const MOST_BYTES: u64 = 128 << 20;
/// Bytes that each byte of the input may take besides.
const FACTOR: u64 = 64;

/// The CRC-32 (ISO-HDLC) that plans, packets, archives and PNG files have.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes)
}

/// A parser and what is known of its inputs.
pub struct Target<'a> {
    /// What it is called.
    pub name: &'static str,
    /// Cases on an ordinary day; twenty times as many with `OCELLUS_FULL`.
    pub quick: u64,
    /// Inputs that it takes.
    pub seeds: &'a [Vec<u8>],
    /// Words of its language, that a mutation puts somewhere.
    pub words: &'a [&'a [u8]],
    /// Makes good again what would only show that a checksum is compared.
    pub mend: &'a dyn Fn(&mut [u8]),
    /// How much more memory than its input a case may take at one time.
    pub most_bytes: u64,
}

impl<'a> Target<'a> {
    /// A target with these inputs, and nothing special about it.
    pub fn new(name: &'static str, seeds: &'a [Vec<u8>]) -> Self {
        Self { name, quick: 1_000, seeds, words: &[], mend: &|_| (), most_bytes: MOST_BYTES }
    }

    /// Has `try_out` try damaged inputs, and says how many it took: it returns whether it did, and panics where it took what it
    /// should not have.
    ///
    /// # Panics
    /// It does, on any input; or a case takes too long or too much memory; or hardly any input is taken, or all of them.
    pub fn run(&self, try_out: impl Fn(&[u8]) -> bool) {
        for seed in self.seeds {
            let begin = String::from_utf8_lossy(&seed[..seed.len().min(60)]);
            assert!(try_out(seed), "{}: the seed {begin:?}... is not taken", self.name);
        }
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let count = number("OCELLUS_FUZZ").unwrap_or_else(|| cases(self.quick, 20 * self.quick));
        let first = number("OCELLUS_FUZZ_SEED").unwrap_or(0);
        let (mut taken, mut slowest, mut most) = (0, Duration::ZERO, 0);
        for case in 0..count {
            let input = self.input(first, case);
            let start = Instant::now();
            let mut outcome = None;
            let memory = allocation_counter::measure(|| {
                outcome = Some(catch_unwind(AssertUnwindSafe(|| try_out(&input))));
            });
            let (took, bytes) = (start.elapsed(), memory.bytes_max);
            let allowed = self.most_bytes + FACTOR * input.len() as u64;
            match outcome {
                Some(Ok(true)) => taken += 1,
                Some(Ok(false)) => (),
                _ => self.fail(&input, first, case, "it panics"),
            }
            if took > SLOWEST || bytes > allowed {
                self.fail(&input, first, case, &format!("it takes {took:?} and {bytes} bytes"));
            }
            (slowest, most) = (slowest.max(took), most.max(bytes));
        }
        println!("{}: {count} cases, {taken} taken, {slowest:?} and {most} bytes at most", self.name);
        assert!(taken > 0 && taken < count, "{}: {taken} of {count} are taken, which tries out little", self.name);
    }

    /// Case `case` of the sequence `first`.
    fn input(&self, first: u64, case: u64) -> Vec<u8> {
        let mut random = Random::new(Random::new(first).bits() ^ case);
        let mut input = self.seeds[random.between(0, self.seeds.len() - 1)].clone();
        for _ in 0..random.between(1, 4) {
            mutate::once(&mut random, &mut input, self.seeds, self.words);
        }
        if !random.once_in(20) {
            (self.mend)(&mut input);
        }
        input
    }

    fn fail(&self, input: &[u8], seed: u64, case: u64, what: &str) -> ! {
        let path = std::env::temp_dir().join(format!("ocellus-fuzz-{}-{seed}-{case}", self.name));
        std::fs::write(&path, input).unwrap();
        panic!("{}: seed {seed}, case {case}: {what}; the input is in {}", self.name, path.display());
    }
}
