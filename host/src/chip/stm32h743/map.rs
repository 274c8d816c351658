//! Where the blocks are, which clock enables each of them, and where reading is only a look.

/// A block with registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Timer,
    I2c,
    Dma,
    DmaMux,
    Dcmi,
    Watchdog,
    Flash,
    Gpio(usize),
    Rcc,
    Pwr,
    Syscfg,
    Identity,
    Interconnect,
}

/// A register of clock enables and a bit of it (RM0433, 8.7); the block's reset is the same bit 0x58 below, as
/// offsets have it.
pub(super) type Gate = Option<(u32, u32)>;

/// Base, length and clock of each block (RM0433, 2.3 and 8.7).
pub(super) const BLOCKS: &[(u32, u32, Block, Gate)] = &[
    (0x4000_1800, 0x400, Block::Timer, Some((0xE8, 1 << 6))),
    (0x4000_5400, 0x400, Block::I2c, Some((0xE8, 1 << 21))),
    (0x4002_0000, 0x400, Block::Dma, Some((0xD8, 1))),
    (0x4002_0800, 0x400, Block::DmaMux, Some((0xD8, 1))),
    (0x4802_0000, 0x400, Block::Dcmi, Some((0xDC, 1))),
    (0x5100_0000, 0x10_0000, Block::Interconnect, None),
    (0x5200_2000, 0x400, Block::Flash, None),
    (0x5800_0400, 0x400, Block::Syscfg, Some((0xF4, 1 << 1))),
    (0x5800_4800, 0x400, Block::Watchdog, None),
    (0x5802_4400, 0x400, Block::Rcc, None),
    (0x5802_4800, 0x400, Block::Pwr, None),
    (0x5C00_1000, 0x400, Block::Identity, None),
];
/// Ports A to K lie one after the other.
const GPIO_START: u32 = 0x5802_0000;
const GPIO_BYTES: u32 = 0x400;
pub(super) const PORTS: usize = 11;
pub(super) const GPIO_ENABLES: u32 = 0xE0;
/// SYSCFG_PWRCR (RM0433, 12.3).
pub(super) const SYSCFG_PWRCR: u32 = 0x2C;

/// From a register of clock enables to that of resets (RM0433, 8.7): AHB3ENR is at 0xD4, AHB3RSTR at 0x7C.
pub(super) const RESET_BELOW: u32 = 0x58;

/// The block at `address`, with its base and its clock.
pub(super) fn block(address: u32) -> Option<(Block, u32, Gate)> {
    let port = (address.wrapping_sub(GPIO_START) / GPIO_BYTES) as usize;
    if port < PORTS {
        return Some((Block::Gpio(port), address / GPIO_BYTES * GPIO_BYTES, Some((GPIO_ENABLES, 1 << port))));
    }
    let holds = |(start, bytes, _, _): &&(u32, u32, Block, Gate)| (*start..*start + *bytes).contains(&address);
    BLOCKS.iter().find(holds).map(|(start, _, block, gate)| (*block, *start, *gate))
}

/// Whether reading there is a look at a flag or a counter.
pub(super) fn is_poll(block: Block, offset: u32) -> bool {
    matches!(
        (block, offset),
        (Block::Timer, 0x10 | 0x24)
            | (Block::I2c, 0x04 | 0x18)
            | (Block::Dma, 0x00 | 0x04 | 0x10 | 0x14)
            | (Block::Dcmi, 0x08)
            | (Block::Rcc, 0x00 | 0x10 | 0x74)
            | (Block::Pwr, 0x04 | 0x18)
            | (Block::Flash, 0x10 | 0x110)
            | (Block::Watchdog, 0x0C)
    )
}
