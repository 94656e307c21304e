//! How much of STS strangers may use.
//!
//! Any client that reaches the API server can make us ask STS by a token with a made-up signature. So look-ups are bounded in number,
//! and some of the bound is kept for access keys that a mapping admitted lately: strangers cannot lock out those who are known.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::partition::StsRegion;

/// Look-ups at a time for anybody. At 20 ms each this is 2 400 a second, four times what one API server asks at its busiest, while the
/// connections take less than 2 MiB.
const OPEN: usize = 48;

/// More of them for access keys that a mapping admitted lately.
const RESERVED: usize = 16;

/// How long a look-up may wait for its turn: longer, and the caller is better told that we are busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many may wait for their turn: beyond that the queue would not be served within [`PATIENCE`] anyway.
const MAX_QUEUE: usize = 512;

/// Look-ups of regions outside the table in one [`RATION_PERIOD`], in all: enough for a new region to work, since verified identities
/// and API servers' own caches need few, and too few to make us look up thousands of host names.
const RATION: usize = 4;

/// The period of [`RATION`].
const RATION_PERIOD: Duration = Duration::from_mins(1);

/// The bounds and what is used of them.
pub(super) struct Limits {
    open: Semaphore,
    reserved: Semaphore,
    queue: AtomicUsize,
    unlisted: Mutex<VecDeque<Instant>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: Semaphore::new(OPEN),
            reserved: Semaphore::new(RESERVED),
            queue: AtomicUsize::new(0),
            unlisted: Mutex::default(),
        }
    }
}

impl Limits {
    /// Waits for a turn; `None` when there is none to be had.
    pub(super) async fn admit(&self, verified_lately: bool, region: StsRegion) -> Option<SemaphorePermit<'_>> {
        if region == StsRegion::Unlisted && !self.take_ration(Instant::now()) {
            return None;
        }
        if let Ok(permit) = self.open.try_acquire() {
            return Some(permit);
        }
        let turns = if verified_lately { &self.reserved } else { &self.open };
        if let Ok(permit) = turns.try_acquire() {
            return Some(permit);
        }
        let _place = Place::take(&self.queue)?;
        timeout(PATIENCE, turns.acquire()).await.ok()?.ok()
    }

    fn take_ration(&self, now: Instant) -> bool {
        let mut taken = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.front().is_some_and(|at| now.duration_since(*at) >= RATION_PERIOD) {
            taken.pop_front();
        }
        let is_left = taken.len() < RATION;
        if is_left {
            taken.push_back(now);
        }
        is_left
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(queue: &'a AtomicUsize) -> Option<Self> {
        let place = Self(queue);
        let before = queue.fetch_add(1, Ordering::Relaxed);
        (before < MAX_QUEUE).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: StsRegion = StsRegion::Listed("us-east-1");

    async fn take(limits: &Limits, count: usize, verified_lately: bool) -> Vec<SemaphorePermit<'_>> {
        let mut permits = Vec::new();
        for _ in 0..count {
            permits.push(limits.admit(verified_lately, LISTED).await.unwrap());
        }
        permits
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_cannot_use_up_what_is_reserved() {
        let limits = Limits::default();
        let strangers = take(&limits, OPEN, false).await;
        assert!(limits.admit(false, LISTED).await.is_none());
        let known = take(&limits, RESERVED, true).await;
        assert!(limits.admit(true, LISTED).await.is_none());
        drop((strangers, known));
        assert!(limits.admit(false, LISTED).await.is_some());
        assert_eq!(limits.queue.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_in_time_is_taken() {
        let limits = Limits::default();
        let mut strangers = take(&limits, OPEN, false).await;
        let free_one = async {
            tokio::time::sleep(PATIENCE / 2).await;
            strangers.pop();
        };
        let (permit, ()) = tokio::join!(limits.admit(false, LISTED), free_one);
        assert!(permit.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let limits = Limits::default();
        let _strangers = take(&limits, OPEN, false).await;
        limits.queue.store(MAX_QUEUE, Ordering::Relaxed);
        let start = Instant::now();
        assert!(limits.admit(false, LISTED).await.is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(limits.queue.load(Ordering::Relaxed), MAX_QUEUE);
    }

    #[tokio::test(start_paused = true)]
    async fn regions_outside_the_table_are_rationed_together() {
        let limits = Limits::default();
        for _ in 0..RATION {
            assert!(limits.admit(true, StsRegion::Unlisted).await.is_some());
        }
        assert!(limits.admit(true, StsRegion::Unlisted).await.is_none());
        for region in [LISTED, StsRegion::Global, StsRegion::Configured] {
            assert!(limits.admit(false, region).await.is_some(), "{region:?}");
        }
        tokio::time::advance(RATION_PERIOD).await;
        assert!(limits.admit(false, StsRegion::Unlisted).await.is_some());
    }
}
