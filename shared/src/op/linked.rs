//! Which kernels a board's program is built with.
//!
//! All of them, unless the environment variable `OCELLUS_OPS` named some when it was compiled, with commas between: then
//! the others are left out, and a plan that needs them is refused. Workstations have all.

/// What the variable said.
const LISTED: Option<&str> = if cfg!(target_os = "none") { option_env!("OCELLUS_OPS") } else { None };

/// Whether the kernel called `name`, see [`Op::kernel`](super::Op::kernel), is part of the program.
pub const fn has_kernel(name: &str) -> bool {
    match LISTED {
        Some(list) => lists(list.as_bytes(), name.as_bytes()),
        None => true,
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

    #[test]
    fn whole_names_count_and_parts_do_not() {
        let listed = |name: &str| lists(b"conv,max_pool,add", name.as_bytes());
        assert!(["conv", "max_pool", "add"].into_iter().all(listed));
        assert!(!["con", "pool", "avg_pool", "addd", "conv,max_pool", ""].into_iter().any(listed));
        assert!(has_kernel("anything"));
    }
}
