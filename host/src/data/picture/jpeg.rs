//! Whether a JPEG file holds all of the picture that it promises: Recommendation ITU-T T.81.
//!
//! The decoder makes the best of a damaged file and fills what it has no data for, without a word. [`check`] knows: it
//! reads every code of every scan, without computing a pixel. The data between two markers must hold the blocks that
//! belong there, neither fewer nor many more. Changed bits that still make valid codes for the right number of blocks
//! are not noticed: a JPEG file has no checksum.
//!
//! That takes a quarter of the time of decoding, so that most sequential files are spared it: an [`Outline`] has the
//! decoder stop where the data end, and looks for what it leaves there. Data that end within the last row of blocks
//! sometimes pass.

mod huffman;

use anyhow::{Context, Result, bail, ensure};
use huffman::{Bits, Huffman};

/// Scans that are read; the decoder refuses files with more.
const MAX_SCANS: usize = 100;
/// Frames of up to this many pixels are read.
const MAX_PIXELS: usize = 100_000_000;
/// Bytes that some programs leave behind the last block.
const SPARE: usize = 64;
/// Coefficients of a block.
const BLOCK: usize = 64;

/// Bytes of zeros in a row that data hardly have.
const HOLE: usize = 16;
/// What ends the data for the decoder: bits that begin no code, as no code is all ones (T.81, annex C), stuffed.
const SEAL: [u8; 16] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];
/// What the decoder fills rows with that it does not reach.
const FILLED: u8 = 128;
/// Levels by which pixels of the same samples differ at most, as colours are interpolated over blocks.
const ALIKE: u8 = 2;
/// Bytes at the end of a row that are compared.
const COMPARED: usize = 24;

/// The parts of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// There is a segment that may hold Exif data.
    pub app1: bool,
    /// It is not sequential, or its data have a hole.
    odd: bool,
    /// Rows of pixels that are decoded together.
    unit: usize,
    /// The place of the marker at the end.
    end: usize,
}

impl Outline {
    /// Finds the markers of a JPEG file.
    ///
    /// # Errors
    /// The file has no end.
    pub(super) fn of(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 2, ..Reader::default() };
        let mut outline = Self::default();
        let mut data = None;
        loop {
            let marker = reader.marker()?;
            if let Some(from) = data.take_if(|_| !matches!(marker, 0xd0..=0xd7)) {
                let mut pieces = bytes[from..reader.at].chunks_exact(HOLE);
                outline.odd |= pieces.any(|piece| piece == [0; HOLE]);
            }
            match marker {
                0x01 | 0xd0..=0xd8 => {}
                0xd9 => {
                    outline.end = reader.at - 2;
                    return Ok(outline);
                }
                0xda => {
                    reader.segment()?;
                    data = Some(reader.at);
                }
                0xc0 | 0xc1 => {
                    let components = reader.segment()?.get(6..).unwrap_or_default().chunks_exact(3);
                    let down = components.map(|component| usize::from(component[1] & 15)).max();
                    outline.unit = 8 * down.unwrap_or(1);
                }
                other => {
                    outline.odd |= matches!(other, 0xc2..=0xcf) && other != 0xc4;
                    outline.app1 |= other == 0xe1;
                    reader.segment()?;
                }
            }
        }
    }

    /// The file, so that the decoder stops where its data end.
    pub(super) fn sealed(&self, bytes: &[u8]) -> Vec<u8> {
        [&bytes[..self.end], &SEAL, &[0xff, 0xd9]].concat()
    }

    /// Whether the picture that the decoder made of the sealed file, `height` rows of `pixels`, may be incomplete. Where it
    /// stops, it leaves the rest of the row of blocks as it was in the row above, and fills all rows below.
    pub(super) fn is_doubtful(&self, height: usize, pixels: &[u8]) -> bool {
        let stride = pixels.len() / height.max(1);
        if self.odd || height <= self.unit || self.unit == 0 || stride < COMPARED {
            return true;
        }
        let last = |row: usize| &pixels[(row + 1) * stride - COMPARED..(row + 1) * stride];
        let filled = pixels[pixels.len() - stride..].iter().all(|&level| level == FILLED);
        let rows = (height - 1) / self.unit * self.unit..height;
        let alike = |row: &usize| last(*row).iter().zip(last(row - self.unit)).all(|(a, b)| a.abs_diff(*b) <= ALIKE);
        filled || 2 * rows.clone().filter(alike).count() >= rows.len()
    }
}

/// Whether the file's content says that it is a JPEG file.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8])
}

/// Reads the codes of a JPEG file. What the decoder refuses itself is passed over.
///
/// # Errors
/// The file has no end, the data end too early, hold an invalid code, or more than belongs to the picture.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader { bytes, at: 2, ..Reader::default() };
    let mut scans = 0;
    loop {
        match reader.marker()? {
            // Of T.81, table B.1: temporary use, restart and start of image have no length.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 => break,
            0xc4 => reader.read_tables()?,
            0xdd => reader.read_interval()?,
            0xc0..=0xc2 => reader.read_frame()?,
            0xda => {
                scans += 1;
                if !reader.read_scan()? || scans == MAX_SCANS {
                    reader.unknown = true;
                }
            }
            // Other kinds of frames.
            0xc3 | 0xc5..=0xcf => {
                reader.unknown = true;
                reader.segment()?;
            }
            _ => drop(reader.segment()?),
        }
    }
    reader.check_components()
}

/// A component of a frame.
#[derive(Debug, Default)]
struct Component {
    id: u8,
    /// Blocks of a unit in which components are interleaved, across and down.
    across: usize,
    down: usize,
    /// Blocks in all where it has a scan of its own.
    columns: usize,
    rows: usize,
    /// A bit for each coefficient that is not 0 so far; in a progressive frame only.
    known: Vec<u64>,
    /// A scan began with it.
    seen: bool,
}

#[derive(Debug, Default)]
struct Frame {
    progressive: bool,
    /// Units in which components are interleaved, across and down.
    columns: usize,
    rows: usize,
    /// Rows of pixels.
    height: usize,
    components: Vec<Component>,
}

/// What a scan's header says.
struct Scan {
    /// Component, and its tables for the first and for the other coefficients.
    parts: Vec<(usize, usize, usize)>,
    /// The coefficients that it holds.
    first: usize,
    last: usize,
    /// Whether it adds a bit to what other scans held.
    refines: bool,
}

#[derive(Default)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// By class, 0 for the first coefficient, and number.
    tables: [[Option<Huffman>; 4]; 2],
    /// Units between two restart markers; 0 for all.
    interval: usize,
    frame: Option<Frame>,
    /// It has something that is not known here: only its markers are read.
    unknown: bool,
    /// The data of a segment without stuffed zeros, and zeros behind them.
    data: Vec<u8>,
}

const CUT: &str = "is cut off: the JPEG has no end";
const DAMAGED: &str = "is damaged: a JPEG segment is too short";

impl<'a> Reader<'a> {
    /// The code of the next marker. What comes before it is passed over.
    fn marker(&mut self) -> Result<u8> {
        loop {
            let skipped = find_ff(self.bytes.get(self.at..).unwrap_or_default()).context(CUT)?;
            self.at += skipped + 1;
            match self.bytes.get(self.at).context(CUT)? {
                // A stuffed zero, or one of several 0xff before a marker.
                0 | 0xff => {}
                &code => {
                    self.at += 1;
                    return Ok(code);
                }
            }
        }
    }

    /// The content of the segment behind a marker.
    fn segment(&mut self) -> Result<&'a [u8]> {
        let length = self.bytes.get(self.at..self.at + 2).context(CUT)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        ensure!(length >= 2, DAMAGED);
        let content = self.bytes.get(self.at + 2..self.at + length).context(CUT)?;
        self.at += length;
        Ok(content)
    }

    /// T.81, B.2.4.2.
    fn read_tables(&mut self) -> Result<()> {
        let mut rest = self.segment()?;
        while let [id, counts @ ..] = rest {
            let (counts, values) = counts.split_at_checked(16).context(DAMAGED)?;
            let len = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, behind) = values.split_at_checked(len).context(DAMAGED)?;
            match self.tables.get_mut(usize::from(id >> 4)).and_then(|class| class.get_mut(usize::from(id & 15))) {
                Some(table) => *table = Huffman::new(counts, values),
                None => self.unknown = true,
            }
            rest = behind;
        }
        Ok(())
    }

    /// T.81, B.2.4.4.
    fn read_interval(&mut self) -> Result<()> {
        let &[high, low, ..] = self.segment()? else { bail!(DAMAGED) };
        self.interval = usize::from(u16::from_be_bytes([high, low]));
        Ok(())
    }

    /// T.81, B.2.2 and A.1.1.
    fn read_frame(&mut self) -> Result<()> {
        let progressive = self.bytes[self.at - 1] == 0xc2;
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = self.segment()? else { bail!(DAMAGED) };
        let (height, width) = (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
        let components: Vec<Component> = rest.chunks_exact(3).take(count.into()).map(Component::new).collect();
        let sizes = || components.iter().flat_map(|c| [c.across, c.down]);
        let usual = precision == 8
            && (1..=MAX_PIXELS).contains(&(height * width))
            && sizes().all(|size| (1..=4).contains(&size));
        if !usual || components.is_empty() || components.len() != usize::from(count) || self.frame.is_some() {
            self.unknown = true;
            return Ok(());
        }
        let across = components.iter().map(|c| c.across).max().unwrap_or(1);
        let down = components.iter().map(|c| c.down).max().unwrap_or(1);
        let (columns, rows) = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        let mut frame = Frame { progressive, columns, rows, height, components };
        for component in &mut frame.components {
            component.columns = (width * component.across).div_ceil(8 * across);
            component.rows = (height * component.down).div_ceil(8 * down);
            if progressive {
                component.known = vec![0; component.columns * component.rows];
            }
        }
        self.frame = Some(frame);
        Ok(())
    }

    /// Reads a scan: T.81, B.2.3. Says whether it is of a kind that is known.
    fn read_scan(&mut self) -> Result<bool> {
        let header = self.segment()?;
        let Some(mut frame) = self.frame.take().filter(|_| !self.unknown) else { return Ok(false) };
        let scan = Scan::parse(header, &frame);
        let known = match &scan {
            Some(scan) => self.read_data(scan, &mut frame)?,
            None => false,
        };
        self.frame = Some(frame);
        Ok(known)
    }

    /// Reads the data of a scan, one segment after the other.
    fn read_data(&mut self, scan: &Scan, frame: &mut Frame) -> Result<bool> {
        for &(part, dc, ac) in &scan.parts {
            let needs = [(0, dc, scan.first == 0 && !scan.refines), (1, ac, scan.last > 0)];
            if needs.iter().any(|&(class, table, needed)| needed && self.tables[class][table].is_none()) {
                return Ok(false);
            }
            frame.components[part].seen = true;
            if let Some(table) = self.tables[1][ac].as_mut().filter(|_| !frame.progressive) {
                table.prepare();
            }
        }
        let (columns, rows) = match scan.parts[..] {
            [(part, ..)] => (frame.components[part].columns, frame.components[part].rows),
            _ => (frame.columns, frame.rows),
        };
        let height = frame.height;
        let of_picture = |unit: usize| format!("row {} of {height}", unit / columns * height / rows);
        let all = columns * rows;
        let (mut done, mut data) = (0, std::mem::take(&mut self.data));
        let mut progress = frame.progressive.then(|| std::mem::take(&mut frame.components));
        loop {
            let end = self.unstuff(&mut data);
            let until = if self.interval == 0 { all } else { all.min(done + self.interval) };
            let mut bits = Bits::new(&data, end);
            let result = match &mut progress {
                Some(components) => self.read_progressive(scan, components, done..until, &mut bits),
                None => self.read_baseline(scan, &frame.components, done..until, &mut bits),
            };
            match result {
                Ok(()) => {}
                Err(Fault::End(unit)) => bail!("is cut off: its JPEG data end at {}", of_picture(unit)),
                Err(Fault::Code(unit)) => {
                    bail!("is damaged: its JPEG data hold an invalid code at {}", of_picture(unit))
                }
            }
            let left = bits.left() / 8;
            ensure!(left <= SPARE, "is damaged: its JPEG data hold {left} bytes more than the picture needs");
            done = until;
            if done == all {
                break;
            }
            if !matches!(self.marker()?, 0xd0..=0xd7) {
                bail!("is cut off: its JPEG data end at {}", of_picture(done));
            }
        }
        self.data = data;
        if let Some(components) = progress {
            frame.components = components;
        }
        Ok(true)
    }

    /// Copies the data up to the next marker without stuffed zeros; the number of their bytes.
    fn unstuff(&mut self, data: &mut Vec<u8>) -> usize {
        data.clear();
        loop {
            let rest = &self.bytes[self.at..];
            let run = find_ff(rest).unwrap_or(rest.len());
            data.extend_from_slice(&rest[..run]);
            match rest.get(run + 1) {
                Some(0) => {
                    data.push(0xff);
                    self.at += run + 2;
                }
                Some(0xff) => self.at += run + 1,
                _ => {
                    self.at += run;
                    break;
                }
            }
        }
        let end = data.len();
        data.resize(end + Bits::MARGIN, 0);
        end
    }

    fn read_baseline(
        &self,
        scan: &Scan,
        components: &[Component],
        units: std::ops::Range<usize>,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        let alone = scan.parts.len() == 1;
        let parts: Vec<(&Huffman, &Huffman, usize)> = scan
            .parts
            .iter()
            .filter_map(|&(part, dc, ac)| {
                let component = &components[part];
                let blocks = if alone { 1 } else { component.across * component.down };
                Some((self.tables[0][dc].as_ref()?, self.tables[1][ac].as_ref()?, blocks))
            })
            .collect();
        for unit in units {
            for &(dc, ac, blocks) in &parts {
                for _ in 0..blocks {
                    bits.first(dc).and_then(|()| bits.others(ac)).ok_or_else(|| bits.fault(unit))?;
                    if bits.is_over() {
                        return Err(Fault::End(unit));
                    }
                }
            }
        }
        Ok(())
    }

    fn read_progressive(
        &self,
        scan: &Scan,
        components: &mut [Component],
        units: std::ops::Range<usize>,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        if scan.first == 0 {
            let alone = scan.parts.len() == 1;
            for unit in units {
                for &(part, dc, _) in &scan.parts {
                    let blocks = if alone { 1 } else { components[part].across * components[part].down };
                    match &self.tables[0][dc] {
                        Some(dc) if !scan.refines => {
                            for _ in 0..blocks {
                                bits.first(dc).ok_or_else(|| bits.fault(unit))?;
                            }
                        }
                        _ => bits.skip(blocks),
                    }
                    if bits.is_over() {
                        return Err(Fault::End(unit));
                    }
                }
            }
            return Ok(());
        }
        let (part, _, ac) = scan.parts[0];
        let (Some(ac), band) = (&self.tables[1][ac], scan.first..=scan.last) else { return Ok(()) };
        let mut ended = 0;
        for (unit, known) in units.clone().zip(&mut components[part].known[units]) {
            let read = if scan.refines {
                bits.refine(ac, band.clone(), known, &mut ended)
            } else {
                bits.band(ac, band.clone(), known, &mut ended)
            };
            read.ok_or_else(|| bits.fault(unit))?;
            if bits.is_over() {
                return Err(Fault::End(unit));
            }
        }
        Ok(())
    }

    /// A picture needs a scan of every component.
    fn check_components(&self) -> Result<()> {
        let Some(frame) = self.frame.as_ref().filter(|_| !self.unknown) else { return Ok(()) };
        ensure!(frame.components.iter().all(|component| component.seen), "is cut off: a JPEG scan is missing");
        Ok(())
    }
}

/// What is wrong with the data, and at which unit.
enum Fault {
    End(usize),
    Code(usize),
}

impl Bits<'_> {
    /// Why no code was found.
    fn fault(&self, unit: usize) -> Fault {
        if self.is_over() { Fault::End(unit) } else { Fault::Code(unit) }
    }
}

impl Component {
    /// Of three bytes: T.81, table B.2.
    fn new(bytes: &[u8]) -> Self {
        Self { id: bytes[0], across: (bytes[1] >> 4).into(), down: (bytes[1] & 15).into(), ..Self::default() }
    }
}

impl Scan {
    /// Nothing for what does not fit the frame or is not known.
    fn parse(header: &[u8], frame: &Frame) -> Option<Self> {
        let (&count, rest) = header.split_first()?;
        let (parts, &[first, last, levels, ..]) = rest.split_at_checked(2 * usize::from(count))? else { return None };
        let part = |bytes: &[u8]| {
            let component = frame.components.iter().position(|component| component.id == bytes[0])?;
            let tables = (usize::from(bytes[1] >> 4), usize::from(bytes[1] & 15));
            (tables.0 < 4 && tables.1 < 4).then_some((component, tables.0, tables.1))
        };
        let parts = parts.chunks_exact(2).map(part).collect::<Option<Vec<_>>>()?;
        // What they say in a sequential frame is always the same: T.81, table B.3.
        let (first, last, refines) = match frame.progressive {
            true => (usize::from(first), usize::from(last), levels >> 4 > 0),
            false => (0, BLOCK - 1, false),
        };
        let fits = !frame.progressive || (first == 0 && last == 0) || (1 <= first && first <= last && parts.len() == 1);
        ((1..=4).contains(&parts.len()) && last < BLOCK && fits).then_some(Self { parts, first, last, refines })
    }
}

/// The place of the first byte 0xff, eight at a time.
fn find_ff(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8) {
        // Of the complement: a byte that is 0 borrows from its highest bit, and the first one that does is one.
        let word = !u64::from_le_bytes(eight.try_into().expect("8 bytes"));
        let zeros = word.wrapping_sub(LOW) & !word & HIGH;
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| byte == 0xff).map(|place| at + place)
}

#[cfg(test)]
mod tests;
