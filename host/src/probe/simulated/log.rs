//! The log of a simulated program, in the very bytes that the compiled one writes: defmt frames. A frame is the number of
//! its format, and the values for that format's parameters (the defmt book, "Wire format"); formats and their numbers
//! come from the ELF file that was flashed.
//!
//! Firmware logs each reply by a format such as `end messages={=u32}`: its first word says what it is, and each parameter
//! stands behind its key. What the file has no format for is not logged.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};
use defmt_decoder::{Encoding, Table};
use defmt_parser::{Fragment, ParserMode, Type};
use ocellus_shared::wire::{Reply, FrameCounts};
use serde_json::Value as Json;

/// How a list's items are logged: each as one byte.
const ITEM: &str = "{=i8}";

/// A value of a reply.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Real(f32),
    Flag(bool),
    Text(&'a str),
    List(&'a [i8]),
}

/// A format: its number in the table, and the keys and types of its parameters, in their order.
#[derive(Debug)]
struct Format {
    index: u16,
    parameters: Vec<(String, Type)>,
}

/// Writes replies as a compiled program does.
#[derive(Debug)]
pub struct Writer {
    formats: HashMap<String, Format>,
    /// Number of the format of a list's items, where the program has one.
    item: Option<u16>,
    encoding: Encoding,
}

impl Writer {
    /// A writer with the formats of the program in `elf`.
    ///
    /// # Errors
    /// It has no table of formats, or its frames carry the time.
    pub fn new(elf: &[u8]) -> Result<Self> {
        let table = Table::parse(elf)
            .and_then(|table| table.ok_or_else(|| anyhow!("it holds no defmt log table")))
            .context("the program is not firmware of Ocellus")?;
        if table.has_timestamp() {
            bail!("the program's log has time stamps, which the firmware of Ocellus has not");
        }
        let (mut formats, mut item) = (HashMap::new(), None);
        for (index, tag, text) in entries(&table)? {
            match tag.as_str() {
                "Println" => formats.extend(parse(index, &text)),
                "Prim" if text == ITEM => item = Some(index),
                _ => {}
            }
        }
        Ok(Self { formats, item, encoding: table.encoding() })
    }

    /// What comes before the first frame: an end, so that what an earlier run left unfinished has one.
    pub fn opening(&self) -> &'static [u8] {
        match self.encoding {
            Encoding::Rzcobs => &[0],
            _ => &[],
        }
    }

    /// The bytes of a reply; none where the program has no format for it.
    pub fn frame(&self, reply: &Reply<'_, &[i8]>) -> Option<Vec<u8>> {
        let (kind, values) = fields(reply)?;
        let format = self.formats.get(kind)?;
        let mut frame = format.index.to_le_bytes().to_vec();
        for (key, kind) in &format.parameters {
            let (_, value) = values.iter().find(|(name, _)| name == key)?;
            self.emit(kind, *value, &mut frame)?;
        }
        Some(match self.encoding {
            Encoding::Rzcobs => [rzcobs::encode(&frame), vec![0]].concat(),
            _ => frame,
        })
    }

    /// A parameter as defmt writes it: little-endian, with a 32-bit length in front of texts and lists.
    fn emit(&self, kind: &Type, value: Value, frame: &mut Vec<u8>) -> Option<()> {
        match (kind, value) {
            (Type::U8, Value::Number(number)) => frame.push(number.try_into().ok()?),
            (Type::U16, Value::Number(number)) => frame.extend(u16::try_from(number).ok()?.to_le_bytes()),
            (Type::U32, Value::Number(number)) => frame.extend(u32::try_from(number).ok()?.to_le_bytes()),
            (Type::U64, Value::Number(number)) => frame.extend(number.to_le_bytes()),
            (Type::F32, Value::Real(real)) => frame.extend(real.to_le_bytes()),
            (Type::Bool, Value::Flag(flag)) => frame.push(flag.into()),
            (Type::Str, Value::Text(text)) => {
                frame.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
                frame.extend(text.as_bytes());
            }
            (Type::FormatSlice, Value::List(items)) => {
                frame.extend(u32::try_from(items.len()).ok()?.to_le_bytes());
                frame.extend(self.item?.to_le_bytes());
                frame.extend(bytemuck::cast_slice::<i8, u8>(items));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Number, tag and text of everything in `table`, which tells only by being serialized.
fn entries(table: &Table) -> Result<Vec<(u16, String, String)>> {
    let table = serde_json::to_value(table).context("the program's log table")?;
    let entry = |(index, entry): (&String, &Json)| {
        let part = |name: &str| Some(entry.get("string")?.get(name)?.as_str()?.to_owned());
        Some((index.parse().ok()?, part("tag")?, part("string")?))
    };
    let entries = table.get("entries").and_then(Json::as_object).context("the program's log table has no entries")?;
    Ok(entries.iter().filter_map(entry).collect())
}

/// The format `text` and its first word; nothing where that is none of a reply.
fn parse(index: u16, text: &str) -> Option<(String, Format)> {
    let fragments = defmt_parser::parse(text, ParserMode::ForwardsCompatible).ok()?;
    let (kind, _) = text.split_once(' ')?;
    let (mut parameters, mut key) = (Vec::new(), None);
    for fragment in fragments {
        match fragment {
            Fragment::Literal(literal) => {
                key = literal.strip_suffix('=').and_then(|text| text.rsplit(' ').next()).map(str::to_owned);
            }
            Fragment::Parameter(parameter) => parameters.push((key.take()?, parameter.ty)),
        }
    }
    Some((kind.to_owned(), Format { index, parameters }))
}

/// The word for a reply in a log, and its values by their keys; nothing for what is far more than a log is for.
fn fields<'a>(reply: &Reply<'a, &'a [i8]>) -> Option<(&'static str, Vec<(&'static str, Value<'a>)>)> {
    use Value::{Flag, List, Real, Text};
    let number = |value: u32| Value::Number(value.into());
    let numbered = |sequence: u32, rest: &[(&'static str, Value<'a>)]| [&[("seq", number(sequence))], rest].concat();
    Some(match *reply {
        Reply::Ready { board, plan_bytes, arena_bytes } => {
            let sizes = [("plan_bytes", number(plan_bytes)), ("arena_bytes", number(arena_bytes))];
            ("ready", [&[("board", Text(board))], &sizes[..]].concat())
        }
        Reply::Plan { sequence, digest, steps, arena_bytes } => {
            let digest = Value::Number(u64::from_be_bytes(digest));
            let rest = [("digest", digest), ("steps", number(steps)), ("arena_bytes", number(arena_bytes))];
            ("plan", numbered(sequence, &rest))
        }
        Reply::Scores { sequence, crc, values } => {
            ("scores", numbered(sequence, &[("crc", number(crc)), ("values", List(values))]))
        }
        Reply::Label { sequence, class, margin, steady, name } => {
            let rest = [("class", number(class)), ("margin", Real(margin)), ("steady", Flag(steady))];
            ("label", [numbered(sequence, &rest), vec![("name", Text(name))]].concat())
        }
        Reply::Step { sequence, index, crc } => {
            ("step", numbered(sequence, &[("index", number(index)), ("crc", number(crc))]))
        }
        Reply::Cost { sequence, index, instructions } => {
            let rest = [("index", number(index)), ("instructions", Value::Number(instructions))];
            ("cost", numbered(sequence, &rest))
        }
        Reply::Profile { sequence, instructions, stack_bytes } => {
            let rest = [("instructions", Value::Number(instructions)), ("stack_bytes", number(stack_bytes))];
            ("profile", numbered(sequence, &rest))
        }
        Reply::Seen { sequence, class, settled, margin, latency_us, interval_us, name } => {
            let label = [("class", number(class)), ("settled", Flag(settled)), ("margin", Real(margin))];
            let rest = [("latency_us", number(latency_us)), ("interval_us", number(interval_us)), ("name", Text(name))];
            ("seen", [numbered(sequence, &label), rest.to_vec()].concat())
        }
        Reply::Fault { sequence, what, tally } => {
            ("fault", [numbered(sequence, &[("what", Text(what))]), counts(tally)].concat())
        }
        Reply::Watched { sequence, tally } => ("watched", [numbered(sequence, &[]), counts(tally)].concat()),
        Reply::Error { sequence, refusal, needed, available, detail } => {
            let bytes = [("needed", number(needed)), ("available", number(available))];
            let rest = [&[("code", Text(refusal.name()))], &bytes[..], &[("detail", Text(detail))]].concat();
            ("error", numbered(sequence, &rest))
        }
        Reply::End { messages } => ("end", vec![("messages", number(messages))]),
        Reply::Picture { .. } | Reply::Rows { .. } => return None,
    })
}

fn counts<'a>(tally: FrameCounts) -> Vec<(&'static str, Value<'a>)> {
    let FrameCounts { turns, frames, missing, overruns, losses, restarts } = tally;
    let counts = [
        ("turns", turns),
        ("frames", frames),
        ("missing", missing),
        ("overruns", overruns),
        ("losses", losses),
        ("restarts", restarts),
    ];
    counts.map(|(key, count)| (key, Value::Number(count.into()))).to_vec()
}
