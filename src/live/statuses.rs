//! What the statuses of the objects must say: a queue of names, and the writer to ask about each.
//!
//! Only names wait, each once, and none whose status says what it must by now: where another replica writes, the queue
//! becomes empty as that one gets on. What is to be written is asked for at the last moment, and so is never stale.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::mapping::index::{Index, Verdict};

/// A handle on what the statuses must say.
#[derive(Clone, Debug)]
pub struct Statuses {
    queue: Arc<Queue>,
    asks: mpsc::Sender<Ask>,
}

#[derive(Debug, Default)]
struct Queue {
    names: Mutex<Names>,
    filled: Notify,
}

/// Who came first is served first.
#[derive(Debug, Default)]
struct Names {
    order: BTreeMap<u64, Arc<str>>,
    waiting: HashMap<Arc<str>, u64>,
    next: u64,
}

impl Names {
    fn push(&mut self, name: Arc<str>) {
        let Self { order, waiting, next } = self;
        waiting.entry(name).or_insert_with_key(|name| {
            *next += 1;
            order.insert(*next, Arc::clone(name));
            *next
        });
    }

    fn pop(&mut self) -> Option<Arc<str>> {
        let (_, name) = self.order.pop_first()?;
        self.waiting.remove(&name);
        self.shrink();
        Some(name)
    }

    fn remove(&mut self, name: &str) {
        if let Some(place) = self.waiting.remove(name) {
            self.order.remove(&place);
            self.shrink();
        }
    }

    /// A burst is rare and its room would stay for ever.
    fn shrink(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.shrink_to_fit();
        }
    }
}

/// A question to the writer.
#[derive(Debug)]
pub(super) struct Ask {
    name: Arc<str>,
    answer: oneshot::Sender<Option<Verdict>>,
}

impl Ask {
    pub(super) fn answer(self, index: &Index) {
        // Nobody may be waiting any more: then nobody minds.
        let _ = self.answer.send(index.verdict(&self.name));
    }
}

pub(super) fn new() -> (Statuses, mpsc::Receiver<Ask>) {
    let (asks, receiver) = mpsc::channel(1);
    (
        Statuses {
            queue: Arc::default(),
            asks,
        },
        receiver,
    )
}

impl Statuses {
    /// Waits for the next object whose status does not say what it must. `None` when the writer is gone.
    pub async fn next(&self) -> Option<Verdict> {
        loop {
            let name = self.queue.pop().await;
            let verdict = self.verdict(name).await?;
            if let Some(verdict) = verdict.filter(|verdict| !verdict.is_stored()) {
                return Some(verdict);
            }
        }
    }

    /// What the status of an object must say now; the inner `None` when there is no such object any more, the outer
    /// one when the writer is gone.
    pub async fn verdict(&self, name: Arc<str>) -> Option<Option<Verdict>> {
        let (answer, receiver) = oneshot::channel();
        self.asks.send(Ask { name, answer }).await.ok()?;
        receiver.await.ok()
    }

    /// Puts names into the queue that are not in it yet.
    pub fn push(&self, names: impl IntoIterator<Item = Arc<str>>) {
        let mut queue = self.queue.lock();
        for name in names {
            queue.push(name);
        }
        if !queue.order.is_empty() {
            self.queue.filled.notify_one();
        }
    }

    /// Takes in which objects may have another verdict.
    pub(super) fn touched(&self, index: &mut Index) {
        let touched = index.take_touched();
        let is_due = |name: &Arc<str>| index.verdict(name).is_some_and(|verdict| !verdict.is_stored());
        let (due, done): (Vec<_>, Vec<_>) = touched.into_iter().partition(is_due);
        let mut queue = self.queue.lock();
        for name in &done {
            queue.remove(name);
        }
        drop(queue);
        self.push(due);
    }

    /// How many objects wait to be looked at.
    pub fn waiting(&self) -> usize {
        self.queue.lock().order.len()
    }
}

impl Queue {
    async fn pop(&self) -> Arc<str> {
        loop {
            let filled = self.filled.notified();
            if let Some(name) = self.take() {
                return name;
            }
            filled.await;
        }
    }

    fn take(&self) -> Option<Arc<str>> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_once_in_the_order_of_coming_until_it_is_done() {
        let mut names = Names::default();
        for name in ["a", "b", "a", "c", "d"] {
            names.push(name.into());
        }
        names.remove("b");
        names.remove("never-there");
        assert_eq!(names.pop().as_deref(), Some("a"));
        names.push("a".into());
        names.push("b".into());
        let rest: Vec<_> = std::iter::from_fn(|| names.pop()).collect();
        assert_eq!(
            rest.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["c", "d", "a", "b"]
        );
        assert!(names.order.is_empty() && names.waiting.capacity() == 0);
    }
}
