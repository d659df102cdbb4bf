//! How many workers, with how many threads each.

/// How many engine processes run and how many CPU threads each has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Engine processes at once.
    pub slots: usize,
    /// CPU threads of each.
    pub threads: usize,
}

/// The layout for a device, with `jobs` as the user asked; `width` stages can run at once.
///
/// On a CPU, one thread a worker and a worker a core is the fastest for small networks, and a run that
/// is narrower than the machine gives its workers more threads. A GPU is used by one worker unless the
/// user says that several fit. Never are there more threads than cores: LibTorch's thread pool spins.
pub fn layout(device: &str, jobs: Option<usize>, width: usize, cores: usize) -> Layout {
    let default = if device.starts_with("cpu") { cores } else { 1 };
    let slots = jobs.unwrap_or(default).min(width).max(1);
    Layout { slots, threads: (cores / slots).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(device: &str, jobs: Option<usize>, width: usize, expected: (usize, usize)) {
        let Layout { slots, threads } = layout(device, jobs, width, 8);
        assert_eq!((slots, threads), expected);
    }

    #[test]
    fn a_wide_run_has_a_worker_a_core_and_a_narrow_one_gives_its_workers_more() {
        check("cpu", None, 100, (8, 1));
        check("cpu", None, 3, (3, 2));
        check("cpu", None, 1, (1, 8));
        check("cpu", None, 0, (1, 8));
    }

    #[test]
    fn jobs_are_what_the_user_says_as_far_as_there_is_work() {
        check("cpu", Some(2), 100, (2, 4));
        check("cpu", Some(16), 100, (16, 1));
        check("cpu", Some(4), 2, (2, 4));
    }

    #[test]
    fn a_gpu_has_one_worker_unless_the_user_says_otherwise() {
        check("cuda:0", None, 100, (1, 8));
        check("cuda:0", Some(4), 100, (4, 2));
    }
}
