//! Writes the status of objects: what [`Statuses`] says must be written, while this replica may, and never in a circle.
//!
//! One API server is asked by few requests at a time, and by none while it fails. An object that cannot be written goes
//! back into the queue; it is asked about anew before the next attempt, so nothing stale is ever written.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Outcome, Start, Written, attempt};
use super::board::{Board, Place};
use super::election::Standing;
use super::later::Later;
use super::ledger::{Advice, Ledger, Lesson};
use super::outbox::{About, EventSender, Occasion};
use super::say;
use crate::crd::IAMIdentityMapping;
use crate::crd::status::is_blank;
use crate::live::Statuses;
use crate::mapping::index::{Verdict, VerdictState};
use crate::metrics::Metrics;

/// Ten thousand statuses are written within a minute, and an API server that answers logins does not feel it.
const CONCURRENCY: usize = 8;

/// The watch brings the newer version of an object that was changed under our hands; should it not, we look again.
const CONFLICT: Duration = Duration::from_secs(2);

/// Somebody has to grant the right first.
const FORBIDDEN: Duration = Duration::from_mins(1);

/// Each is stretched by up to its own length, so that replicas do not write in step.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(15);

/// How often what is remembered is looked through.
const TIDY: Duration = Duration::from_mins(10);

/// Writes statuses.
pub(super) struct StatusWriter {
    pub(super) client: Client,
    pub(super) statuses: Statuses,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) events: EventSender,
    pub(super) metrics: Arc<Metrics>,
    pub(super) board: Board,
    pub(super) now: fn() -> Timestamp,
}

impl StatusWriter {
    /// Works until it is dropped, or until the writer of the table is gone.
    pub(super) async fn run(self) {
        let mut standing = self.standing.clone();
        let statuses = self.statuses.clone();
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::erase::<IAMIdentityMapping>(&()));
        let mut desk = Desk::new(self);
        // Never dropped half-way: it may have taken a name out of the queue already.
        let mut next = pin!(statuses.next());
        let mut attempts = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let wake = desk.wake(now);
            let may = standing.borrow_and_update().may_write(now) && !desk.is_paused(now);
            tokio::select! {
                verdict = &mut next, if may && attempts.len() < CONCURRENCY => {
                    let Some(verdict) = verdict else { return };
                    next.set(statuses.next());
                    if let Some((start, advice)) = desk.consider(&verdict) {
                        let (api, now) = (&api, desk.writer.now);
                        attempts.push(async move {
                            let outcome = attempt(api, &verdict, start, now).await;
                            (verdict, advice, outcome)
                        });
                    }
                }
                Some((verdict, advice, outcome)) = attempts.next() => desk.settle(&verdict, advice, outcome),
                changed = standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }
}

/// What is known between the attempts.
struct Desk {
    writer: StatusWriter,
    ledger: Ledger,
    later: Later,
    paused: Option<Instant>,
    delays: ExponentialBackoff,
    tidy: Instant,
}

impl Desk {
    fn new(writer: StatusWriter) -> Self {
        Self {
            writer,
            ledger: Ledger::new(),
            later: Later::default(),
            paused: None,
            delays: new_delays(),
            tidy: Instant::now() + TIDY,
        }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused.is_some_and(|until| now < until)
    }

    /// Puts back into the queue what is due, and tells when to come again.
    fn wake(&mut self, now: Instant) -> Instant {
        if now >= self.tidy {
            self.tidy = now + TIDY;
            self.ledger.tidy(now);
            self.writer.statuses.push(self.ledger.any_left_alone());
        }
        self.writer.statuses.push(self.later.due(now));
        let paused = self.paused.filter(|until| now < *until);
        [Some(self.tidy), self.later.next(), paused]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.tidy)
    }

    /// How to write this status, if it is to be written.
    fn consider(&mut self, verdict: &Verdict) -> Option<(Start, Advice)> {
        let now = Instant::now();
        // The right may have ended while we waited for the verdict.
        if !self.writer.standing.borrow().may_write(now) {
            self.writer.statuses.push([Arc::clone(&verdict.name)]);
            return None;
        }
        match self.ledger.advise(verdict, now) {
            Advice::Write => Some((Start::Write, Advice::Write)),
            Advice::Dropped => {
                self.count("dropped");
                None
            }
            // An object without any status may be one that was deleted and made anew: that is nobody's rewriting.
            advice if is_blank(&verdict.stored) => {
                let uid = self.ledger.uid(&verdict.name);
                Some((uid.map_or(Start::Write, Start::Unless), advice))
            }
            advice => {
                self.put_off(verdict, advice);
                None
            }
        }
    }

    fn put_off(&mut self, verdict: &Verdict, advice: Advice) {
        match advice {
            Advice::Write | Advice::Dropped => {}
            Advice::Later(until) => {
                self.count("put_off");
                self.later.push(until, Arc::clone(&verdict.name));
            }
            Advice::GiveUp { news } => {
                self.count("given_up");
                if news {
                    self.contest(Some(&verdict.name));
                }
            }
        }
    }

    fn settle(&mut self, verdict: &Verdict, advice: Advice, outcome: Outcome) {
        let now = Instant::now();
        match outcome {
            Outcome::Written(written) => self.written(verdict, &written),
            Outcome::Already => self.answered("already"),
            Outcome::Moved => {
                self.answered("conflict");
                self.later.push(now + CONFLICT, Arc::clone(&verdict.name));
            }
            Outcome::Gone => {
                self.answered("gone");
                self.ledger.forget(&verdict.name);
            }
            Outcome::NoStatus => {
                self.answered("dropped");
                let lesson = self.ledger.no_status(verdict, now);
                self.learn(lesson);
            }
            Outcome::Same => self.put_off(verdict, advice),
            Outcome::Invalid(message) => {
                self.answered("invalid");
                tracing::debug!(object = &*verdict.name, "the status is not accepted: {message}");
                self.ledger.note(verdict, "", now);
                self.writer.statuses.push([Arc::clone(&verdict.name)]);
            }
            Outcome::Forbidden(message) => {
                self.count("forbidden");
                say::forbidden(&self.writer.board, &message);
                self.pause(verdict, now + FORBIDDEN);
            }
            Outcome::Failed(message) => {
                self.count("failed");
                tracing::debug!(object = &*verdict.name, "the status could not be written: {message}");
                // Several fail at once; that is one failure.
                let until = self.paused.filter(|until| now < *until);
                let until = until.unwrap_or_else(|| now + self.delays.next().unwrap_or(LAST_DELAY));
                self.pause(verdict, until);
            }
        }
    }

    fn written(&mut self, verdict: &Verdict, written: &Written) {
        self.answered("written");
        if written.reason_before != verdict.state.as_str() {
            self.writer.events.push(occasion(verdict, &written.uid), Instant::now());
        }
        let given_up = self.ledger.given_up();
        let lesson = self
            .ledger
            .wrote(verdict, &written.uid, &written.status, Instant::now());
        self.learn(lesson);
        if given_up > 0 && self.ledger.given_up() != given_up {
            self.contest(None);
        }
    }

    fn learn(&mut self, lesson: Lesson) {
        self.writer.statuses.push(lesson.again);
        if let Some(dropped) = lesson.dropped {
            say::dropped(&self.writer.board, &dropped);
        }
    }

    fn contest(&self, name: Option<&str>) {
        let given_up = self.ledger.given_up();
        self.writer.metrics.contested(given_up);
        say::contested(&self.writer.board, name, given_up);
    }

    /// The API server answered: it is well.
    fn answered(&mut self, result: &'static str) {
        self.count(result);
        self.delays = new_delays();
        self.writer.board.set(Place::Status, None);
    }

    fn pause(&mut self, verdict: &Verdict, until: Instant) {
        self.paused = Some(self.paused.map_or(until, |paused| paused.max(until)));
        self.writer.statuses.push([Arc::clone(&verdict.name)]);
    }

    fn count(&self, result: &'static str) {
        self.writer.metrics.status_write(result);
    }
}

fn new_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LAST_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}

fn occasion(verdict: &Verdict, uid: &str) -> Occasion {
    Occasion {
        about: About::Mapping {
            name: Arc::clone(&verdict.name),
            uid: uid.into(),
        },
        is_warning: verdict.state != VerdictState::Serving,
        reason: verdict.state.as_str(),
        message: verdict.message.clone(),
    }
}
