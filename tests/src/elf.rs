//! Programs for boards, made without a compiler: what a probe and a log need of an ELF file, and nothing else.

const HEADER_LEN: u32 = 52;
const PROGRAM_HEADER_LEN: u32 = 32;
const ABSOLUTE: u16 = 0xFFF1;
/// Number of the section that log formats are in.
const DEFMT: u16 = 2;

/// Index of the format string of a program's log, which is any text.
pub const LOG_INDEX: u16 = 1;

/// An ELF file for a Cortex-M that puts `data` at `address` (ELF specification, 32-bit layout).
pub fn program(address: u32, data: &[u8]) -> Vec<u8> {
    build(address, data, &[])
}

/// The same for the board called `board`, as `firmware/build.rs` says it.
pub fn program_of(address: u32, data: &[u8], board: &str) -> Vec<u8> {
    build(address, data, &[(format!("_ocellus_board_{}", board.replace('-', "_")), 0, ABSOLUTE)])
}

/// The same with a log: an RTT control block at `log`, and defmt frames, not encoded any further, of text alone.
pub fn program_with_log(address: u32, data: &[u8], log: u32) -> Vec<u8> {
    build(address, data, &logging(log))
}

/// A program for the simulated probe's chip, in whose place the firmware runs on this machine: vectors, as many bytes as a real
/// one has, and where its channels are.
pub fn rehearsed() -> Vec<u8> {
    let mut data = [0x2002_0000u32, 0x0800_0299].map(u32::to_le_bytes).concat();
    data.resize(80_000, 0x12);
    program_with_log(0x0800_0000, &data, 0x2400_1000)
}

/// Symbols of a program with a control block at `log`, and of a log.
fn logging(log: u32) -> Vec<(String, u32, u16)> {
    let format = r#"{"package":"t","tag":"defmt_println","data":"{=str}","disambiguator":"0","crate_name":"t"}"#;
    vec![
        ("_SEGGER_RTT".to_owned(), log, 1),
        ("_defmt_version_ = 4".to_owned(), 0, ABSOLUTE),
        ("_defmt_encoding_ = raw".to_owned(), 0, ABSOLUTE),
        (format.to_owned(), LOG_INDEX.into(), DEFMT),
    ]
}

/// What a board's log holds for `line`: the index of its format, its length and its bytes.
pub fn log_frame(line: &str) -> Vec<u8> {
    [&LOG_INDEX.to_le_bytes()[..], &(line.len() as u32).to_le_bytes(), line.as_bytes()].concat()
}

/// A file with one loaded segment, and symbols of name, value and section.
fn build(address: u32, data: &[u8], symbols: &[(String, u32, u16)]) -> Vec<u8> {
    let (mut names, mut table) = (vec![0u8], vec![0u8; 16]);
    for (name, value, section) in symbols {
        words(&mut table, &[names.len() as u32, *value, 0]);
        table.extend([0x11, 0]); // a global object
        halves(&mut table, &[*section]);
        names.extend(name.as_bytes());
        names.push(0);
    }
    let section_names = b"\0.vector_table\0.defmt\0.symtab\0.strtab\0.shstrtab\0";
    let contents: [&[u8]; 5] = [data, &[0; 4], &table, &names, section_names];
    // Name, type, flags, address, linked section, first global symbol, size of an entry.
    let kinds = [
        [1, 1, 2, address, 0, 0, 0],
        [15, 1, 0, 0, 0, 0, 0],
        [22, 2, 0, 0, 4, 1, 16],
        [30, 3, 0, 0, 0, 0, 0],
        [38, 3, 0, 0, 0, 0, 0],
    ];
    let first = HEADER_LEN + PROGRAM_HEADER_LEN;
    let headers_at = first + contents.iter().map(|content| content.len().next_multiple_of(4) as u32).sum::<u32>();
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    halves(&mut elf, &[2, 40]); // executable, ARM
    words(&mut elf, &[1, address, HEADER_LEN, headers_at, 0x0500_0200]);
    halves(&mut elf, &[HEADER_LEN as u16, PROGRAM_HEADER_LEN as u16, 1, 40, 6, 5]);
    let len = data.len() as u32;
    words(&mut elf, &[1, first, address, address, len, len, 5, 4]); // loaded, readable and executable
    let mut headers = vec![0; 40];
    for (content, [name, kind, flags, at, link, info, entry]) in contents.iter().zip(kinds) {
        let here = elf.len() as u32;
        words(&mut headers, &[name, kind, flags, at, here, content.len() as u32, link, info, 4, entry]);
        elf.extend(*content);
        elf.resize(elf.len().next_multiple_of(4), 0);
    }
    elf.extend(headers);
    elf
}

fn halves(elf: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| elf.extend(value.to_le_bytes()));
}

fn words(elf: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| elf.extend(value.to_le_bytes()));
}
