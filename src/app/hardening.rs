//! What the process asks of the system: no copy of its memory, and enough descriptors.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Descriptors that connections of clients leave for the database, the log, and the connections to other servers.
const RESERVE: usize = 256;

/// Keeps the seed and the token out of core files, and other processes of the same user away from the memory and the environment of
/// this one.
pub(super) fn forbid_dumps() {
    // A system that does not know one of the calls still runs the daemon; the other call still helps.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
}

/// Raises the limit of open files as far as the system allows. Returns how many connections it has room for, at most `wanted`.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    match getrlimit(Resource::Nofile).current {
        Some(files) => room(usize::try_from(files).unwrap_or(usize::MAX), wanted),
        None => wanted,
    }
}

/// The connections that fit into a limit of open files: all but the reserve, and at least a quarter.
fn room(files: usize, wanted: usize) -> usize {
    files
        .saturating_sub(RESERVE)
        .max(files / 4)
        .clamp(1, wanted)
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn a_process_leaves_no_core_file() {
        forbid_dumps();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(room(1_000_000, 4_096), 4_096);
        assert_eq!(room(1_024, 4_096), 768);
        assert_eq!(room(64, 4_096), 16);
        assert_eq!(room(0, 4_096), 1);
    }
}
