//! What STS said lately: verified identities and refused tokens; and the access keys that a mapping admitted.
//!
//! Only what STS says is remembered, never what a mapping made of it: mappings are looked up anew on every review.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bounded::Bounded;
use crate::authn::StsError;
use crate::identity::Identity;

/// Bytes for verified identities: about 5 000 tokens, each of which lives 15 minutes. The whole server must fit into 20 MiB (kops).
const VERIFIED_BUDGET: usize = 4 * 1024 * 1024;

/// What an entry takes besides the strings of its identity: its key twice, its expiry, the identity's own fields.
const VERIFIED_OVERHEAD: usize = 400;

/// How long a definite no holds for the very same token. A signature never becomes good, but a key that was made a moment ago may
/// become known; this is just enough for the retries of one client.
const REFUSED_TTL: Duration = Duration::from_secs(5);

/// Refused tokens that are remembered.
const MAX_REFUSED: usize = 1024;

/// How long an access key counts as verified lately: as long as a token lives, so that a working client stays known.
const KEY_TTL: Duration = Duration::from_mins(15);

/// Access keys that are remembered, by their hash: more than the tokens above.
const MAX_KEYS: usize = 16_384;

type Digest = [u8; 32];

/// The memory; every part of it is bounded.
pub(super) struct Memory {
    identity_ttl: Duration,
    outage_grace: bool,
    hasher: RandomState,
    parts: Mutex<Parts>,
}

struct Parts {
    verified: Bounded<Digest, Verified>,
    refused: Bounded<Digest, StsError>,
    keys: Bounded<u64, ()>,
}

struct Verified {
    identity: Arc<Identity>,
    fresh_until: Instant,
}

/// What is known of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// Verified so lately that nobody need be asked.
    Verified(Arc<Identity>),
    /// Refused for good a moment ago.
    Refused(StsError),
    /// STS must be asked.
    Unknown,
}

impl Memory {
    pub(super) fn new(identity_ttl: Duration, outage_grace: bool) -> Self {
        Self {
            identity_ttl,
            outage_grace,
            hasher: RandomState::new(),
            parts: Mutex::new(Parts {
                verified: Bounded::new(VERIFIED_BUDGET),
                refused: Bounded::new(MAX_REFUSED),
                keys: Bounded::new(MAX_KEYS),
            }),
        }
    }

    /// What need not be asked again.
    pub(super) fn recall(&self, digest: &Digest, now: Instant) -> Recall {
        let parts = self.lock();
        if let Some(error) = parts.refused.get(digest, now) {
            return Recall::Refused(error.clone());
        }
        match parts.verified.get(digest, now) {
            Some(verified) if now < verified.fresh_until => Recall::Verified(Arc::clone(&verified.identity)),
            _ => Recall::Unknown,
        }
    }

    /// The identity that may stand in while STS is unavailable.
    pub(super) fn verified_before(&self, digest: &Digest, now: Instant) -> Option<Arc<Identity>> {
        let parts = self.lock();
        let verified = parts.verified.get(digest, now).filter(|_| self.outage_grace)?;
        Some(Arc::clone(&verified.identity))
    }

    /// Notes that a mapping admitted a caller with this access key.
    pub(super) fn admit(&self, access_key_id: &str, now: Instant) {
        let key = self.hasher.hash_one(access_key_id);
        self.lock().keys.insert(key, (), 1, now + KEY_TTL, now);
    }

    /// Whether a mapping admitted a caller with this access key lately.
    pub(super) fn key_verified_lately(&self, access_key_id: &str, now: Instant) -> bool {
        let key = self.hasher.hash_one(access_key_id);
        self.lock().keys.get(&key, now).is_some()
    }

    /// Remembers an identity until its token ends. `bytes` is the size of the reply, which bounds that of the identity.
    pub(super) fn remember(
        &self,
        digest: &Digest,
        identity: &Arc<Identity>,
        bytes: usize,
        now: Instant,
        ends: Instant,
    ) {
        let mut parts = self.lock();
        parts.refused.remove(digest);
        if self.outage_grace || !self.identity_ttl.is_zero() {
            let verified = Verified {
                identity: Arc::clone(identity),
                fresh_until: ends.min(now + self.identity_ttl),
            };
            parts
                .verified
                .insert(*digest, verified, VERIFIED_OVERHEAD + bytes, ends, now);
        }
    }

    /// Forgets the identity of a token that STS refuses, at once.
    pub(super) fn refuse(&self, digest: &Digest, error: &StsError, now: Instant) {
        let mut parts = self.lock();
        parts.verified.remove(digest);
        if !self.identity_ttl.is_zero() {
            parts.refused.insert(*digest, error.clone(), 1, now + REFUSED_TTL, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        // A panic in between cannot leave a wrong identity behind, at worst a wrong sum of weights.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DIGEST: Digest = [7; 32];
    const KEY: &str = "AKIAEXAMPLE";

    fn identity() -> Arc<Identity> {
        let arn = "arn:aws:iam::111122223333:user/alice";
        Arc::new(Identity::new("111122223333", arn, "AIDAEXAMPLE", KEY).unwrap())
    }

    fn refused() -> StsError {
        StsError::Refused {
            code: "ExpiredToken".into(),
            status: 403,
        }
    }

    fn verified(ttl: Duration, outage_grace: bool, now: Instant, ends: Instant) -> Memory {
        let memory = Memory::new(ttl, outage_grace);
        memory.remember(&DIGEST, &identity(), 300, now, ends);
        memory.admit(KEY, now);
        memory
    }

    #[test]
    fn an_identity_is_fresh_for_a_while_and_known_until_its_token_ends() {
        let now = Instant::now();
        let memory = verified(20 * SECOND, true, now, now + 60 * SECOND);
        assert_eq!(memory.recall(&DIGEST, now + 19 * SECOND), Recall::Verified(identity()));
        assert_eq!(memory.recall(&[8; 32], now), Recall::Unknown);
        assert_eq!(memory.recall(&DIGEST, now + 20 * SECOND), Recall::Unknown);
        assert!(memory.verified_before(&DIGEST, now + 59 * SECOND).is_some());
        assert!(memory.verified_before(&DIGEST, now + 60 * SECOND).is_none());
    }

    #[test]
    fn nothing_is_fresh_past_the_end_of_its_token() {
        let now = Instant::now();
        let memory = verified(20 * SECOND, true, now, now + 5 * SECOND);
        assert_eq!(memory.recall(&DIGEST, now + 5 * SECOND), Recall::Unknown);
    }

    #[test]
    fn each_setting_is_off_by_itself() {
        let now = Instant::now();
        let no_cache = verified(Duration::ZERO, true, now, now + 60 * SECOND);
        assert_eq!(no_cache.recall(&DIGEST, now), Recall::Unknown);
        assert!(no_cache.verified_before(&DIGEST, now).is_some());
        let no_grace = verified(20 * SECOND, false, now, now + 60 * SECOND);
        assert_eq!(no_grace.recall(&DIGEST, now), Recall::Verified(identity()));
        assert!(no_grace.verified_before(&DIGEST, now).is_none());
        no_cache.refuse(&DIGEST, &refused(), now);
        assert_eq!(no_cache.recall(&DIGEST, now), Recall::Unknown);
    }

    #[test]
    fn a_definite_no_evicts_at_once_and_holds_a_moment() {
        let now = Instant::now();
        let memory = verified(20 * SECOND, true, now, now + 60 * SECOND);
        memory.refuse(&DIGEST, &refused(), now);
        assert_eq!(memory.recall(&DIGEST, now), Recall::Refused(refused()));
        assert!(memory.verified_before(&DIGEST, now).is_none());
        assert_eq!(memory.recall(&DIGEST, now + REFUSED_TTL), Recall::Unknown);
        memory.remember(&DIGEST, &identity(), 300, now, now + 60 * SECOND);
        assert_eq!(memory.recall(&DIGEST, now), Recall::Verified(identity()));
    }

    #[test]
    fn a_key_counts_as_known_for_as_long_as_a_token_lives() {
        let now = Instant::now();
        let memory = verified(Duration::ZERO, false, now, now + SECOND);
        assert!(memory.key_verified_lately(KEY, now + KEY_TTL - SECOND));
        assert!(!memory.key_verified_lately(KEY, now + KEY_TTL));
        assert!(!memory.key_verified_lately("AKIAOTHER", now));
    }
}
