//! Objects that wait for their time.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

/// Names to look at again later, each once.
#[derive(Default)]
pub(super) struct Later {
    order: BTreeSet<(Instant, Arc<str>)>,
    names: HashSet<Arc<str>>,
}

impl Later {
    pub(super) fn push(&mut self, at: Instant, name: Arc<str>) {
        if self.names.insert(Arc::clone(&name)) {
            self.order.insert((at, name));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        while let Some((_, name)) = self.order.first().filter(|(at, _)| *at <= now).cloned() {
            self.order.pop_first();
            self.names.remove(&name);
            due.push(name);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_once_and_in_time() {
        let (mut later, start) = (Later::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, name) in [(3, "c"), (1, "a"), (2, "b"), (9, "a")] {
            later.push(at(seconds), name.into());
        }
        assert_eq!(later.due(start), []);
        assert_eq!(
            (later.next(), later.due(at(2))),
            (Some(at(1)), vec!["a".into(), "b".into()])
        );
        later.push(at(9), "a".into());
        assert_eq!((later.due(at(9)), later.next()), (vec!["c".into(), "a".into()], None));
    }
}
