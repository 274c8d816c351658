//! What can be wrong with a plan.

use super::VERSION;

/// Why bytes are not a plan that this engine can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Fewer bytes than the header needs or announces.
    Truncated {
        /// Bytes that are needed.
        needed: u32,
    },
    /// The first four bytes are not [`MAGIC`](super::MAGIC).
    Magic,
    /// Written for another version of the format.
    Version {
        /// The file's version.
        found: u16,
    },
    /// The content is not what was written.
    Crc {
        /// CRC-32 that the file carries.
        stored: u32,
        /// CRC-32 of its content.
        computed: u32,
    },
    /// A header field holds an impossible value.
    Header,
    /// A step is not runnable.
    Step {
        /// Position of the step.
        index: u16,
        /// What is wrong with it.
        fault: StepFault,
    },
    /// The labels are not UTF-8, not as many as the output has values, or no region of their own.
    Labels,
    /// A label holds a control character, which a terminal may obey.
    ControlCharacter {
        /// The class of that label.
        label: u32,
    },
}

/// What is wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepFault {
    /// Unknown operator, one that is not linked, or a field that must be zero is not.
    Operator,
    /// Input and output shapes do not follow from the operator.
    Shape,
    /// An operand or the scratch lies outside the arena.
    Arena,
    /// Output, scratch and inputs overlap where they must not.
    Overlap,
    /// Strips as high as the output or higher, or of an operator that needs its whole input.
    Strips,
    /// Parameters lie outside the file, are misaligned, or are not in their order.
    Parameters,
    /// Weights of 16 bits, and the plan does not lie at a multiple of 4 in memory.
    Address,
    /// A multiplier is not a finite, normal, positive number.
    Multiplier,
    /// The scratch has another size than the kernel needs.
    Scratch,
    /// Operands that must share a zero point do not.
    ZeroPoint,
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated { needed } => write!(f, "truncated: at least {needed} bytes are needed"),
            Self::Magic => f.write_str("not a plan: it does not begin with `OCPL`"),
            Self::Version { found } => {
                write!(f, "plan format version {found}, this program reads version {VERSION}: export the model again")
            }
            Self::Crc { stored, computed } => {
                write!(f, "damaged: checksum {computed:08x}, expected {stored:08x}")
            }
            Self::Header => f.write_str("the header holds impossible values"),
            Self::Step { index, fault } => write!(f, "step {index}: {fault}"),
            Self::Labels => f.write_str("the labels do not match the output"),
            Self::ControlCharacter { label } => {
                write!(f, "the label of class {label} holds a control character: rename the class and export again")
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl core::fmt::Display for StepFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Operator => "unknown operator, one that this program was built without, or non-zero reserved field",
            Self::Shape => "shapes do not follow from the operator",
            Self::Arena => "an operand lies outside the arena",
            Self::Overlap => "output, scratch and inputs overlap where they must not",
            Self::Strips => "cut into strips that are no part of the output, or need the whole input",
            Self::Parameters => "parameters lie outside the file, are misaligned, or not in the order of the steps",
            Self::Address => "its weights need the plan to begin at a multiple of 4 in memory",
            Self::Multiplier => "a multiplier is not finite, normal and positive",
            Self::Scratch => "scratch size differs from what the kernel needs",
            Self::ZeroPoint => "operands that must share a zero point do not",
        })
    }
}
