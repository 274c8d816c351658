//! That the simulation is as strict as it says.

use super::*;
use crate::board::Board;
use crate::probe::{Link, Settings};

const CORE_CONTROL: u32 = super::cpu::DHCSR;
const SRAM: u32 = 0x2400_0000;

fn bench(fault: Option<Fault>) -> TestBench {
    TestBench::of(&Board::load("weact-h743").unwrap(), fault).unwrap()
}

/// Lets `act` at a port that was connected to and powered, with the core's access port selected.
fn with_port<T>(act: impl FnOnce(&mut DebugPort) -> T) -> T {
    let bench = bench(None);
    let mut port = lock(bench.port.as_ref().unwrap());
    connect(&mut port);
    port.write(0x4, None, 0x5000_0000).unwrap();
    act(&mut port)
}

fn connect(port: &mut DebugPort) {
    port.sequence(51, (1 << 51) - 1);
    port.sequence(16, 0xE79E);
    port.sequence(54, (1 << 51) - 1);
    assert_eq!(port.read(0x0, None), Ok(0x6BA0_2477));
}

/// Sets the access port to `size` bytes at `address`.
fn aim(port: &mut DebugPort, size: u32, address: u32) {
    port.write_port(0x00, 0x10 | size.trailing_zeros()).unwrap();
    port.write_port(0x04, address).unwrap();
}

fn sticky(port: &mut DebugPort) -> bool {
    port.read(0x4, None).unwrap() & 1 << 5 != 0
}

#[test]
fn a_port_is_silent_until_it_is_connected_to() {
    let bench = bench(None);
    let mut port = lock(bench.port.as_ref().unwrap());
    assert_eq!(port.read(0x0, None), Err(Answer::Silence));
    port.sequence(54, (1 << 51) - 1);
    assert_eq!(port.read(0x0, None), Err(Answer::Silence), "it still has the four wires of JTAG");
    connect(&mut port);
    port.sequence(52, (1 << 50) - 1);
    assert_eq!(port.read(0x4, None), Err(Answer::Silence), "its identity comes first");
    assert_eq!(port.chip.violations.len(), 1);
}

#[test]
fn access_ports_need_power() {
    let bench = bench(None);
    let mut port = lock(bench.port.as_ref().unwrap());
    connect(&mut port);
    assert_eq!(port.read_port(0x00), Err(Answer::Fault));
    port.write(0x4, None, 0x5000_0000).unwrap();
    assert_eq!(port.read_port(0x00), Err(Answer::Fault), "the error sticks");
    port.write(0x0, None, 1 << 2).unwrap();
    assert!(port.read_port(0x00).is_ok());
}

#[test]
fn memory_is_accessed_aligned_and_where_it_is() {
    for (size, address) in [(4, SRAM + 2), (2, SRAM + 1), (8, SRAM), (4, 0x6000_0000), (2, CORE_CONTROL)] {
        with_port(|port| {
            aim(port, size, address);
            assert_eq!(port.read_port(0x0C), Err(Answer::Fault), "{size} bytes at {address:#x}");
            assert!(sticky(port) && port.chip.violations.len() == 1);
        });
    }
}

#[test]
fn bytes_travel_in_their_lanes_and_addresses_go_on() {
    with_port(|port| {
        aim(port, 1, SRAM);
        for (lane, byte) in [0x11, 0x22, 0x33, 0x44].into_iter().enumerate() {
            port.write_port(0x0C, byte << (8 * lane)).unwrap();
        }
        aim(port, 4, SRAM);
        assert_eq!(port.read_port(0x0C), Ok(0x4433_2211));
        aim(port, 2, SRAM + 2);
        assert_eq!(port.read_port(0x0C), Ok(0x4433_0000));
    });
}

#[test]
fn an_address_is_lost_at_the_end_of_its_block() {
    with_port(|port| {
        aim(port, 4, SRAM + 0x3F8);
        assert!(port.read_port(0x0C).is_ok());
        assert!(port.read_port(0x0C).is_ok());
        assert_eq!(port.read_port(0x0C), Err(Answer::Fault), "the increment of more than ten bits is not promised");
    });
}

#[test]
fn registers_of_a_running_core_are_out_of_reach() {
    with_port(|port| {
        aim(port, 4, CORE_CONTROL);
        port.write_port(0x0C, 0x0000_0003).unwrap_err();
        port.write(0x0, None, 1 << 2).unwrap();
        aim(port, 4, CORE_CONTROL + 4);
        port.write_port(0x0C, 15).unwrap_err();
        let what = port.chip.violations.join("; ");
        assert!(what.contains("without its key") && what.contains("running core"), "{what}");
    });
}

#[test]
fn flash_is_erased_before_it_is_programmed() {
    bench(None).with_chip(|chip| {
        let flash = &mut chip.memory.flash;
        let (start, algorithm) = (flash.start(), flash.algorithm().clone());
        let entry = |pc: u64| pc as u32 & !1;
        let (init, uninit) = (entry(algorithm.pc_init.unwrap()), entry(algorithm.pc_uninit.unwrap()));
        let (program, erase) = (entry(algorithm.pc_program_page), entry(algorithm.pc_erase_sector));
        let page = [0x12; 64];
        let write = [start, 64, 0];
        assert!(flash.call(program, write, Some(&page)).unwrap_err().contains("not while programming"));
        assert_eq!(flash.call(init, [start, 0, 2], None), Ok(0));
        assert!(flash.call(init, [start, 0, 2], None).is_err(), "twice");
        assert_eq!(flash.call(program, write, Some(&page)), Ok(0));
        assert!(flash.call(program, write, Some(&page)).unwrap_err().contains("without erasing"));
        assert!(flash.call(program, [start + 80, 64, 0], Some(&page)).is_err(), "half a flash word");
        assert!(flash.call(erase, [start, 0, 0], None).is_err(), "while programming");
        assert_eq!(flash.call(uninit, [2, 0, 0], None), Ok(0));
        assert_eq!(flash.call(init, [start, 0, 1], None), Ok(0));
        assert!(flash.call(erase, [start + 32, 0, 0], None).is_err(), "the middle of a sector");
        assert_eq!(flash.read(start, 64), Some(&page[..]));
        assert_eq!(flash.call(erase, [start, 0, 0], None), Ok(0));
        assert_eq!(flash.read(start, 64), Some(&[0xFF; 64][..]));
        assert!(flash.call(erase + 6, [start, 0, 0], None).is_err(), "no routine");
    });
}

#[test]
fn only_the_flash_algorithm_writes_flash() {
    with_port(|port| {
        aim(port, 4, 0x0800_0000);
        assert_eq!(port.read_port(0x0C), Ok(u32::MAX));
        aim(port, 4, 0x0800_0000);
        assert_eq!(port.write_port(0x0C, 0), Err(Answer::Fault));
    });
}

#[test]
fn attaching_breaks_no_rule() {
    for settings in [Settings::default(), Settings { under_reset: true, speed_khz: Some(4000), ..Settings::default() }]
    {
        let bench = bench(None);
        let link = Link::attach_to(&bench, &Board::load("weact-h743").unwrap(), &settings).unwrap();
        drop(link);
        bench.with_chip(|chip| assert_eq!(chip.violations, Vec::<String>::new()));
    }
}

#[test]
fn boards_that_are_not_simulated_are_refused() {
    let board = Board { chip: "RP235x".to_owned(), ..Board::load("weact-h743").unwrap() };
    assert!(TestBench::of(&board, None).unwrap_err().to_string().contains("STM32H7"));
    let board = Board { chip: "STM32H799".to_owned(), ..board };
    assert!(TestBench::of(&board, None).unwrap_err().to_string().contains("probe-rs knows no chip called STM32H799"));
    let emulated = TestBench::of(&Board::load("mps2-an500").unwrap(), None).unwrap_err();
    assert!(emulated.to_string().contains("--on sim --board mps2-an500"), "{emulated}");
}
