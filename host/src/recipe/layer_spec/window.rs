//! The windows of filters and poolings.

use std::fmt::{self, Display, Formatter};

/// `kernel=3`, `stride=1`, `padding=` half of the kernel on every side, and `bias=true` unless given. Sizes are `N`, or `HxW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Height and width of the window.
    pub kernel: [u8; 2],
    /// Its step down and to the right.
    pub stride: [u8; 2],
    /// Zeros above, to the left, below and to the right: `padding=1`, or `padding=0,0,1,1`.
    pub padding: [u8; 4],
    /// Whether each output channel has a bias.
    pub bias: bool,
}

/// `stride=` the size, and `padding=0`, unless given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of the window.
    pub size: [u8; 2],
    /// Its step down and to the right.
    pub stride: [u8; 2],
    /// Rows and columns around the map that count as nothing: above, to the left, below and to the right.
    pub padding: [u8; 4],
}

impl Filter {
    /// The usual one of a square kernel: it steps by one, keeps the size of a map, and has a bias.
    pub fn same(kernel: u8) -> Self {
        Self { kernel: [kernel; 2], stride: [1; 2], padding: [kernel / 2; 4], bias: true }
    }
}

/// One number where all are the same.
fn sides(sides: &[u8], between: &str) -> String {
    if sides.iter().all(|side| *side == sides[0]) {
        return sides[0].to_string();
    }
    sides.iter().map(u8::to_string).collect::<Vec<_>>().join(between)
}

/// What is not the default.
impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kernel, stride, padding, bias } = *self;
        let [h, w] = kernel.map(|size| size / 2);
        if kernel != [3; 2] {
            write!(f, " kernel={}", sides(&kernel, "x"))?;
        }
        if stride != [1; 2] {
            write!(f, " stride={}", sides(&stride, "x"))?;
        }
        if padding != [h, w, h, w] {
            write!(f, " padding={}", sides(&padding, ","))?;
        }
        if bias { Ok(()) } else { f.write_str(" bias=false") }
    }
}

/// What is not the default.
impl Display for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { size, stride, padding } = *self;
        f.write_str(&sides(&size, "x"))?;
        if stride != size {
            write!(f, " stride={}", sides(&stride, "x"))?;
        }
        if padding == [0; 4] { Ok(()) } else { write!(f, " padding={}", sides(&padding, ",")) }
    }
}
