//! Takes the place of CubeCL's LLVM backend, whose build downloads all of LLVM.
//!
//! burn's CUDA backend can turn a kernel into code for the GPU in two ways: through LLVM, or through NVRTC, which belongs
//! to the CUDA toolkit of the machine that trains. It always compiles both, and its feature `cpp` chooses NVRTC. With that
//! chosen nothing here is called; these are the types that `cubecl-cuda` 0.11.3 names, and the build needs nothing beyond
//! the registry. Should a kernel come here nevertheless, it is refused.

use cubecl_environment::backtrace::BackTrace;
use cubecl_ir::DeviceProperties;
use cubecl_ir::attributes::BufferIOAttr;
use cubecl_ir::nvidia::SmArch;
use cubecl_runtime::compiler::CompilationError;
use std::ffi::c_char;

pub mod nvptx {
    //! NVIDIA's assembly.

    pub mod ptx_version {
        //! Its versions.

        /// The version to emit. There is none to choose: NVRTC knows its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// None for any driver.
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl std::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {}
            }
        }
    }
}

pub mod shared {
    //! What the targets share.

    pub mod lowered_features {
        //! What a device can do, less what the backend cannot.

        use super::super::DeviceProperties;

        /// What code is made for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's GPUs.
            Nvptx,
        }

        /// Takes nothing away: CubeCL asks only where it has chosen LLVM.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}

/// What code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's GPUs.
    Nvptx,
}

/// The compiler that is not here.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it would make code for.
    pub target: LlvmTarget,
}

/// What it would be told.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD GPU's architecture.
    pub arch: Option<String>,
    /// An NVIDIA GPU's architecture.
    pub sm_arch: Option<SmArch>,
    /// The version to emit.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars are parameters of the kernel.
    pub grid_constants: bool,
}

/// What it would make.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// Code for an NVIDIA GPU.
    NvptxCode(NvptxModule),
}

/// Code for an NVIDIA GPU.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// Assembly that ends with NUL.
    pub ptx: Vec<c_char>,
    /// What the assembly was made of.
    pub ir: String,
    /// Bytes of shared memory of a launch.
    pub shared_memory_size: usize,
    /// How each buffer is used.
    pub io: Vec<BufferIOAttr>,
}

impl PlironCompiler {
    /// Refuses any kernel.
    ///
    /// # Errors
    /// Always.
    pub fn compile<K>(&mut self, _: K, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        let reason = "this build makes a GPU's code with NVRTC alone: build cubecl-cuda with its feature cpp".to_owned();
        Err(CompilationError::Generic { reason, backtrace: BackTrace::capture() })
    }

    /// The language of what it would make, in the names of caches.
    pub fn lang_tag(&self) -> &'static str {
        "none"
    }
}
