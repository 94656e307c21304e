//! Single flight: of many reviews of one token at a time, one asks and the others wait for its answer.
//!
//! An API server retries, and several API servers see the same token at the same moment. The look-up runs in the first review's own
//! task, so a review that is cancelled takes its look-up with it; one of those who waited then starts another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::authn::StsError;
use crate::identity::Identity;

type Outcome = Result<Arc<Identity>, StsError>;
type Digest = [u8; 32];

/// The look-ups that are on their way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Digest, watch::Receiver<Option<Outcome>>>>);

/// A review's part in a look-up.
pub(super) enum Seat<'a> {
    /// It has to ask, and to [`Pilot::land`].
    Pilot(Pilot<'a>),
    /// Somebody else is asking.
    Passenger(Passenger),
}

/// The one who asks. Dropped without landing, it sets its passengers free to ask for themselves.
pub(super) struct Pilot<'a> {
    flights: &'a Flights,
    digest: Digest,
    result: watch::Sender<Option<Outcome>>,
}

/// One who waits.
pub(super) struct Passenger(watch::Receiver<Option<Outcome>>);

impl Flights {
    /// Joins the look-up of this token, or begins one.
    pub(super) fn board(&self, digest: &Digest) -> Seat<'_> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(digest) {
            return Seat::Passenger(Passenger(flight.clone()));
        }
        let (result, receiver) = watch::channel(None);
        flights.insert(*digest, receiver);
        Seat::Pilot(Pilot {
            flights: self,
            digest: *digest,
            result,
        })
    }
}

impl Pilot<'_> {
    /// Gives the outcome to everybody who waits.
    pub(super) fn land(self, outcome: Outcome) {
        self.result.send_replace(Some(outcome));
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.digest);
    }
}

impl Passenger {
    /// The outcome, or `None` when the pilot never landed.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = [7; 32];

    fn refused() -> Outcome {
        Err(StsError::Busy { verified_lately: false })
    }

    fn pilot<'a>(flights: &'a Flights, digest: &Digest) -> Pilot<'a> {
        match flights.board(digest) {
            Seat::Pilot(pilot) => pilot,
            Seat::Passenger(_) => panic!("somebody else is flying"),
        }
    }

    fn passenger(flights: &Flights) -> Passenger {
        match flights.board(&DIGEST) {
            Seat::Passenger(passenger) => passenger,
            Seat::Pilot(_) => panic!("nobody is flying"),
        }
    }

    #[tokio::test]
    async fn passengers_get_what_the_pilot_got() {
        let flights = Flights::default();
        let flight = pilot(&flights, &DIGEST);
        let _other_token = pilot(&flights, &[8; 32]);
        let (first, second) = (passenger(&flights), passenger(&flights));
        flight.land(refused());
        assert_eq!(first.outcome().await, Some(refused()));
        assert_eq!(second.outcome().await, Some(refused()));
        drop(pilot(&flights, &DIGEST));
    }

    #[tokio::test]
    async fn a_cancelled_pilot_frees_the_seat() {
        let flights = Flights::default();
        let flight = pilot(&flights, &DIGEST);
        let waiting = passenger(&flights);
        drop(flight);
        assert_eq!(waiting.outcome().await, None);
        drop(pilot(&flights, &DIGEST));
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
