//! A name server of one name, so that it shows whether a static program in an image without anything resolves names.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The fixed part of every message, before the question.
const HEADER: usize = 12;

/// The running name server; it lives as long as the test process.
pub(crate) struct Dns {
    asked: Arc<AtomicU64>,
}

impl Dns {
    /// What belongs into resolv.conf. A loopback address of its own: port 53 of the others may be taken, and resolv.conf
    /// knows no ports.
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 53);

    /// Answers `name` with 127.0.0.1 and everything else with "no such name".
    pub(crate) fn start(name: &str) -> Self {
        let socket = UdpSocket::bind((Self::ADDRESS, 53)).expect("port 53 of a loopback address");
        let wanted = wire(name);
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Some(reply) = answer(&buffer[..length], &wanted, &counter) {
                    // A lost reply is asked for again.
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Self { asked }
    }

    /// How often the name was asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn wire(name: &str) -> Vec<u8> {
    let mut labels = Vec::new();
    for label in name.split('.') {
        labels.push(u8::try_from(label.len()).unwrap());
        labels.extend(label.as_bytes());
    }
    labels.push(0);
    labels
}

fn answer(query: &[u8], wanted: &[u8], asked: &AtomicU64) -> Option<Vec<u8>> {
    let question = query.get(HEADER..)?;
    let name_length = question.iter().position(|&byte| byte == 0)? + 1;
    let question = question.get(..name_length + 4)?;
    let known = question[..name_length] == *wanted;
    let is_a = question[name_length..] == [0, 1, 0, 1];
    let mut reply = query[..2].to_vec();
    let (code, answers) = (if known { 0 } else { 3 }, u8::from(known && is_a));
    reply.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers == 1 {
        asked.fetch_add(1, Ordering::Relaxed);
        // The name by reference, type A, class IN, a second to live, four bytes of address.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}
