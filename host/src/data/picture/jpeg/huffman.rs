//! Huffman codes of JPEG files, as lengths: what is coded is skipped.

use super::BLOCK;
use std::ops::RangeInclusive;

/// Bits that are looked up at once.
const LOOK: usize = 10;
/// Bits of the longest code.
const LONGEST: usize = 16;
/// Bits of a word that are at least valid, wherever in a byte it begins.
const VALID: usize = 57;
/// Bits of a code and of the number behind it, at most.
const MOST: usize = 31;

/// What some bits begin with.
#[derive(Clone, Copy, Debug, Default)]
struct Codes {
    /// Bits of all whole codes with their numbers; 0 if not even one is whole.
    bits: u8,
    /// Coefficients that they are for.
    coefficients: u8,
    /// Whether the block ends with them.
    end: bool,
}

/// A table of codes: T.81, annex C.
#[derive(Debug)]
pub(super) struct Huffman {
    /// Length and symbol of the code that some bits begin with; length 0 if it is longer.
    short: Vec<(u8, u8)>,
    /// As many codes for a block's coefficients behind the first as some bits hold.
    many: Vec<Codes>,
    /// For each length, the first 16 bits beyond the codes that are no longer.
    beyond: [u32; LONGEST + 1],
    /// For each length, what takes a code to its symbol's place.
    offset: [i32; LONGEST + 1],
    values: Vec<u8>,
}

impl Huffman {
    /// The codes of `counts[i]` symbols with `i + 1` bits, in the order of `values`. Nothing if they are too many.
    pub(super) fn new(counts: &[u8], values: &[u8]) -> Option<Self> {
        let mut table = Self {
            short: vec![(0, 0); 1 << LOOK],
            many: Vec::new(),
            beyond: [0; LONGEST + 1],
            offset: [0; LONGEST + 1],
            values: values.to_vec(),
        };
        let (mut code, mut place) = (0usize, 0usize);
        for (len, &count) in (1..).zip(counts) {
            table.offset[len] = place as i32 - code as i32;
            for &value in &values[place..place + usize::from(count)] {
                if len <= LOOK {
                    let from = code << (LOOK - len);
                    table.short.get_mut(from..from + (1 << (LOOK - len)))?.fill((len as u8, value));
                }
                code += 1;
            }
            place += usize::from(count);
            if code > 1 << len {
                return None;
            }
            table.beyond[len] = (code << (LONGEST - len)) as u32;
            code <<= 1;
        }
        Some(table)
    }

    /// Prepares for blocks of many coefficients.
    pub(super) fn prepare(&mut self) {
        if self.many.is_empty() {
            self.many = (0..1 << LOOK).map(|bits| self.codes(bits)).collect();
        }
    }

    /// The whole codes that the [`LOOK`] bits hold: T.81, F.1.2.2.
    fn codes(&self, bits: usize) -> Codes {
        let mut codes = Codes::default();
        loop {
            let used = usize::from(codes.bits);
            let (len, symbol) = self.short[(bits << used) & ((1 << LOOK) - 1)];
            let (run, size) = (symbol >> 4, symbol & 15);
            let all = used + usize::from(len + size);
            if len == 0 || all > LOOK {
                return codes;
            }
            codes.bits = all as u8;
            match (run, size) {
                (15, 0) => codes.coefficients += 16,
                (_, 0) => return Codes { end: true, ..codes },
                _ => codes.coefficients += run + 1,
            }
        }
    }

    /// Length and symbol of the code at the highest bits of a word. No valid code is all ones.
    #[inline]
    fn one(&self, word: u64) -> Option<(usize, u8)> {
        let (len, symbol) = self.short[(word >> (64 - LOOK)) as usize];
        if len > 0 {
            return Some((len.into(), symbol));
        }
        let bits = (word >> (64 - LONGEST)) as u32;
        let len = (LOOK + 1..=LONGEST).find(|&len| bits < self.beyond[len])?;
        let place = (bits >> (LONGEST - len)) as i32 + self.offset[len];
        Some((len, *self.values.get(usize::try_from(place).ok()?)?))
    }
}

/// The bits of a segment's data.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Bits<'a> {
    /// Bytes behind the data, so that a block may be read beyond their end.
    pub(super) const MARGIN: usize = BLOCK * 4 + 8;

    /// Of the first `end` bytes; the margin is behind them.
    pub(super) fn new(data: &'a [u8], end: usize) -> Self {
        Self { data, at: 0, end: 8 * end }
    }

    /// Whether more was read than there is.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.at > self.end
    }

    /// Bits that were not read.
    pub(super) fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    pub(super) fn skip(&mut self, bits: usize) {
        self.at += bits;
    }

    /// The next bits, the first one highest. At the end of the margin they are zeros.
    #[inline]
    fn peek(&self) -> u64 {
        let at = self.at / 8;
        let bytes = self.data.get(at..at + 8).map_or([0; 8], |bytes| bytes.try_into().expect("8 bytes"));
        u64::from_be_bytes(bytes) << (self.at % 8)
    }

    #[inline]
    fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        let (len, symbol) = table.one(self.peek())?;
        self.at += len;
        Some(symbol)
    }

    /// Reads the first coefficient of a block: T.81, F.1.2.1.
    #[inline]
    pub(super) fn first(&mut self, dc: &Huffman) -> Option<()> {
        let size = self.symbol(dc)?;
        self.at += usize::from(size);
        (size < 16).then_some(())
    }

    /// Reads the other coefficients of a block: T.81, F.1.2.2.
    #[inline]
    pub(super) fn others(&mut self, ac: &Huffman) -> Option<()> {
        let (mut word, mut used, mut k) = (self.peek(), 0, 1);
        while k < BLOCK {
            if used > VALID - MOST {
                self.at += used;
                (word, used) = (self.peek(), 0);
            }
            let codes = ac.many[(word >> (64 - LOOK)) as usize];
            let next = k + usize::from(codes.coefficients);
            if codes.bits > 0 && next < BLOCK {
                (word, used, k) = (word << codes.bits, used + usize::from(codes.bits), next);
                if codes.end {
                    break;
                }
                continue;
            }
            let (len, symbol) = ac.one(word)?;
            let (run, size) = (usize::from(symbol >> 4), usize::from(symbol & 15));
            (word, used) = (word << (len + size), used + len + size);
            match (run, size) {
                (15, 0) => k += 16,
                (_, 0) => break,
                _ => k += run + 1,
            }
        }
        self.at += used;
        (k <= BLOCK).then_some(())
    }

    /// Reads the first scan of a band of a block, where no more blocks have `ended`: T.81, G.1.2.2. `known` becomes what
    /// is not 0.
    pub(super) fn band(
        &mut self,
        ac: &Huffman,
        band: RangeInclusive<usize>,
        known: &mut u64,
        ended: &mut u32,
    ) -> Option<()> {
        if *ended > 0 {
            *ended -= 1;
            return Some(());
        }
        let mut k = *band.start();
        while k <= *band.end() {
            let symbol = self.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), usize::from(symbol & 15));
            if size == 0 && run < 15 {
                *ended = self.run(run) - 1;
                return Some(());
            }
            k += run;
            if size > 0 && k < BLOCK {
                *known |= 1 << k;
            }
            self.at += size;
            k += 1;
        }
        (k <= BLOCK).then_some(())
    }

    /// Reads a scan that adds a bit to a band of a block: T.81, G.1.2.3.
    pub(super) fn refine(
        &mut self,
        ac: &Huffman,
        band: RangeInclusive<usize>,
        known: &mut u64,
        ended: &mut u32,
    ) -> Option<()> {
        let mut k = *band.start();
        while *ended == 0 && k <= *band.end() {
            let symbol = self.symbol(ac)?;
            let (mut run, size) = (usize::from(symbol >> 4), usize::from(symbol & 15));
            match (run, size) {
                (0..=14, 0) => {
                    *ended = self.run(run);
                    break;
                }
                (_, 0) | (_, 1) => self.at += size,
                _ => return None,
            }
            // What is known has a bit here; the rest is counted.
            while k <= *band.end() {
                if *known >> k & 1 == 1 {
                    self.at += 1;
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size > 0 && k <= *band.end() {
                *known |= 1 << k;
            }
            k += 1;
        }
        if *ended > 0 {
            *ended -= 1;
            let rest = (k..=*band.end()).filter(|&k| *known >> k & 1 == 1).count();
            self.at += rest;
        }
        Some(())
    }

    /// A number of blocks, whose highest bit the code gave: T.81, table G.1.
    fn run(&mut self, bits: usize) -> u32 {
        let low = if bits == 0 { 0 } else { (self.peek() >> (64 - bits)) as u32 };
        self.at += bits;
        (1 << bits) + low
    }
}
