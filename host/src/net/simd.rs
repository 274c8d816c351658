//! Vector instructions of the machine that runs this, chosen at run time.
//!
//! `OCELLUS_SIMD=avx2` does without AVX-512, and `OCELLUS_SIMD=scalar` without any, to measure what they give. Sums go
//! lane by lane, so that results may differ in the last digits from one set of instructions to another.

use pulp::{Arch, Simd, WithSimd};
use std::sync::OnceLock;

/// What may be used.
#[derive(Clone, Copy)]
enum Level {
    /// All that the machine has.
    Best(Arch),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    Scalar,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match std::env::var("OCELLUS_SIMD").as_deref() {
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Level::Scalar, Level::Avx2),
        Ok("scalar") => Level::Scalar,
        _ => Level::Best(Arch::new()),
    })
}

/// Runs `work` with the machine's vector instructions.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    match level() {
        Level::Best(arch) => arch.dispatch(work),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(simd) => Simd::vectorize(simd, work),
        Level::Scalar => work.with_simd(pulp::Scalar),
    }
}

/// The vector at the beginning of `values`.
#[inline(always)]
pub fn load<S: Simd>(values: &[f32]) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[..S::F32_LANES]))
}

/// Writes a vector to the beginning of `values`, or as much of it as they are.
#[inline(always)]
pub fn store<S: Simd>(simd: S, vector: S::f32s, values: &mut [f32]) {
    if let Some(values) = values.get_mut(..S::F32_LANES) {
        values.copy_from_slice(bytemuck::cast_slice(std::slice::from_ref(&vector)));
    } else {
        simd.partial_store_f32s(values, vector);
    }
}

/// Defines functions whose loops the compiler may make vectors of, of whatever length the machine has.
macro_rules! vectorized {
    ($($(#[$doc:meta])* $v:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        $v fn $name($($arg: $ty),*) {
            struct Call<T>(T);
            impl pulp::WithSimd for Call<($($ty,)*)> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) {
                    let Call(($($arg,)*)) = self;
                    $body
                }
            }
            crate::net::simd::dispatch(Call(($($arg,)*)))
        }
    )*};
}
pub(crate) use vectorized;
