//! Winograd tiles: pairs of int16 by `SADD16`, `SSUB16` and `SMLAD`.

use super::super::{Place, TileSums, convolutions};
use core::arch::asm;
use ocellus_shared::op::winograd::{POINTS, TILES, filled, pair_bytes};
use ocellus_shared::plan::Step;

/// The points of [`TILES`] tiles: at each point, for every four channels, the tiles one after the other, with a pair of
/// the even channels and one of the odd ones each.
#[derive(Debug)]
pub struct Tiles<'m> {
    channels: usize,
    words: &'m mut [u32], // (POINTS, filled channels / 4, TILES, 2)
    sums: &'m mut TileSums,
}

/// Words from one group of four channels to the next.
const STRIDE: usize = 2 * TILES;

impl<'m> Tiles<'m> {
    /// Tiles of so many `channels` in `scratch`, which is as long as
    /// [`Op::scratch_bytes`](ocellus_shared::Op::scratch_bytes) says, less one tile's inputs.
    pub fn new(scratch: &'m mut [i8], channels: usize) -> Self {
        let (_, words, _) = bytemuck::pod_align_to_mut::<i8, u32>(scratch);
        let (sums, words) = words.split_at_mut(size_of::<TileSums>() / 4);
        // What lies there for channels that are filled up meets weights of zero.
        let words = &mut words[..POINTS * filled(channels) / 4 * STRIDE];
        Self { channels, words, sums: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(sums)) }
    }

    /// Computes the points of tile `t`, whose 4x4 inputs begin with `values`, rows `pitch` apart: `B' d B`.
    pub fn write(&mut self, t: usize, values: &[i8], pitch: usize) {
        let point = filled(self.channels) / 4 * STRIDE;
        assert!(t < TILES && self.words.len() >= POINTS * point);
        assert!(values.len() >= 3 * pitch + 4 * self.channels && self.channels.is_multiple_of(4));
        for group in 0..self.channels / 4 {
            // SAFETY: 4 rows of 4 pixels can be read, of which each has these four channels; at each of the points there is
            // a group of so many words for them.
            unsafe {
                let values = values.as_ptr().add(4 * group);
                let words = self.words.as_mut_ptr().add(STRIDE * group + 2 * t);
                transform::<false>(values, pitch, self.channels, words, point);
                transform::<true>(values, pitch, self.channels, words.add(1), point);
            }
        }
    }

    /// Applies every filter of `step` and writes the results to the `places` of `output`. A function of its own, so that its
    /// loops have all registers.
    #[inline(never)]
    pub fn filter(&mut self, step: &Step, places: &[Place; TILES], output: &mut [i8]) {
        let channels = usize::from(step.output.shape.c);
        let bytes = pair_bytes(self.channels);
        assert!(step.weights.len() == channels / 2 * bytes && step.weights.as_ptr().addr().is_multiple_of(4));
        assert!(places.iter().flat_map(|place| place.of(channels - 1)).all(|at| at < output.len()));
        let point = filled(self.channels) / 4 * STRIDE;
        for (pair, weights) in step.weights.chunks_exact(bytes).enumerate() {
            let words = self.words.as_ptr_range();
            // SAFETY: there are as many words as the filters of a pair have values for, and the weights are aligned.
            unsafe {
                multiply(weights.as_ptr(), words.start, self.words[point..].as_ptr(), self.sums, words.end, 4 * point)
            }
            for half in 0..2 {
                let channel = 2 * pair + half;
                let (bias, multiplier) = (step.biases.get(channel), step.multipliers.get(channel));
                for (t, place) in places.iter().enumerate() {
                    let sums = convolutions(self.sums, 2 * t + half).map(|sum| sum.wrapping_add(bias));
                    let results = requantize(sums, multiplier, step.output.zero.into());
                    // SAFETY: the last channel of each place lies within the output.
                    unsafe {
                        let at = output.as_mut_ptr().add(place.at + channel);
                        // That one last which is there in any case.
                        *at.add(place.down + place.right) = results[3] as i8;
                        *at.add(place.down) = results[2] as i8;
                        *at.add(place.right) = results[1] as i8;
                        *at = results[0] as i8;
                    }
                }
            }
        }
    }
}

/// The points of one tile for two channels: the even ones of four, or the odd ones. Written out, because loops over so few
/// values are not always unrolled.
#[inline(never)]
unsafe fn transform<const ODD: bool>(values: *const i8, pitch: usize, step: usize, words: *mut u32, point: usize) {
    let line = |a, b, c, d| [ssub16(a, c), sadd16(b, c), ssub16(c, b), ssub16(b, d)];
    let column = |x: usize| {
        let value = |y: usize| {
            // SAFETY: the caller vouches for four rows of four pixels.
            widen::<ODD>(unsafe { values.add(y * pitch + x * step).cast::<u32>().read_unaligned() })
        };
        line(value(0), value(1), value(2), value(3))
    };
    let write = |row: usize, [a, b, c, d]: [u32; 4]| {
        // SAFETY: the caller vouches for a word at each point.
        unsafe {
            let words = words.add(4 * row * point);
            words.write(a);
            words.add(point).write(b);
            words.add(2 * point).write(c);
            words.add(3 * point).write(d);
        }
    };
    let [a, b, c, d] = [column(0), column(1), column(2), column(3)];
    write(0, line(a[0], b[0], c[0], d[0]));
    write(1, line(a[1], b[1], c[1], d[1]));
    write(2, line(a[2], b[2], c[2], d[2]));
    write(3, line(a[3], b[3], c[3], d[3]));
}

/// [`super::requantize`] for four values at once.
#[inline(always)]
fn requantize(values: [i32; 4], multiplier: f32, zero: i32) -> [i32; 4] {
    let [mut a, mut b, mut c, mut d] = values;
    // SAFETY: the instructions touch nothing but their registers and the flags of saturation and of the FPU's
    // exceptions, which nobody reads.
    unsafe {
        asm!(
            "vmov s0, s1, {a}, {b}",
            "vmov s2, s3, {c}, {d}",
            "vmov s4, {multiplier}",
            round_four!(),
            "vmov {a}, {b}, s0, s1",
            "vmov {c}, {d}, s2, s3",
            "qadd {a}, {a}, {zero}",
            "qadd {b}, {b}, {zero}",
            "qadd {c}, {c}, {zero}",
            "qadd {d}, {d}, {zero}",
            "ssat {a}, #8, {a}",
            "ssat {b}, #8, {b}",
            "ssat {c}, #8, {c}",
            "ssat {d}, #8, {d}",
            a = inout(reg) a,
            b = inout(reg) b,
            c = inout(reg) c,
            d = inout(reg) d,
            zero = in(reg) zero,
            multiplier = in(reg) multiplier.to_bits(),
            out("s0") _,
            out("s1") _,
            out("s2") _,
            out("s3") _,
            out("s4") _,
            options(pure, nomem, nostack),
        );
    }
    [a, b, c, d]
}

/// The even or the odd of a word's four int8 values as a pair of int16.
#[inline(always)]
fn widen<const ODD: bool>(word: u32) -> u32 {
    let pair;
    // SAFETY: the instruction touches nothing but its registers.
    unsafe {
        match ODD {
            false => {
                asm!("sxtb16 {}, {}", lateout(reg) pair, in(reg) word, options(pure, nomem, nostack, preserves_flags))
            }
            true => asm!(
                "sxtb16 {}, {}, ror #8",
                lateout(reg) pair,
                in(reg) word,
                options(pure, nomem, nostack, preserves_flags)
            ),
        }
    }
    pair
}

/// Sums of pairs.
#[inline(always)]
fn sadd16(a: u32, b: u32) -> u32 {
    let sum;
    // SAFETY: the instruction touches nothing but its registers and flags that nobody reads.
    unsafe { asm!("sadd16 {}, {}, {}", lateout(reg) sum, in(reg) a, in(reg) b, options(pure, nomem, nostack)) }
    sum
}

/// Differences of pairs.
#[inline(always)]
fn ssub16(a: u32, b: u32) -> u32 {
    let difference;
    // SAFETY: the instruction touches nothing but its registers and flags that nobody reads.
    unsafe { asm!("ssub16 {}, {}, {}", lateout(reg) difference, in(reg) a, in(reg) b, options(pure, nomem, nostack)) }
    difference
}

/// Four channels of both filters, which are in r2, r3 and r10, r11, times four of each tile, from r1 on; `begin` is `smuad`
/// for the first.
macro_rules! four_channels {
    (first) => {
        "
        ldrd r12, lr, [r1], #8
        smuad r4, r2, r12
        smuad r5, r10, r12
        smlad r4, r3, lr, r4
        smlad r5, r11, lr, r5
        ldrd r12, lr, [r1], #8
        smuad r6, r2, r12
        smuad r7, r10, r12
        smlad r6, r3, lr, r6
        smlad r7, r11, lr, r7
        ldrd r12, lr, [r1], #8
        smuad r8, r2, r12
        smuad r9, r10, r12
        smlad r8, r3, lr, r8
        smlad r9, r11, lr, r9
        "
    };
    (next) => {
        six_sums!()
    };
}

/// 16 channels of both filters, from r0 on.
macro_rules! sixteen_channels {
    ($first:ident) => {
        concat!(
            "ldrd r10, r11, [r0, #16]\n",
            "ldrd r2, r3, [r0], #8\n",
            four_channels!($first),
            "ldrd r10, r11, [r0, #16]\n",
            "ldrd r2, r3, [r0], #24\n",
            four_channels!(next),
            "ldrd r10, r11, [r0, #16]\n",
            "ldrd r2, r3, [r0], #8\n",
            four_channels!(next),
            "ldrd r10, r11, [r0, #16]\n",
            "ldrd r2, r3, [r0], #24\n",
            four_channels!(next),
        )
    };
}

/// All points of the tiles, from `words` to `end`, times those of a pair of filters. A point has `bytes` bytes, and the
/// first ends at `point_end`.
#[inline(always)]
unsafe fn multiply(
    weights: *const i8,
    words: *const u32,
    point_end: *const u32,
    sums: &mut TileSums,
    end: *const u32,
    bytes: usize,
) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r2-r12, lr}}",
            "1:",
            sixteen_channels!(first),
            "ldr r12, [sp]",
            "cmp r1, r12",
            "beq 3f",
            "2:",
            sixteen_channels!(next),
            "ldr r12, [sp]",
            "cmp r1, r12",
            "bne 2b",
            "3:",
            "ldr r2, [sp, #44]",
            "ldr r3, [sp, #4]",
            "add r12, r2",
            "stm r3!, {{r4-r9}}",
            "strd r12, r3, [sp]",
            "ldr r2, [sp, #40]",
            "cmp r1, r2",
            "bne 1b",
            "add sp, #8",
            "pop {{r4-r12, lr}}",
            inout("r0") weights => _,
            inout("r1") words => _,
            inout("r2") point_end => _,
            inout("r3") sums => _,
            inout("r12") end => _,
            inout("lr") bytes => _,
        )
    }
}
