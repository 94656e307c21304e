//! Free loopback ports that stay free until the child binds them.
//!
//! A port from `bind(0)` lies in the range that the kernel also uses for outgoing connections: between our look and the
//! child's bind anybody's connection may take it, and a client that retries against a stopped server there can even
//! connect to itself. So ports come from below that range, from a block that this process holds by a file lock.

use std::collections::VecDeque;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 20_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 200;
/// The program's own default ports (21362, 21363): tests of the defaults need them.
const RESERVED: std::ops::RangeInclusive<u16> = 21_350..=21_399;

struct Claimed {
    free: VecDeque<u16>,
    /// Held until the process ends, however it ends.
    locks: Vec<File>,
    next_block: u16,
}

static CLAIMED: Mutex<Option<Claimed>> = Mutex::new(None);

/// A loopback port that nothing listens on and that no other process of this kit will be given.
pub fn free_port() -> u16 {
    let mut guard = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let claimed = guard.get_or_insert_with(|| Claimed {
        free: VecDeque::new(),
        locks: Vec::new(),
        next_block: u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default(),
    });
    loop {
        while let Some(port) = claimed.free.pop_front() {
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
        claim_block(claimed);
    }
}

fn claim_block(claimed: &mut Claimed) {
    let folder = std::env::temp_dir().join("iam-authenticator-kit-ports");
    std::fs::create_dir_all(&folder).expect("the folder of port locks can be made");
    for _ in 0..BLOCKS {
        let block = claimed.next_block;
        claimed.next_block = (block + 1) % BLOCKS;
        let lock = File::create(folder.join(format!("{block}.lock"))).expect("a port lock can be made");
        if lock.try_lock().is_ok() {
            let first = FIRST + block * BLOCK;
            claimed
                .free
                .extend((first..first + BLOCK).filter(|port| !RESERVED.contains(port)));
            claimed.locks.push(lock);
            return;
        }
    }
    panic!("no block of loopback ports is free: {BLOCKS} processes of this kit hold one each");
}
