//! Winograd tiles: pairs of int16 by `SADD16`, `SSUB16` and `SMLAD`.

use super::super::{Place, TileSums};
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
            let parameters = 2 * pair..2 * pair + 2;
            // SAFETY: there are as many words as the filters of a pair have values for, and the weights are aligned; each of both
            // filters has a bias and a multiplier, and its channel of each place lies within the output.
            unsafe {
                multiply(weights.as_ptr(), words.start, self.words[point..].as_ptr(), self.sums, words.end, 4 * point);
                finish(&mut Finish {
                    sums: self.sums,
                    places,
                    zero: step.output.zero.into(),
                    output: output[2 * pair..].as_mut_ptr(),
                    biases: step.biases.as_bytes()[parameters.clone()].as_ptr(),
                    multipliers: step.multipliers.as_bytes()[parameters].as_ptr(),
                    left: 2,
                });
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

/// What [`finish`] does.
#[repr(C)]
struct Finish<'a> {
    sums: *const TileSums,
    places: &'a [Place; TILES],
    zero: i32,
    /// The first place's first filter, were it at 0.
    output: *mut i8,
    biases: *const [u8; 4],
    multipliers: *const [u8; 4],
    /// Filters that are left to do.
    left: usize,
}

/// The results of both filters of a pair in all tiles: `A' sums A / 4` and the bias, requantized. Of the sums of a tile and
/// a filter, column after column becomes a part of all four.
#[inline(always)]
unsafe fn finish(job: &mut Finish) {
    // SAFETY: the code reads and writes what the caller vouches for, and its registers; the others are restored.
    unsafe {
        asm!(
            "push {{r4-r11}}",
            "push {{r0, r1}}",
            "ldr r1, [r0, #8]",
            "vmov s5, r1",
            "mov r4, r0",
            "ldr r0, [r0]",
            "1:",
            "ldr r12, [r4, #4]",
            "add r4, #12",
            "ldm r4, {{r5-r7}}",
            "vmov s7, r5",
            "add r5, #1",
            "ldr r8, [r6], #4",
            "vmov s6, r8",
            "ldr r8, [r7], #4",
            "vmov s4, r8",
            "stm r4, {{r5-r7}}",
            "mov lr, #{tiles}",
            "2:",
            "ldm r12!, {{r1, r2, r3}}",
            "vmov r8, s7",
            "add r1, r8",
            "ldr r8, [r0]",
            "ldr r9, [r0, #96]",
            "ldr r10, [r0, #192]",
            "ldr r11, [r0, #288]",
            "add r4, r8, r9",
            "sub r6, r9, r10",
            "add r4, r10",
            "sub r6, r11",
            "ldr r8, [r0, #24]",
            "ldr r9, [r0, #120]",
            "ldr r10, [r0, #216]",
            "ldr r11, [r0, #312]",
            "add r5, r8, r9",
            "sub r7, r9, r10",
            "add r5, r10",
            "sub r7, r11",
            "add r4, r5",
            "add r6, r7",
            "ldr r8, [r0, #48]",
            "ldr r9, [r0, #144]",
            "ldr r10, [r0, #240]",
            "ldr r11, [r0, #336]",
            "add r8, r9",
            "sub r9, r10",
            "add r8, r10",
            "sub r9, r11",
            "add r4, r8",
            "sub r5, r8",
            "add r6, r9",
            "sub r7, r9",
            "ldr r8, [r0, #72]",
            "ldr r9, [r0, #168]",
            "ldr r10, [r0, #264]",
            "ldr r11, [r0, #360]",
            "add r8, r9",
            "sub r9, r10",
            "add r8, r10",
            "sub r9, r11",
            "sub r5, r8",
            "sub r7, r9",
            "vmov r8, s6",
            "add r4, r8, r4, asr #2",
            "add r5, r8, r5, asr #2",
            "add r6, r8, r6, asr #2",
            "add r7, r8, r7, asr #2",
            "vmov s0, s1, r4, r5",
            "vmov s2, s3, r6, r7",
            round_four!(),
            "vmov r4, r5, s0, s1",
            "vmov r6, r7, s2, s3",
            "vmov r8, s5",
            "qadd r4, r4, r8",
            "qadd r5, r5, r8",
            "qadd r6, r6, r8",
            "qadd r7, r7, r8",
            "ssat r4, #8, r4",
            "ssat r5, #8, r5",
            "ssat r6, #8, r6",
            "ssat r7, #8, r7",
            "add r9, r1, r2",
            // That one last which is there in any case.
            "strb r7, [r9, r3]",
            "strb r6, [r9]",
            "strb r5, [r1, r3]",
            "strb r4, [r1]",
            "add r0, #8",
            "subs lr, #1",
            "bne 2b",
            "sub r0, #{back}",
            "ldr r4, [sp]",
            "ldr r5, [r4, #24]",
            "subs r5, #1",
            "str r5, [r4, #24]",
            "bne 1b",
            "add sp, #8",
            "pop {{r4-r11}}",
            tiles = const TILES,
            back = const 8 * TILES - 4,
            inout("r0") job => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r12") _,
            out("lr") _,
            out("s0") _,
            out("s1") _,
            out("s2") _,
            out("s3") _,
            out("s4") _,
            out("s5") _,
            out("s6") _,
            out("s7") _,
        )
    }
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
