//! Which vector instructions the kernels use: the best that the machine has, or less where a test or a measurement asks for it.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU8, Ordering};

/// Sets of instructions that there are kernels for, each better than the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// Plain loops, the same as on a core without vectors.
    Portable = 1,
    /// Eight products for each instruction; every x86-64 has it.
    Sse2,
    /// Sixteen products.
    Avx2,
    /// Products of int8 without widening: 32.
    AvxVnni,
    /// The same by instructions of AVX-512 for vectors of 256 bits: what tests the kernels of the set before on more machines.
    Avx512VnniHalves,
    /// Such products of vectors of 512 bits: 64.
    Avx512Vnni,
}

/// The best set that may be used.
static LIMIT: AtomicU8 = AtomicU8::new(Isa::Avx512Vnni as u8);
/// The set in use; 0 before anyone has asked.
static IN_USE: AtomicU8 = AtomicU8::new(0);

cpufeatures::new!(avx2, "avx2");
cpufeatures::new!(avx512, "avx512f", "avx512bw", "avx512vl");

impl Isa {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Sse2, Self::Avx2, Self::AvxVnni, Self::Avx512VnniHalves, Self::Avx512Vnni];

    /// Its name, as short as it can be typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "scalar",
            Self::Sse2 => "SSE2",
            Self::Avx2 => "AVX2",
            Self::AvxVnni => "AVX-VNNI",
            Self::Avx512VnniHalves => "AVX512-VNNI-256",
            Self::Avx512Vnni => "AVX512-VNNI",
        }
    }

    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        match self {
            Self::Portable | Self::Sse2 => true,
            Self::Avx2 => avx2::get(),
            // Bits of leaf 7, which a processor with AVX2 has; of subleaf 1 it gives zeros where there is none.
            Self::AvxVnni => avx2::get() && __cpuid_count(7, 1).eax & 1 << 4 != 0,
            Self::Avx512VnniHalves | Self::Avx512Vnni => avx512::get() && __cpuid_count(7, 0).ecx & 1 << 11 != 0,
        }
    }

    /// The set in use.
    #[inline]
    pub fn in_use() -> Self {
        let known = IN_USE.load(Ordering::Relaxed);
        Self::ALL.into_iter().find(|isa| *isa as u8 == known).unwrap_or_else(Self::choose)
    }

    /// Lets the kernels of this process use this set at most, from their next step on. The results stay the same.
    pub fn limit(self) {
        LIMIT.store(self as u8, Ordering::Relaxed);
        Self::choose();
    }

    #[cold]
    fn choose() -> Self {
        let limit = LIMIT.load(Ordering::Relaxed);
        let best = Self::ALL.into_iter().rev().find(|isa| *isa as u8 <= limit && isa.is_here());
        let best = best.unwrap_or(Self::Portable);
        IN_USE.store(best as u8, Ordering::Relaxed);
        best
    }
}
