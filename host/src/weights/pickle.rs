//! Reads the pickles that PyTorch writes, without running anything.
//!
//! A pickle is a program for a stack machine that may call any function there is. This reader knows the instructions
//! that make plain data, and the four functions by which PyTorch makes tensors of stored numbers. Every other
//! instruction or name is refused, with its place in the file.
//!
//! A pickle is not trusted. Values may be recalled as often as somebody likes, so that copying one costs the same
//! whatever it holds, and nothing nests: memory grows with the length of the pickle, the call stack not at all.

use super::tensors::Float;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Axes that a tensor may have; PyTorch's own limit.
const MAX_AXES: usize = 64;

/// What a pickle makes. Containers may hold themselves, and each other to any depth, so they are kept apart and known by
/// number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(Rc<str>),
    /// Number of a tuple of the [`Pickle`].
    Tuple(usize),
    /// Number of a list of the [`Pickle`].
    List(usize),
    /// Number of a dictionary of the [`Pickle`].
    Dict(usize),
    Function(Function),
    StorageKind(Kind),
    Storage(Storage),
    Tensor(Rc<Tensor>),
}

/// What a storage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float(Float),
    /// Whole numbers or truth values of so many bytes, which no weights are.
    Whole(usize),
}

impl Kind {
    /// Bytes of one number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Float(float) => float.bytes(),
            Self::Whole(bytes) => bytes,
        }
    }
}

/// The functions that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
}

/// Numbers stored elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub kind: Kind,
    pub key: Rc<str>,
}

/// A view on a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub storage: Storage,
    /// All in numbers, not bytes.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle made.
#[derive(Debug)]
pub(super) struct Pickle {
    pub root: Value,
    pub lists: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    /// What each storage that it names holds, wherever it does, by the storage's key.
    pub storages: BTreeMap<Rc<str>, Kind>,
    /// Bytes that it took.
    pub len: usize,
}

/// Reads the pickle at the start of `bytes`; there may be more behind it.
///
/// # Errors
/// It is cut off, malformed, or would call something.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle> {
    let mut machine = Machine { bytes, ..Machine::default() };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => {
                let Machine { lists, dicts, storages, at: len, .. } = machine;
                return Ok(Pickle { root, lists, dicts, storages, len });
            }
            Err(error) => return Err(error.context(format!("at byte {at} of its pickle"))),
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Value>,
    tuples: Vec<Vec<Value>>,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    storages: BTreeMap<Rc<str>, Kind>,
}

impl Machine<'_> {
    /// Runs one instruction; the result if it was the last. Codes and meanings: Python's `Lib/pickletools.py`.
    fn step(&mut self) -> Result<Option<Value>> {
        let value = match self.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => return self.take(1).map(|_| None),
            0x95 => return self.take(8).map(|_| None),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a => self.long()?,
            b'G' => self.take(8).map(|_| Value::Float)?,
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            b')' => self.new_tuple(Vec::new()),
            0x85..=0x87 => self.short_tuple()?,
            b't' => {
                let values = self.pop_mark()?;
                self.new_tuple(values)
            }
            b']' => self.new_list(Vec::new()),
            b'}' => self.new_dict(),
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'R' => self.call()?,
            b'Q' => self.storage()?,
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'q' => return self.memorise(Some(1)),
            b'r' => return self.memorise(Some(4)),
            0x94 => return self.memorise(None),
            b'a' => return self.append(false),
            b'e' => return self.append(true),
            b's' => return self.set_items(false),
            b'u' => return self.set_items(true),
            b'b' => return self.build(),
            other => bail!("the instruction {other:#04x} does not make plain data: it is refused"),
        };
        self.stack.push(value);
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len()).context("it is cut off")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of at most 8 bytes, the least significant one first.
    fn number(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    fn long(&mut self) -> Result<Value> {
        let len = usize::from(self.byte()?);
        ensure!(len <= 8, "a number has {len} bytes");
        let unsigned = self.number(len)?;
        let unused = 64 - 8 * len as u32;
        Ok(Value::Int(if len == 0 { 0 } else { ((unsigned << unused) as i64) >> unused }))
    }

    fn text(&mut self, bytes: usize) -> Result<Value> {
        let len = self.number(bytes)? as usize;
        let text = std::str::from_utf8(self.take(len)?).context("a text is not UTF-8")?;
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<String> {
        let len = self.bytes[self.at..].iter().position(|&b| b == b'\n').context("it is cut off")?;
        let line = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or_default();
        ensure!(self.stack.len() > floor, "its stack is empty");
        Ok(self.stack.pop().expect("it is not empty"))
    }

    /// What was pushed since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().context("there is no mark on its stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn short_tuple(&mut self) -> Result<Value> {
        let count = usize::from(self.bytes[self.at - 1] - 0x84);
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        Ok(self.new_tuple(values))
    }

    fn new_tuple(&mut self, values: Vec<Value>) -> Value {
        self.tuples.push(values);
        Value::Tuple(self.tuples.len() - 1)
    }

    fn new_list(&mut self, values: Vec<Value>) -> Value {
        self.lists.push(values);
        Value::List(self.lists.len() - 1)
    }

    fn new_dict(&mut self) -> Value {
        self.dicts.push(Vec::new());
        Value::Dict(self.dicts.len() - 1)
    }

    fn recall(&mut self, bytes: usize) -> Result<Value> {
        let key = self.number(bytes)? as usize;
        self.memo.get(&key).cloned().with_context(|| format!("it recalls number {key}, which it never memorised"))
    }

    fn memorise(&mut self, bytes: Option<usize>) -> Result<Option<Value>> {
        let key = match bytes {
            Some(bytes) => self.number(bytes)? as usize,
            None => self.memo.len(),
        };
        let value = self.stack.last().context("its stack is empty")?.clone();
        self.memo.insert(key, value);
        Ok(None)
    }

    fn append(&mut self, many: bool) -> Result<Option<Value>> {
        let values = if many { self.pop_mark()? } else { vec![self.pop()?] };
        let Some(&Value::List(list)) = self.stack.last() else { bail!("it appends to something that is no list") };
        self.lists[list].extend(values);
        Ok(None)
    }

    fn set_items(&mut self, many: bool) -> Result<Option<Value>> {
        let values = if many {
            self.pop_mark()?
        } else {
            let value = self.pop()?;
            vec![self.pop()?, value]
        };
        let Some(&Value::Dict(dict)) = self.stack.last() else { bail!("it sets an item of what is no dictionary") };
        ensure!(values.len().is_multiple_of(2), "a key has no value");
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            self.dicts[dict].push((key, value));
        }
        Ok(None)
    }

    /// Gives attributes to an object: PyTorch does that to its dictionaries only, with what no tensor depends on.
    fn build(&mut self) -> Result<Option<Value>> {
        let state = self.pop()?;
        let is_plain = matches!((self.stack.last(), state), (Some(Value::Dict(_)), Value::Dict(_)));
        ensure!(is_plain, "it gives a state to something that is no dictionary: it is refused");
        Ok(None)
    }

    fn global(&mut self) -> Result<Value> {
        let (module, name) = (self.line()?, self.line()?);
        named(&module, &name)
    }

    fn stack_global(&mut self) -> Result<Value> {
        match (self.pop()?, self.pop()?) {
            (Value::Text(name), Value::Text(module)) => named(&module, &name),
            _ => bail!("a function has no name"),
        }
    }

    fn call(&mut self) -> Result<Value> {
        let (Value::Tuple(arguments), function) = (self.pop()?, self.pop()?) else {
            bail!("a function is called without arguments")
        };
        match (function, self.tuples[arguments].as_slice()) {
            (Value::Function(Function::OrderedDict), []) => Ok(self.new_dict()),
            (Value::Function(Function::RebuildParameter), [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
            (
                Value::Function(Function::RebuildTensor),
                [Value::Storage(storage), offset @ Value::Int(_), Value::Tuple(shape), Value::Tuple(strides), ..],
            ) => Ok(Value::Tensor(Rc::new(Tensor {
                storage: storage.clone(),
                offset: size(offset)?,
                shape: self.sizes(*shape)?,
                strides: self.sizes(*strides)?,
            }))),
            (Value::Function(function), _) => bail!("{function:?} is called with arguments of another kind"),
            _ => bail!("it calls something that is no function: it is refused"),
        }
    }

    /// The numbers of a tuple, one for each axis.
    fn sizes(&self, tuple: usize) -> Result<Vec<usize>> {
        let values = &self.tuples[tuple];
        ensure!(values.len() <= MAX_AXES, "a tensor has {} axes", values.len());
        values.iter().map(size).collect()
    }

    /// `('storage', kind, key, place, count)`, and in files before PyTorch 1.6 a view, which nothing uses.
    fn storage(&mut self) -> Result<Value> {
        let Value::Tuple(id) = self.pop()? else { bail!("a storage has no description") };
        match self.tuples[id].as_slice() {
            [Value::Text(tag), Value::StorageKind(kind), Value::Text(key), _, Value::Int(_), rest @ ..]
                if &**tag == "storage" && matches!(rest, [] | [Value::None]) =>
            {
                let storage = Storage { kind: *kind, key: key.clone() };
                self.storages.insert(storage.key.clone(), storage.kind);
                Ok(Value::Storage(storage))
            }
            _ => bail!("a storage has a description of another kind"),
        }
    }
}

fn size(value: &Value) -> Result<usize> {
    match value {
        Value::Int(size) => usize::try_from(*size).with_context(|| format!("a tensor has the size {size}")),
        _ => bail!("a tensor's size is no number"),
    }
}

/// The function or storage kind of this name.
fn named(module: &str, name: &str) -> Result<Value> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Value::Function(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Value::Function(Function::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Value::Function(Function::RebuildParameter),
        ("torch", "DoubleStorage") => Value::StorageKind(Kind::Float(Float::F64)),
        ("torch", "FloatStorage") => Value::StorageKind(Kind::Float(Float::F32)),
        ("torch", "HalfStorage") => Value::StorageKind(Kind::Float(Float::F16)),
        ("torch", "BFloat16Storage") => Value::StorageKind(Kind::Float(Float::BF16)),
        ("torch", "LongStorage") => Value::StorageKind(Kind::Whole(8)),
        ("torch", "IntStorage") => Value::StorageKind(Kind::Whole(4)),
        ("torch", "ShortStorage") => Value::StorageKind(Kind::Whole(2)),
        ("torch", "CharStorage" | "ByteStorage" | "BoolStorage") => Value::StorageKind(Kind::Whole(1)),
        _ => bail!(
            "it names {module}.{name}, which is more than plain weights and is never executed; load the file where it \
             comes from and save its state_dict() alone, or as safetensors"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pickle: &[u8]) -> String {
        format!("{:#}", read(pickle).unwrap_err())
    }

    #[test]
    fn plain_data_is_read() {
        // {'a': [1, -2, 300], 'b': ('x', None, True)}, pickled by Python with protocol 2.
        let pickle = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM\x2c\x01eX\x01\x00\x00\x00bq\x03X\x01\
                       \x00\x00\x00xq\x04N\x88\x87q\x05u.more";
        let found = read(pickle).unwrap();
        assert_eq!(found.len, pickle.len() - 4);
        assert_eq!((found.root, &found.lists[0]), (Value::Dict(0), &[1, -2, 300].map(Value::Int).to_vec()));
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(found.dicts[0][0], (text("a"), Value::List(0)));
        assert_eq!(found.dicts[0][1], (text("b"), Value::Tuple(0)));
    }

    #[test]
    fn code_is_refused_and_never_executed() {
        // os.system('echo'), by name and by a name from the stack.
        assert!(message(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R.").contains("os.system"));
        assert!(message(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04echo\x85R.").contains("posix.system"));
        assert!(message(b"c__builtin__\neval\n.").contains("never executed"));
        // Instances by class name (INST, OBJ, NEWOBJ) and extension codes.
        for code in [b'i', b'o', 0x81, 0x82] {
            assert!(message(&[b'(', code]).contains("refused"), "{code:#x}");
        }
        assert!(message(b"K\x01)R.").contains("no function"));
        assert!(message(b"K\x01}b.").contains("no dictionary"));
        assert!(message(b"ctorch._utils\n_rebuild_tensor_v2\n)R.").contains("arguments of another kind"));
    }

    #[test]
    fn malformed_pickles_are_errors() {
        for (pickle, word) in [
            (&b""[..], "cut off"),
            (b"X\xff\xff\xff\x7fa", "cut off"),
            (b".", "empty"),
            (b"(t", "cut off"),
            (b"t", "no mark"),
            (b"(a", "empty"),
            (b"K\x01a", "no list"),
            (b"K\x01K\x02a", "no list"),
            (b"}(K\x01u", "no value"),
            (b"h\x07", "never memorised"),
            (b"\x8a\x09", "9 bytes"),
        ] {
            assert!(message(pickle).contains(word), "{pickle:?}: {}", message(pickle));
        }
    }

    #[test]
    fn long_numbers_have_a_sign() {
        for (bytes, number) in [(&b"\x8a\x00."[..], 0), (b"\x8a\x01\xff.", -1), (b"\x8a\x02\xff\x00.", 255)] {
            assert_eq!(read(bytes).unwrap().root, Value::Int(number));
        }
    }
    #[test]
    fn what_is_recalled_or_nested_takes_no_more_memory() {
        // A tuple that doubles 60 times: written out it would have 2^60 numbers.
        let mut bomb = b"K\x01q\x00".to_vec();
        (0..60).for_each(|i| bomb.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]));
        bomb.push(b'.');
        assert_eq!(read(&bomb).unwrap().root, Value::Tuple(59));
        // Tuples in one another, deeper than the call stack.
        let deep = [&b")"[..], &[0x85; 1_000_000], b"."].concat();
        assert_eq!(read(&deep).unwrap().root, Value::Tuple(1_000_000));
        // A long text that is recalled often, 100 GB if it were copied.
        let long = "x".repeat(200_000);
        let text = [&b"X\x40\x0d\x03\0"[..], long.as_bytes(), b"q\0", &b"h\0".repeat(500_000), b"."].concat();
        assert_eq!(read(&text).unwrap().root, Value::Text(long.into()));
        // As many axes as somebody likes, for as many tensors.
        let axes = [&b"("[..], &b"K\x01".repeat(100), b"tq\0"].concat();
        let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30X\x03\0\0\0cpuK\x01tQ";
        let call = [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], storage, b"K\0h\0h\0tR."].concat();
        assert!(message(&[axes, call].concat()).contains("100 axes"));
    }

    #[test]
    fn storages_are_known_wherever_they_are_named() {
        let storage = |kind: &str, key: u8| {
            let start = [&b"(X\x07\0\0\0storagectorch\n"[..], kind.as_bytes(), b"\nX\x01\0\0\0", &[key]].concat();
            [&start[..], b"X\x03\0\0\0cpuK\x01tQ"].concat()
        };
        let pickle = [&b"]("[..], &storage("ByteStorage", b'1'), &storage("HalfStorage", b'2'), b"e."].concat();
        let found = read(&pickle).unwrap().storages;
        assert_eq!(found, [("1".into(), Kind::Whole(1)), ("2".into(), Kind::Float(Float::F16))].into());
    }
}
