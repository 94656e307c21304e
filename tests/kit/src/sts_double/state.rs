//! What the double knows and counts, shared between its thread and the test.

use super::Seen;
use super::behaviour::{Behaviour, Connect};
use crate::authority::Authority;
use crate::principal::Principal;
use rcgen::KeyPair;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

const SEEN_MAX: usize = 64;

pub(super) struct Shared {
    pub(super) authority: Authority,
    /// One key for every leaf: only the names differ.
    pub(super) leaf_key: KeyPair,
    pub(super) leaves: Mutex<HashMap<String, TlsAcceptor>>,
    pub(super) connect: watch::Sender<Connect>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) principals: HashMap<String, Arc<Principal>>,
    pub(super) expired: HashSet<String>,
    pub(super) denied_roles: HashSet<String>,
    /// Roles with the MFA device and the code that they want.
    pub(super) mfa: HashMap<String, (String, String)>,
    /// The access tokens of IAM Identity Center sessions.
    pub(super) sso_tokens: HashSet<String>,
    pub(super) behaviour: Behaviour,
    pub(super) behaviour_of_key: HashMap<String, Behaviour>,
    pub(super) behaviour_next: VecDeque<Behaviour>,
    pub(super) skew: jiff::SignedDuration,
    pub(super) calls: HashMap<String, u64>,
    pub(super) total: u64,
    pub(super) connects: u64,
    pub(super) seen: VecDeque<Seen>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            authority: Authority::new("iam-authenticator-kit STS"),
            leaf_key: KeyPair::generate().expect("a key"),
            leaves: Mutex::default(),
            connect: watch::Sender::new(Connect::Open),
            state: Mutex::default(),
        }
    }

    /// A test that panicked while it held the lock must not take the others with it.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now() + self.state().skew
    }
}

impl State {
    /// Counts a request and says how to behave.
    pub(super) fn admit(&mut self, seen: Seen, access_key_id: Option<&str>) -> Behaviour {
        self.total += 1;
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
        let of_key = access_key_id.and_then(|key| {
            *self.calls.entry(key.to_owned()).or_default() += 1;
            self.behaviour_of_key.get(key).cloned()
        });
        self.behaviour_next
            .pop_front()
            .or(of_key)
            .unwrap_or_else(|| self.behaviour.clone())
    }
}
