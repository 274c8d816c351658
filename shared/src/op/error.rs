//! What keeps an operator from its inputs.

/// Why an operator cannot take its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpError {
    /// It takes another number of inputs.
    Arity,
    /// Kernel, stride or padding is impossible or not supported for this input.
    Window,
    /// An axis is zero, too large, or differs between inputs that must agree.
    Shape,
}

impl core::fmt::Display for OpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Arity => "wrong number of inputs",
            Self::Window => "the window (kernel, stride, padding) does not fit its input",
            Self::Shape => "input shapes are empty, too large or do not agree",
        })
    }
}

impl core::error::Error for OpError {}
