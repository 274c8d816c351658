//! The registers of a block: a table of its reference manual, and their values.

use super::bus::Findings;

/// One register as the reference manual has it.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Its name there.
    pub name: &'static str,
    /// Its offset from the block's base.
    pub offset: u32,
    /// Its value after a reset.
    pub reset: u32,
    /// The bits that keep what is written to them.
    pub kept: u32,
}

/// A line of a table: name, offset, value after a reset, bits that keep what is written.
pub const fn register(name: &'static str, offset: u32, reset: u32, kept: u32) -> Register {
    Register { name, offset, reset, kept }
}

/// The values of a block's registers.
#[derive(Clone, Debug)]
pub struct Bank {
    block: &'static str,
    table: &'static [Register],
    values: Vec<u32>,
}

impl Bank {
    /// The registers of `table` of the block called `block`, as a reset leaves them.
    pub fn new(block: &'static str, table: &'static [Register]) -> Self {
        let values = table.iter().map(|register| register.reset).collect();
        Self { block, table, values }
    }

    /// Puts every register back to its value after a reset.
    pub fn reset(&mut self) {
        self.values.iter_mut().zip(self.table).for_each(|(value, register)| *value = register.reset);
    }

    fn index(&self, offset: u32) -> Option<usize> {
        self.table.iter().position(|register| register.offset == offset)
    }

    /// The value of the register at `offset`, 0 where there is none.
    pub fn get(&self, offset: u32) -> u32 {
        self.index(offset).map_or(0, |index| self.values[index])
    }

    /// Sets the register at `offset`, all of its bits: what the block itself does.
    pub fn set(&mut self, offset: u32, value: u32) {
        if let Some(index) = self.index(offset) {
            self.values[index] = value;
        }
    }

    /// Whether any of `bits` of the register at `offset` is set.
    pub fn has(&self, offset: u32, bits: u32) -> bool {
        self.get(offset) & bits != 0
    }

    /// What a program reads at `offset`; 0, and a finding, where the model has no register.
    pub fn read(&self, offset: u32, findings: &mut Findings) -> u32 {
        match self.index(offset) {
            Some(index) => self.values[index],
            None => {
                findings.note(format!("{} has no register at {offset:#x} here, which is read", self.block));
                0
            }
        }
    }

    /// What a program writes at `offset`: the bits that are kept change.
    pub fn write(&mut self, offset: u32, value: u32, findings: &mut Findings) {
        match self.index(offset) {
            Some(index) => {
                let kept = self.table[index].kept;
                self.values[index] = self.values[index] & !kept | value & kept;
            }
            None => findings
                .note(format!("{} has no register at {offset:#x} here, to which {value:#x} is written", self.block)),
        }
    }

    /// Name of the register at `offset`, with its block's.
    pub fn name(&self, offset: u32) -> String {
        match self.index(offset) {
            Some(index) => format!("{}_{}", self.block, self.table[index].name),
            None => format!("{}+{offset:#x}", self.block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Register] = &[register("CR", 0, 0x83, 0xF0), register("SR", 4, 1, 0)];

    #[test]
    fn only_kept_bits_change_and_a_reset_undoes_it() {
        let (mut bank, mut findings) = (Bank::new("X", TABLE), Findings::default());
        bank.write(0, 0xFFFF, &mut findings);
        bank.write(4, 0xFFFF, &mut findings);
        assert_eq!([bank.get(0), bank.get(4)], [0xF3, 1]);
        bank.reset();
        assert_eq!(bank.read(0, &mut findings), 0x83);
        assert!(findings.list().is_empty());
        assert_eq!(bank.name(4), "X_SR");
    }

    #[test]
    fn a_register_that_is_not_there_is_a_finding() {
        let (mut bank, mut findings) = (Bank::new("X", TABLE), Findings::default());
        assert_eq!(bank.read(8, &mut findings), 0);
        bank.write(8, 1, &mut findings);
        assert_eq!(findings.list().len(), 2);
    }
}
