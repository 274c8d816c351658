//! Sizes of feature maps.

/// The size of one feature map, stored row by row with channels innermost: `(h, w, c)`.
///
/// There is no batch axis: a board looks at one frame at a time. A vector of `n` values is `(1, 1, n)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub h: u16,
    /// Columns.
    pub w: u16,
    /// Channels.
    pub c: u16,
}

impl Shape {
    /// A feature map of `h` rows, `w` columns and `c` channels.
    pub const fn new(h: u16, w: u16, c: u16) -> Self {
        Self { h, w, c }
    }

    /// A vector of `c` values.
    pub const fn vector(c: u16) -> Self {
        Self { h: 1, w: 1, c }
    }

    /// Number of elements, which for int8 is also the number of bytes.
    ///
    /// Shapes whose product leaves `u32` never come out of [`Plan::parse`](crate::plan::Plan::parse); see
    /// [`Shape::checked_len`].
    pub const fn len(self) -> usize {
        self.pixels() * self.c as usize
    }

    /// Whether some axis is zero, so that there is nothing to compute.
    pub const fn is_empty(self) -> bool {
        self.h == 0 || self.w == 0 || self.c == 0
    }

    /// Rows times columns.
    pub const fn pixels(self) -> usize {
        self.h as usize * self.w as usize
    }

    /// [`Shape::len`] where it is at least one and at most `i32::MAX`, the most a 32-bit target can address.
    pub const fn checked_len(self) -> Option<usize> {
        let len = self.h as u64 * self.w as u64 * self.c as u64;
        if len == 0 || len > i32::MAX as u64 { None } else { Some(len as usize) }
    }
}

impl core::fmt::Display for Shape {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}x{}x{}", self.h, self.w, self.c)
    }
}
