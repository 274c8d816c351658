//! Which kernels a board's program is built with.
//!
//! All of them, unless the environment variable `OCELLUS_OPS` named some when it was compiled, with commas between: then
//! the others are left out, and a plan that needs them is refused. Workstations have all.

use super::{Bands, Op};
use crate::shape::Shape;

/// What the variable said.
const LISTED: Option<&str> = if cfg!(target_os = "none") { option_env!("OCELLUS_OPS") } else { None };

/// Whether the kernel called `name`, see [`Op::kernel`], is part of the program.
pub const fn has_kernel(name: &str) -> bool {
    match LISTED {
        Some(list) => lists(list.as_bytes(), name.as_bytes()),
        None => true,
    }
}

/// The kernels of the depthwise convolutions that [`Bands`] are made for.
const DEPTHWISE_3X3: &str = "depthwise_3x3";
const DEPTHWISE_5X5: &str = "depthwise_5x5";

impl Op {
    /// Name of the kernel that computes the operator for `input`: [`Op::name`], but a depthwise convolution has one for windows
    /// of 3x3, one for 5x5, and one for all others.
    pub fn kernel(&self, input: Shape) -> &'static str {
        match self {
            Self::Depthwise { window } => match Bands::new(window, input) {
                Some(Bands { kernel: 3, .. }) => DEPTHWISE_3X3,
                Some(_) => DEPTHWISE_5X5,
                None => self.name(),
            },
            _ => self.name(),
        }
    }

    /// Whether that kernel is part of the program.
    pub(crate) fn has_kernel(&self, input: Shape) -> bool {
        let Self::Depthwise { window } = self else { return self.is_linked() };
        match Bands::new(window, input) {
            Some(Bands { kernel: 3, .. }) => const { has_kernel(DEPTHWISE_3X3) },
            Some(_) => const { has_kernel(DEPTHWISE_5X5) },
            None => const { has_kernel("depthwise") },
        }
    }

    /// Whether some kernel of the operator is part of the program: constants for the compiler, who leaves out what only
    /// others need where this was asked before.
    #[inline(always)]
    pub const fn is_linked(&self) -> bool {
        match self {
            Self::Conv { .. } => const { has_kernel("conv") },
            Self::Winograd { .. } => const { has_kernel("winograd") },
            Self::Depthwise { .. } => {
                const { has_kernel("depthwise") || has_kernel(DEPTHWISE_3X3) || has_kernel(DEPTHWISE_5X5) }
            }
            Self::Dense { .. } => const { has_kernel("dense") },
            Self::MaxPool { .. } => const { has_kernel("max_pool") },
            Self::AvgPool { .. } => const { has_kernel("avg_pool") },
            Self::GlobalAvgPool => const { has_kernel("global_avg_pool") },
            Self::Add => const { has_kernel("add") },
            Self::Mul => const { has_kernel("mul") },
            Self::Lut => const { has_kernel("lut") },
            Self::Flatten => const { has_kernel("flatten") },
            Self::Concat => const { has_kernel("concat") },
            Self::ChannelScale => const { has_kernel("channel_scale") },
        }
    }
}

/// Whether `name` is one of the names in `list`.
const fn lists(list: &[u8], name: &[u8]) -> bool {
    // Loops and indices, because iterators cannot run while a program is compiled.
    let (mut start, mut at) = (0, 0);
    while at <= list.len() {
        if at == list.len() || list[at] == b',' {
            let mut k = 0;
            while k < name.len() && start + k < at && list[start + k] == name[k] {
                k += 1;
            }
            if k == name.len() && start + k == at {
                return true;
            }
            start = at + 1;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Window;

    #[test]
    fn whole_names_count_and_parts_do_not() {
        let listed = |name: &str| lists(b"conv,max_pool,add", name.as_bytes());
        assert!(["conv", "max_pool", "add"].into_iter().all(listed));
        assert!(!["con", "pool", "avg_pool", "addd", "conv,max_pool", ""].into_iter().any(listed));
        assert!(has_kernel("anything"));
    }

    #[test]
    fn depthwise_convolutions_have_three_kernels() {
        let kernel = |size, channels| Op::Depthwise { window: Window::same(size) }.kernel(Shape::new(8, 8, channels));
        assert_eq!([kernel(3, 4), kernel(5, 8)], [DEPTHWISE_3X3, DEPTHWISE_5X5]);
        assert_eq!([kernel(7, 4), kernel(3, 3)], ["depthwise"; 2]);
        assert_eq!(Op::Lut.kernel(Shape::vector(1)), "lut");
    }
}
