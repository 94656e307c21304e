use super::*;

/// An election with a clock that is set by hand: all times are seconds since its start.
struct Run {
    start: Instant,
    election: Election,
}

impl Run {
    fn new(me: &str) -> Self {
        Self {
            start: Instant::now(),
            election: Election::new(me.to_owned(), Timing::default()),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn next(&mut self, seconds: f64) -> Do {
        match self.election.next(self.at(seconds)) {
            Action::Read => Do::Read,
            Action::Write => Do::Write,
            Action::Wait(until) => Do::Wait((until - self.start).as_secs_f64()),
        }
    }

    fn read(&mut self, seconds: f64, holder: &str, version: &str) {
        self.election.on_read(Some(record(holder, version)), self.at(seconds));
    }

    fn write(&mut self, seconds: f64, version: &str) {
        let record = record(&self.election.me.clone(), version);
        self.election.on_written(record, self.at(seconds));
    }

    fn may_write(&self, seconds: f64) -> bool {
        let now = self.at(seconds);
        self.election.standing(now).may_write(now)
    }

    fn standing(&self, seconds: f64) -> &'static str {
        self.election.standing(self.at(seconds)).as_str()
    }

    /// A candidate that has just become the holder, at 0 s.
    fn elected() -> Self {
        let mut run = Self::new("a");
        run.election.on_read(None, run.at(0.0));
        run.write(0.0, "1");
        run
    }
}

#[derive(PartialEq, Debug)]
enum Do {
    Read,
    Write,
    Wait(f64),
}

fn record(holder: &str, version: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        lease: Duration::from_secs(15),
        version: version.to_owned(),
    }
}

#[test]
fn the_first_one_creates_and_renews_the_lease() {
    let mut run = Run::new("a");
    assert_eq!((run.next(0.0), run.standing(0.0)), (Do::Read, "unknown"));
    run.election.on_read(None, run.at(0.0));
    assert_eq!((run.next(0.0), run.may_write(0.0)), (Do::Write, false));
    run.write(0.0, "1");
    assert_eq!((run.next(0.1), run.standing(0.1)), (Do::Wait(5.0), "leader"));
    assert_eq!(run.next(5.0), Do::Write);
    run.write(5.0, "2");
    assert_eq!(run.next(5.1), Do::Wait(10.0));
    assert!(run.may_write(14.9));
}

#[test]
fn who_cannot_renew_stops_after_two_thirds() {
    let mut run = Run::elected();
    assert_eq!(run.next(5.0), Do::Write);
    run.election.on_failed(run.at(8.0));
    assert_eq!((run.next(8.0), run.may_write(8.0)), (Do::Wait(9.0), true));
    assert_eq!(run.next(9.0), Do::Read, "whether the write was granted is not known");
    run.election.on_failed(run.at(9.5));
    assert_eq!(run.next(9.5), Do::Wait(10.0), "the end of the right is an event too");
    assert!(run.may_write(9.9) && !run.may_write(10.0));
    assert_eq!((run.next(10.0), run.standing(10.0)), (Do::Wait(10.5), "follower"));
    // The API server is back, and nobody took it meanwhile.
    assert_eq!(run.next(10.5), Do::Read);
    run.read(10.5, "a", "1");
    assert_eq!((run.next(10.5), run.may_write(10.5)), (Do::Write, false));
    run.write(10.5, "2");
    assert!(run.may_write(20.4));
}

#[test]
fn a_renewal_counts_from_when_it_was_asked_for() {
    let mut run = Run::elected();
    run.write(5.0, "2");
    assert!(run.may_write(14.9) && !run.may_write(15.0));
}

#[test]
fn a_silent_holder_is_followed_within_the_time_of_its_lease() {
    let mut run = Run::new("b");
    run.read(0.0, "a", "1");
    assert_eq!((run.next(0.0), run.standing(0.0)), (Do::Wait(2.0), "follower"));
    assert_eq!(run.next(2.0), Do::Read);
    // The holder renewed it at 0.1 s and was killed at once: by 15.1 s there is another.
    run.read(2.0, "a", "2");
    for look in [4.0, 6.0, 8.0, 10.0, 12.0, 14.0] {
        assert_eq!(run.next(look), Do::Read);
        run.read(look, "a", "2");
    }
    assert_eq!(run.next(14.0), Do::Wait(15.0));
    assert_eq!((run.next(15.0), run.may_write(15.0)), (Do::Write, false));
    run.write(15.0, "3");
    assert!(run.may_write(15.0));
}

#[test]
fn a_holder_that_renews_is_left_alone() {
    let mut run = Run::new("b");
    for (version, second) in [0.0, 5.0, 10.0, 15.0, 20.0, 25.0].into_iter().enumerate() {
        run.read(second, "a", &version.to_string());
        assert!(matches!(run.next(second + 1.0), Do::Wait(_)));
    }
    // It comes and goes with the same version: that is no renewal.
    run.read(30.0, "a", "5");
    assert_eq!(run.next(38.0), Do::Write);
}

#[test]
fn failures_of_a_candidate_do_not_start_its_patience_anew() {
    let mut run = Run::new("b");
    run.read(0.0, "a", "1");
    run.election.on_failed(run.at(5.0));
    assert_eq!((run.next(5.0), run.next(6.0)), (Do::Wait(6.0), Do::Read));
    run.election.on_failed(run.at(12.5));
    assert_eq!(run.next(13.5), Do::Read, "nothing is written on old knowledge");
    run.read(13.5, "a", "1");
    assert_eq!(run.next(13.5), Do::Write);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut run = Run::new("b");
    run.read(0.0, "", "1");
    assert_eq!(run.next(0.0), Do::Write);
}

#[test]
fn who_loses_the_race_follows() {
    let mut run = Run::new("b");
    run.read(0.0, "", "1");
    run.election.on_conflict();
    assert_eq!((run.next(0.1), run.may_write(0.1)), (Do::Read, false));
    run.read(0.1, "c", "2");
    assert_eq!((run.next(0.2), run.standing(0.2)), (Do::Wait(2.1), "follower"));
}

#[test]
fn a_holder_that_was_replaced_stops_at_once() {
    let mut run = Run::elected();
    run.election.on_conflict();
    assert_eq!(run.next(5.0), Do::Read);
    run.read(5.0, "b", "2");
    assert_eq!((run.may_write(5.0), run.next(5.0)), (false, Do::Wait(7.0)));
}

#[test]
fn somebody_who_labels_the_lease_ends_nothing() {
    let mut run = Run::elected();
    run.election.on_conflict();
    run.read(5.0, "a", "2");
    assert_eq!((run.next(5.0), run.may_write(5.0)), (Do::Write, true));
}

#[test]
fn a_lease_that_is_deleted_is_made_anew() {
    let mut run = Run::elected();
    run.election.on_conflict();
    run.election.on_read(None, run.at(5.0));
    assert_eq!((run.next(5.0), run.may_write(5.0)), (Do::Write, false));
}

#[test]
fn without_the_right_everybody_writes_and_asks_again() {
    for (why, label) in [
        (NotElected::NoLeaseRights, "no_lease_rights"),
        (NotElected::NoLeaseApi, "no_lease_api"),
    ] {
        let mut run = Run::new("a");
        run.election.on_refused(why, run.at(0.0));
        assert_eq!(
            (run.standing(0.0), run.may_write(30.0), run.next(0.0)),
            (label, true, Do::Wait(60.0))
        );
        assert_eq!((run.next(60.0), run.may_write(60.0)), (Do::Read, true));
        // The answer stays away: nothing is known, so nothing changes.
        run.election.on_failed(run.at(63.0));
        assert_eq!(run.standing(63.0), label);
        // The right was granted meanwhile, and another replica was faster.
        run.read(64.0, "b", "1");
        assert_eq!((run.standing(64.0), run.may_write(64.0)), ("follower", false));
    }
}

#[test]
fn a_holder_whose_right_is_taken_writes_like_everybody() {
    let mut run = Run::elected();
    run.election.on_refused(NotElected::NoLeaseRights, run.at(5.0));
    assert_eq!((run.standing(5.0), run.may_write(5.0)), ("no_lease_rights", true));
}

#[test]
fn an_absurd_lease_is_not_waited_for() {
    for (lease, over) in [(0, 13.0), (1_000_000, 118.0), (60, 58.0)] {
        let mut run = Run::new("b");
        let record = Record {
            lease: Duration::from_secs(lease),
            ..record("a", "1")
        };
        run.election.on_read(Some(record.clone()), run.at(0.0));
        run.election.on_read(Some(record), run.at(over - 0.5));
        assert_eq!((run.next(over - 0.1), run.next(over)), (Do::Wait(over), Do::Write));
    }
}

/// However the two of them are delayed, never do both write.
#[test]
fn two_candidates_never_both_write() {
    for delay in 0..40 {
        let delay = f64::from(delay) * 0.1;
        let (mut a, mut b) = (Run::elected(), Run::new("b"));
        b.start = a.start;
        b.read(delay, "a", "1");
        let mut second = delay;
        let taken = loop {
            match b.next(second) {
                Do::Write => break second,
                Do::Read => b.read(second, "a", "1"),
                Do::Wait(until) => second = until,
            }
        };
        b.write(taken, "2");
        a.next(taken);
        assert!(!a.may_write(taken) && b.may_write(taken), "{delay}");
        assert!(taken <= 15.0 + delay, "{taken}");
    }
}
