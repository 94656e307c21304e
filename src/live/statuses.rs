//! What the statuses of the objects must say: a queue of names, and the writer to ask about each.
//!
//! Only names wait, each once, so that the queue is never longer than the list of objects; what is to be written is
//! asked for at the last moment, and so is never stale.

use std::collections::{HashSet, VecDeque};
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

#[derive(Debug, Default)]
struct Names {
    order: VecDeque<Arc<str>>,
    waiting: HashSet<Arc<str>>,
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
            if queue.waiting.insert(Arc::clone(&name)) {
                queue.order.push_back(name);
            }
        }
        if !queue.order.is_empty() {
            self.queue.filled.notify_one();
        }
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
        let mut names = self.lock();
        let name = names.order.pop_front()?;
        names.waiting.remove(&name);
        if names.order.is_empty() {
            // A burst is rare and its room would stay for ever.
            names.order.shrink_to_fit();
            names.waiting.shrink_to_fit();
        }
        Some(name)
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
