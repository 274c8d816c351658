use super::*;

fn message(pickle: &[u8]) -> String {
    format!("{:#}", read(pickle).unwrap_err())
}

#[test]
fn plain_data_is_read() {
    // {'a': [1, -2, 300], 'b': ('x', None, True)}, pickled by Python with protocol 2.
    let pickle =
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM\x2c\x01eX\x01\x00\x00\x00bq\x03X\x01\
                   \x00\x00\x00xq\x04N\x88\x87q\x05u.more";
    let found = read(pickle).unwrap();
    assert_eq!(found.len, pickle.len() - 4);
    let entries = found.dict(found.root).unwrap();
    let keys: Vec<_> = entries.iter().map(|(key, _)| found.text(*key)).collect();
    assert_eq!(keys, [Some("a"), Some("b")]);
    assert_eq!(found.list(entries[0].1).unwrap(), [1, -2, 300].map(Value::Int));
    let Value::Tuple(tuple) = entries[1].1 else { panic!("{:?}", entries[1]) };
    let values = found.made.tuple(tuple);
    assert_eq!((found.text(values[0]), &values[1..]), (Some("x"), &[Value::None, Value::Bool(true)][..]));
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
fn memory_grows_with_the_pickle_and_not_faster() {
    for bomb in [b"N", b"(", b"]", b"}", b")"] {
        let bomb = bomb.repeat(1_000_000);
        assert!(message(&bomb).contains("many times its own length"), "{}", message(&bomb));
    }
    // A view of 64 axes that is rebuilt with 5 bytes each time refers to its axes, and does not repeat them.
    let axes = [&b"("[..], &b"K\x01".repeat(64), b"tq\0"].concat();
    let function = b"ctorch._utils\n_rebuild_tensor_v2\nq\x01";
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30X\x03\0\0\0cpuK\x01tQ";
    let arguments = [&b"("[..], storage, b"K\0h\0h\0tq\x02"].concat();
    let views = [axes, function.to_vec(), arguments, b"h\x01h\x02R".repeat(200_000), b".".to_vec()].concat();
    let found = read(&views).unwrap();
    assert_eq!(found.view(found.tensor(found.root).unwrap()).0, [1; 64]);
    // The axes, the storage's description, and the arguments of all.
    assert_eq!(found.made.in_tuples.len(), 64 + 5 + 4);
}

#[test]
fn what_pytorch_writes_has_room_to_spare() {
    for file in [
        &include_bytes!("../../../../tests/golden/state.pth")[..],
        include_bytes!("../../../../tests/golden/training.pth"),
    ] {
        let entries = crate::weights::zip::entries(file).unwrap();
        let content = entries.iter().find(|(name, _)| name.ends_with("data.pkl")).unwrap().1;
        let mut machine = Machine { bytes: content, memory: usize::MAX, ..Machine::default() };
        while machine.step().unwrap().is_none() {}
        let memory = usize::MAX - machine.memory;
        assert!(memory < MEMORY_FACTOR * content.len(), "{memory} for {}", content.len());
    }
}

#[test]
fn what_is_recalled_or_nested_takes_no_more_memory() {
    // A tuple that doubles 60 times: written out it would have 2^60 numbers.
    let mut bomb = b"K\x01q\x00".to_vec();
    (0..60).for_each(|i| bomb.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]));
    bomb.push(b'.');
    assert_eq!(read(&bomb).unwrap().root, Value::Tuple(59));
    // Tuples in one another, deeper than the call stack, around a text that makes the pickle long enough.
    let long = "x".repeat(5_000_000);
    let text = |long: &str| [&b"X"[..], &(long.len() as u32).to_le_bytes(), long.as_bytes()].concat();
    let deep = [&text(&long)[..], &[0x85; 1_000_000], b"."].concat();
    assert_eq!(read(&deep).unwrap().root, Value::Tuple(999_999));
    // A long text that is recalled often, 100 GB if it were copied.
    let recalled = [&text(&long)[..], b"q\0", &b"h\0".repeat(500_000), b"."].concat();
    let found = read(&recalled).unwrap();
    assert_eq!(found.text(found.root), Some(&*long));
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
    let found = read(&pickle).unwrap();
    let kinds = ["1", "2", "3"].map(|key| found.kind(key));
    assert_eq!(kinds, [Some(Kind::Whole(1)), Some(Kind::Float(Float::F16)), None]);
    let both = [&b"]("[..], &storage("ByteStorage", b'1'), &storage("HalfStorage", b'1'), b"e."].concat();
    assert!(message(&both).contains("numbers of two types"));
}
