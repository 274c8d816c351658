//! Reads the pickles that PyTorch writes, without running anything.
//!
//! A pickle is a program for a stack machine that may call any function there is. This reader knows the instructions
//! that make plain data, and the four functions by which PyTorch makes tensors of stored numbers. Every other
//! instruction or name is refused, with its place in the file.
//!
//! A pickle is not trusted. Values may be recalled as often as somebody likes, so that copying one costs the same
//! whatever it holds, and nothing nests: the call stack does not grow at all. Every byte of memory is accounted for, and a
//! pickle that wants many times its length is refused.

use super::float::Float;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Axes that a tensor may have; PyTorch's own limit.
const MAX_AXES: usize = 64;
/// Memory that a pickle may take for each of its bytes, and for none. What `torch.save` writes takes 4 to 8.
const MEMORY_FACTOR: usize = 10;
const MEMORY_BASE: usize = 1 << 14;
/// Memory of a value, and of an entry of a map, whose nodes may be half empty.
const VALUE: usize = size_of::<Value>();
const MAP_ENTRY: usize = 2 * (VALUE + size_of::<usize>());

/// What a pickle makes. Containers may hold themselves, and each other to any depth, so they are kept apart and known by
/// their number in the [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Function(Function),
    StorageKind(Kind),
    Storage(usize),
    Tensor(usize),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub kind: Kind,
    pub key: &'a str,
}

/// A view on a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    /// Its number in the [`Pickle`].
    storage: usize,
    /// In numbers, not bytes.
    pub offset: usize,
    /// Tuples of as many sizes each as it has axes; strides are in numbers, not bytes.
    shape: usize,
    strides: usize,
}

/// What a pickle made.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub root: Value,
    /// Bytes that it took.
    pub len: usize,
    made: Made<'a>,
}

/// Everything that values refer to by number.
#[derive(Debug, Default)]
struct Made<'a> {
    texts: Vec<&'a str>,
    /// The values of all tuples, and which are whose: the first one and how many.
    in_tuples: Vec<Value>,
    tuples: Vec<(usize, usize)>,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<Tensor>,
    /// What each storage holds, by its key, wherever it was named.
    kinds: BTreeMap<&'a str, Kind>,
}

impl<'a> Made<'a> {
    fn tuple(&self, number: usize) -> &[Value] {
        let (start, len) = self.tuples[number];
        &self.in_tuples[start..start + len]
    }
}

impl<'a> Pickle<'a> {
    /// The text that a value is.
    pub(super) fn text(&self, value: Value) -> Option<&'a str> {
        if let Value::Text(number) = value { Some(self.made.texts[number]) } else { None }
    }

    /// The values of the list that a value is.
    pub(super) fn list(&self, value: Value) -> Option<&[Value]> {
        if let Value::List(number) = value { Some(&self.made.lists[number]) } else { None }
    }

    /// The keys and values of the dictionary that a value is.
    pub(super) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        if let Value::Dict(number) = value { Some(&self.made.dicts[number]) } else { None }
    }

    /// The tensor that a value is.
    pub(super) fn tensor(&self, value: Value) -> Option<&Tensor> {
        if let Value::Tensor(number) = value { Some(&self.made.tensors[number]) } else { None }
    }

    /// What a tensor is a view on.
    pub(super) fn storage(&self, tensor: &Tensor) -> Storage<'a> {
        self.made.storages[tensor.storage]
    }

    /// What the storage of this key holds, if one was named.
    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.made.kinds.get(key).copied()
    }

    /// A tensor's number of values along each axis, and how far they are apart.
    pub(super) fn view(&self, tensor: &Tensor) -> (Vec<usize>, Vec<usize>) {
        let sizes = |tuple| sizes(self.made.tuple(tuple)).expect("they were checked when the tensor was made");
        (sizes(tensor.shape), sizes(tensor.strides))
    }
}

/// Reads the pickle at the start of `bytes`; there may be more behind it.
///
/// # Errors
/// It is cut off, malformed, takes much more memory than its bytes, or would call something.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>> {
    let mut machine = Machine { bytes, memory: MEMORY_BASE + MEMORY_FACTOR * bytes.len(), ..Machine::default() };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Pickle { root, len: machine.at, made: machine.made }),
            Err(error) => return Err(error.context(format!("at byte {at} of its pickle"))),
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of memory that it may still take.
    memory: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    /// Values and marks that there was room for.
    highest: usize,
    /// Values that were memorised under 0, 1, 2, ..., and those under other numbers.
    memo: Vec<Value>,
    memo_beyond: BTreeMap<usize, Value>,
    made: Made<'a>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; the result if it was the last. Codes and meanings: Python's `Lib/pickletools.py`.
    fn step(&mut self) -> Result<Option<Value>> {
        let value = match self.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => return self.take(1).map(|_| None),
            0x95 => return self.take(8).map(|_| None),
            b'(' => {
                self.marks.push(self.stack.len());
                return self.charge_height().map(|()| None);
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
            b')' => self.new_tuple(Vec::new())?,
            0x85..=0x87 => self.short_tuple()?,
            b't' => {
                let values = self.pop_mark()?;
                self.new_tuple(values)?
            }
            b']' => self.new_list()?,
            b'}' => self.new_dict()?,
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
        self.charge_height().map(|()| None)
    }

    /// Accounts for so many bytes of memory that are taken from now on.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        let left = self.memory.checked_sub(bytes);
        self.memory = left.context("it would take many times its own length of memory: it is refused")?;
        Ok(())
    }

    /// The same for the stack and its marks, which are higher than ever.
    fn charge_height(&mut self) -> Result<()> {
        let height = self.stack.len() + self.marks.len();
        let higher = height.saturating_sub(self.highest);
        self.highest += higher;
        self.charge(higher * VALUE)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
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
        self.charge(size_of::<&str>())?;
        self.made.texts.push(text);
        Ok(Value::Text(self.made.texts.len() - 1))
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
        self.new_tuple(values)
    }

    fn new_tuple(&mut self, values: Vec<Value>) -> Result<Value> {
        self.charge(size_of::<(usize, usize)>() + values.len() * VALUE)?;
        self.made.tuples.push((self.made.in_tuples.len(), values.len()));
        self.made.in_tuples.extend(values);
        Ok(Value::Tuple(self.made.tuples.len() - 1))
    }

    fn new_list(&mut self) -> Result<Value> {
        self.charge(size_of::<Vec<Value>>())?;
        self.made.lists.push(Vec::new());
        Ok(Value::List(self.made.lists.len() - 1))
    }

    fn new_dict(&mut self) -> Result<Value> {
        self.charge(size_of::<Vec<(Value, Value)>>())?;
        self.made.dicts.push(Vec::new());
        Ok(Value::Dict(self.made.dicts.len() - 1))
    }

    fn recall(&mut self, bytes: usize) -> Result<Value> {
        let key = self.number(bytes)? as usize;
        let value = self.memo.get(key).or_else(|| self.memo_beyond.get(&key)).copied();
        value.with_context(|| format!("it recalls number {key}, which it never memorised"))
    }

    fn memorise(&mut self, bytes: Option<usize>) -> Result<Option<Value>> {
        let key = match bytes {
            Some(bytes) => self.number(bytes)? as usize,
            None => self.memo.len() + self.memo_beyond.len(),
        };
        let value = *self.stack.last().context("its stack is empty")?;
        if let Some(known) = self.memo.get_mut(key) {
            *known = value;
        } else if key == self.memo.len() && self.memo_beyond.is_empty() {
            self.charge(VALUE)?;
            self.memo.push(value);
        } else {
            self.charge(MAP_ENTRY)?;
            self.memo_beyond.insert(key, value);
        }
        Ok(None)
    }

    fn append(&mut self, many: bool) -> Result<Option<Value>> {
        let values = if many { self.pop_mark()? } else { vec![self.pop()?] };
        let Some(&Value::List(list)) = self.stack.last() else { bail!("it appends to something that is no list") };
        self.charge(values.len() * VALUE)?;
        self.made.lists[list].extend(values);
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
        self.charge(values.len() * VALUE)?;
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            self.made.dicts[dict].push((key, value));
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
            (Value::Text(name), Value::Text(module)) => named(self.made.texts[module], self.made.texts[name]),
            _ => bail!("a function has no name"),
        }
    }

    fn call(&mut self) -> Result<Value> {
        let (Value::Tuple(arguments), function) = (self.pop()?, self.pop()?) else {
            bail!("a function is called without arguments")
        };
        match (function, self.made.tuple(arguments)) {
            (Value::Function(Function::OrderedDict), []) => self.new_dict(),
            (Value::Function(Function::RebuildParameter), [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
            (
                Value::Function(Function::RebuildTensor),
                &[Value::Storage(storage), ref offset @ Value::Int(_), Value::Tuple(shape), Value::Tuple(strides), ..],
            ) => {
                let offset = size(offset)?;
                self.new_tensor(Tensor { storage, offset, shape, strides })
            }
            (Value::Function(function), _) => bail!("{function:?} is called with arguments of another kind"),
            _ => bail!("it calls something that is no function: it is refused"),
        }
    }

    fn new_tensor(&mut self, tensor: Tensor) -> Result<Value> {
        let [shape, strides] = [tensor.shape, tensor.strides].map(|tuple| sizes(self.made.tuple(tuple)));
        let (axes, strides) = (shape?.len(), strides?.len());
        ensure!(axes == strides, "a tensor has {axes} axes but {strides} strides");
        self.charge(size_of::<Tensor>())?;
        self.made.tensors.push(tensor);
        Ok(Value::Tensor(self.made.tensors.len() - 1))
    }

    /// `('storage', kind, key, place, count)`, and in files before PyTorch 1.6 a view, which nothing uses.
    fn storage(&mut self) -> Result<Value> {
        let Value::Tuple(id) = self.pop()? else { bail!("a storage has no description") };
        let &[Value::Text(tag), Value::StorageKind(kind), Value::Text(key), _, Value::Int(_), ref rest @ ..] =
            self.made.tuple(id)
        else {
            bail!("a storage has a description of another kind")
        };
        let known = matches!(rest, [] | [Value::None]) && self.made.texts[tag] == "storage";
        ensure!(known, "a storage has a description of another kind");
        self.new_storage(Storage { kind, key: self.made.texts[key] })
    }

    fn new_storage(&mut self, storage: Storage<'a>) -> Result<Value> {
        self.charge(size_of::<Storage<'_>>() + MAP_ENTRY)?;
        match self.made.kinds.entry(storage.key) {
            Entry::Vacant(new) => drop(new.insert(storage.kind)),
            Entry::Occupied(known) => {
                ensure!(*known.get() == storage.kind, "storage {:?} holds numbers of two types", storage.key);
            }
        }
        self.made.storages.push(storage);
        Ok(Value::Storage(self.made.storages.len() - 1))
    }
}

/// The numbers of a tuple, one for each axis.
fn sizes(tuple: &[Value]) -> Result<Vec<usize>> {
    ensure!(tuple.len() <= MAX_AXES, "a tensor has {} axes", tuple.len());
    tuple.iter().map(size).collect()
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
mod tests;
