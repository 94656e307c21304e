//! Who has one of the places of a port, and who gives his up when they are all taken.
//!
//! Whoever opens connections and leaves them idle must not keep others out: the newcomer takes the place of the one that has been idle
//! the longest, and first of those to whom nothing was ever granted. A request under way is never cut off; each has its own deadline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Somebody who is asked to leave does so at once, unless he is deaf; then the next one is asked.
const PATIENCE: Duration = Duration::from_millis(250);

/// Put into the extensions of a response by a surface that knows the client by it: one that asks for what it may have.
#[derive(Clone, Copy, Debug)]
pub struct Known;

/// The places of one port.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<Vec<Arc<Seat>>>,
    freed: Notify,
}

/// What is known of who has a place.
#[derive(Debug)]
struct Seat {
    state: Mutex<State>,
    leave: CancellationToken,
}

#[derive(Debug)]
struct State {
    idle_since: Instant,
    under_way: usize,
    known: bool,
}

/// Nothing done under these locks can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A place, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.take_free() {
                return place;
            }
            if let Some(seat) = self.idle_longest() {
                seat.leave.cancel();
            }
            // Whether somebody went or not, it is looked at again.
            let _ = timeout(PATIENCE, self.freed.notified()).await;
        }
    }

    fn take_free(self: &Arc<Self>) -> Option<Place> {
        let mut taken = lock(&self.taken);
        (taken.len() < self.limit).then(|| {
            let seat = Arc::new(Seat {
                state: Mutex::new(State {
                    idle_since: Instant::now(),
                    under_way: 0,
                    known: false,
                }),
                leave: CancellationToken::new(),
            });
            taken.push(Arc::clone(&seat));
            Place {
                places: Arc::clone(self),
                seat,
            }
        })
    }

    fn idle_longest(&self) -> Option<Arc<Seat>> {
        let taken = lock(&self.taken);
        let idle = taken.iter().filter_map(|seat| {
            let state = lock(&seat.state);
            let may_stay = state.under_way > 0 || seat.leave.is_cancelled();
            (!may_stay).then_some(((state.known, state.idle_since), seat))
        });
        idle.min_by_key(|(rank, _)| *rank).map(|(_, seat)| Arc::clone(seat))
    }
}

/// A place of a port, held as long as a connection lasts.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Place {
    /// Waits until somebody else needs it.
    pub(super) async fn is_needed(&self) {
        self.seat.leave.cancelled().await;
    }

    /// Whether anything was ever granted here.
    pub(super) fn is_known(&self) -> bool {
        lock(&self.seat.state).known
    }

    /// From now on something is granted here.
    pub(super) fn know(&self) {
        lock(&self.seat.state).known = true;
    }

    /// A request begins; it ends when this is dropped.
    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        lock(&self.seat.state).under_way += 1;
        Visit(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.taken).retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.places.freed.notify_one();
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Visit(Arc<Place>);

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = lock(&self.0.seat.state);
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn advance() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_stranger_goes_first() {
        let places = Places::new(3);
        let known = Arc::new(places.take().await);
        known.know();
        advance().await;
        let first = Arc::new(places.take().await);
        advance().await;
        let second = Arc::new(places.take().await);
        advance().await;
        drop(first.visit());
        let asked = places.idle_longest().expect("somebody");
        assert!(Arc::ptr_eq(&asked, &second.seat), "the first has just asked something");
        let under_way = second.visit();
        let asked = places.idle_longest().expect("somebody");
        assert!(Arc::ptr_eq(&asked, &first.seat), "nobody is cut off");
        let other = first.visit();
        let asked = places.idle_longest().expect("somebody");
        assert!(Arc::ptr_eq(&asked, &known.seat), "who is known comes last");
        drop((under_way, other));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_taken_over_from_whoever_leaves() {
        let places = Places::new(1);
        let first = places.take().await;
        let waiting = async {
            let _second = places.take().await;
        };
        let leaving = async move {
            first.is_needed().await;
            drop(first);
        };
        tokio::join!(waiting, leaving);
        assert!(lock(&places.taken).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deaf_are_passed_over() {
        let places = Places::new(2);
        let (deaf, good) = (places.take().await, places.take().await);
        let leaving = async move {
            good.is_needed().await;
            drop(good);
        };
        let (_third, ()) = tokio::join!(places.take(), leaving);
        drop(deaf);
    }
}
