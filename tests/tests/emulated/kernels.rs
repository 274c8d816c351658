//! The kernels of the emulated cores against this machine's, step by step, on random networks of every operator.
//!
//! QEMU and a compiler for the boards are needed; where they are missing this test fails and says how to get them.

use ocellus::board::Board;
use ocellus::client::Client;
use ocellus::eval::engine::EngineModel;
use ocellus::toolchain;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::plan::encode;
use ocellus_shared::wire::tensor_crc;
use ocellus_tests::{overlaps, plans, random::Random};

/// Networks per board.
const NETWORKS: u64 = 150;

#[test]
fn every_step_of_random_networks_is_the_same_on_every_core() {
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_some()) {
        let built = toolchain::build_firmware(&board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
        let mut client = Client::boot(&board, &built.elf, ClockMode::Free).unwrap_or_else(|error| panic!("{error:#}"));
        let kinds = [plans::random, plans::depthwise, plans::winograd, plans::attention];
        for (seed, kind) in (0..NETWORKS).flat_map(|seed| kinds.map(|kind| (seed, kind))) {
            let spec = kind(seed);
            // Every other network in strips, with outputs over their inputs.
            let spec = if seed % 2 == 0 { spec } else { overlaps::overlapped(&spec, seed) };
            let plan = encode::encode(&spec).unwrap();
            let model = EngineModel::new(&plan).unwrap();
            let image = Random::new(!seed).tensor(model.plan().input().shape.len());
            client.set_plan(&plan).unwrap();
            let expected: Vec<u32> = model.trace(&image).unwrap().iter().map(|output| tensor_crc(output)).collect();
            let ops: Vec<_> = model.plan().steps().map(|step| (step.op, step.input().shape)).collect();
            assert_eq!(client.trace(&image).unwrap().steps, expected, "{} network {seed}: {ops:?}", board.name);
        }
        client.end().unwrap();
    }
}
