//! The writer task, which alone owns the [`Index`], and the handles through which everybody else reads its results.

mod statuses;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::mapping::index::{Index, Notice, NoticeKind, SourceState, SourceUpdate};
use crate::mapping::table::MappingTable;
use statuses::Ask;
pub use statuses::Statuses;

/// How many updates may wait for the writer; a source that is faster is slowed down.
const QUEUE: usize = 1024;

/// A read handle on the newest table. Reading never locks and never waits.
#[derive(Clone, Debug)]
pub struct LiveTable {
    table: Arc<ArcSwap<MappingTable>>,
    sources: Arc<ArcSwap<Vec<SourceState>>>,
}

impl LiveTable {
    /// A handle on a table that nobody changes, with every source as it is in the table.
    pub fn new(table: MappingTable) -> Self {
        Self {
            table: Arc::new(ArcSwap::from_pointee(table)),
            sources: Arc::default(),
        }
    }

    /// The newest table.
    pub fn load(&self) -> Guard<Arc<MappingTable>> {
        self.table.load()
    }

    /// How each source is doing, in backend order.
    pub fn sources(&self) -> Guard<Arc<Vec<SourceState>>> {
        self.sources.load()
    }
}

/// Hears of what the writer does: metrics and Events.
pub trait LiveObserver: Send {
    /// Something that people should hear of.
    fn notice(&self, notice: &Notice);
    /// A changed table was published.
    fn published(&self, table: &MappingTable);
    /// The watched configuration gives this cluster id.
    fn cluster_id(&self, id: &str);
}

/// The writer, not yet running.
#[derive(Debug)]
pub struct Writer {
    index: Index,
    updates: mpsc::Receiver<SourceUpdate>,
    live: LiveTable,
    statuses: Statuses,
    asks: mpsc::Receiver<Ask>,
    cluster_id: Option<Box<str>>,
}

/// A writer for this index, the handle to read its table, and the queue for its sources.
pub fn writer(index: Index) -> (Writer, LiveTable, mpsc::Sender<SourceUpdate>) {
    let (sender, updates) = mpsc::channel(QUEUE);
    let live = LiveTable {
        table: Arc::new(ArcSwap::from_pointee(index.table().clone())),
        sources: Arc::new(ArcSwap::from_pointee(index.sources().to_vec())),
    };
    let (statuses, asks) = statuses::new();
    let writer = Writer {
        index,
        updates,
        live: live.clone(),
        statuses,
        asks,
        cluster_id: None,
    };
    (writer, live, sender)
}

impl Writer {
    /// A handle on what the statuses of the objects must say.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Takes in updates until every source has dropped its sender.
    pub async fn run(mut self, observer: impl LiveObserver) {
        let mut batch = Vec::new();
        loop {
            let deadline = self.index.next_deadline().map(Instant::from_std);
            tokio::select! {
                count = self.updates.recv_many(&mut batch, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                }
                Some(ask) = self.asks.recv() => {
                    ask.answer(&self.index);
                    continue;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
            self.take_in(&mut batch, &observer);
        }
    }

    fn take_in(&mut self, batch: &mut Vec<SourceUpdate>, observer: &impl LiveObserver) {
        let now = Instant::now().into_std();
        let mut notices = Vec::new();
        for update in batch.drain(..) {
            notices.extend(self.index.update(update, now));
        }
        notices.extend(self.index.tick(now));
        // The table first: what is said about it must already hold.
        if let Some(table) = self.index.publish() {
            let table = Arc::new(table);
            self.live.table.store(Arc::clone(&table));
            observer.published(&table);
        }
        self.statuses.touched(&mut self.index);
        self.live.sources.store(Arc::new(self.index.sources().to_vec()));
        for notice in &notices {
            log(notice);
            observer.notice(notice);
        }
        self.adopt_cluster_id(observer);
    }

    fn adopt_cluster_id(&mut self, observer: &impl LiveObserver) {
        let id = self.index.cluster_id();
        if id != self.cluster_id.as_deref() {
            self.cluster_id = id.map(Into::into);
            if let Some(id) = id {
                observer.cluster_id(id);
            }
        }
    }
}

fn log(notice: &Notice) {
    // The sources say this themselves, with the cause.
    if matches!(
        notice.kind,
        NoticeKind::Synced | NoticeKind::Failed | NoticeKind::Recovered
    ) {
        return;
    }
    let (source, what, message) = (notice.source.as_str(), notice.kind.as_str(), &notice.message);
    if notice.kind.is_warning() {
        tracing::warn!(source, what, "{message}");
    } else {
        tracing::info!(source, what, "{message}");
    }
}
