//! Changes of inputs that parsers have most trouble with.

use ocellus_tests::random::Random;

/// Numbers at the ends of types and of what formats allow.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];
/// The same as people write them.
const WRITTEN: [&str; 9] =
    ["0", "-1", "1e308", "nan", "0.5", "65536", "4294967296", "9223372036854775807", "18446744073709551616"];
/// No input becomes longer by repetition.
const LONGEST: usize = 1 << 20;

/// Changes `input` once.
pub fn once(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
    if input.is_empty() {
        input.push(random.bits() as u8);
        return;
    }
    let last = input.len() - 1;
    // Headers are short and come first; directories come last.
    let at = match random.between(0, 3) {
        0 => random.between(0, last.min(64)),
        1 => last - random.between(0, last.min(128)),
        _ => random.between(0, last),
    };
    let longest = 1 << random.between(0, 8);
    let len = random.between(1, longest).min(input.len() - at);
    match random.between(0, 10) {
        0 => input[at] ^= 1 << random.between(0, 7),
        1 => input[at] = random.bits() as u8,
        2 => input[at] = input[at].wrapping_add(random.choose(&[1, 0xff])),
        3 => {
            let width = random.choose(&[1, 2, 4, 8]).min(input.len() - at);
            let number = random.choose(&EDGES).wrapping_add(u64::from(random.once_in(4)));
            input[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        4 => {
            let to = random.between(0, last);
            let len = len.min(input.len() - to);
            input.copy_within(at..at + len, to);
        }
        5 => drop(input.drain(at..at + len)),
        6 if input.len() < LONGEST => {
            let part = input[at..at + len].repeat(random.between(1, 8));
            input.splice(at..at, part);
        }
        7 => {
            // A part of another input.
            let other = &seeds[random.between(0, seeds.len() - 1)];
            let from = random.between(0, other.len().saturating_sub(1));
            let part = other[from..].iter().take(len).copied().collect::<Vec<_>>();
            input.splice(at..at + part.len().min(len), part);
        }
        8 if !words.is_empty() => {
            let word = random.choose(words);
            let over = if random.once_in(2) { word.len().min(input.len() - at) } else { 0 };
            input.splice(at..at + over, word.iter().copied());
        }
        9 => written(random, input, at),
        _ if random.once_in(4) => input.truncate(at),
        _ => input[at..at + len].reverse(),
    }
}

/// Puts a number in the place of one that is written out at or behind `at`.
fn written(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let Some(from) = input[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let len = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(from..from + len, random.choose(&WRITTEN).bytes());
}
