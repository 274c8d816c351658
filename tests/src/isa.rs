//! The kernels for every set of vector instructions that this machine has.

use ocellus_firmware::kernels::simd;
use std::sync::{Mutex, PoisonError};

/// Calls `check` once for each set of vector instructions, the best one last, while the kernels of this process use at most that
/// one. One caller at a time; who does not call this meets any of them.
pub fn each(mut check: impl FnMut(&str)) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _best_again = Best;
    for name in simd::instruction_sets() {
        assert!(simd::limit(name) && simd::instruction_set() == name, "{name} is not in use");
        check(name);
    }
}

/// Goes back to the best set, after a failure too.
struct Best;

impl Drop for Best {
    fn drop(&mut self) {
        simd::instruction_sets().last().map(simd::limit);
    }
}
