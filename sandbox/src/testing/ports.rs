//! Ports for processes that cannot pick one themselves.

use std::fs::File;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first port of the first block. All lie below the range from which the system takes the ports of outgoing connections, so that no
/// connection of a test that runs at the same time occupies one before the caller listens on it.
const FIRST: u16 = 10_000;
/// The ports of a block, which one process has for itself.
const BLOCK_LENGTH: u16 = 500;
/// The number of blocks.
const BLOCKS: u16 = 40;

/// A loopback TCP port that was free a moment ago, and that no other process gets from here.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = TAKEN.fetch_add(1, Ordering::Relaxed) % u32::from(BLOCK_LENGTH);
        let next = u16::try_from(next).expect("it is below the length of a block");
        let port = FIRST + block() * BLOCK_LENGTH + next;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The number of the block of this process, which holds a lock on it until its end.
fn block() -> u16 {
    static BLOCK: OnceLock<(u16, Option<File>)> = OnceLock::new();
    let (number, _) = BLOCK.get_or_init(|| {
        let folder = std::env::temp_dir().join("arkwalletd-test-ports");
        // Without the locks, processes that run at the same time start at different blocks.
        let first = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        if std::fs::create_dir_all(&folder).is_err() {
            return (first, None);
        }
        let numbers = (first..BLOCKS).chain(0..first);
        let mut locks = numbers.filter_map(|number| {
            let file = File::create(folder.join(number.to_string())).ok()?;
            file.try_lock().ok()?;
            Some((number, Some(file)))
        });
        locks.next().unwrap_or((first, None))
    });
    *number
}
