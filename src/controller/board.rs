//! What an operator should know about writing status and Events. Nothing of it touches logins, so it is shown and never
//! counts against readiness.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A place of the board; a new text replaces the old one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Lease,
    Status,
    Definition,
    Contested,
    Events,
}

/// Shows the texts to whoever made it, as often as they change.
#[derive(Clone)]
pub(super) struct Board(Arc<Inner>);

struct Inner {
    texts: Mutex<BTreeMap<Place, String>>,
    show: Box<dyn Fn(Vec<String>) + Send + Sync>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Board {
    pub(super) fn new(show: Box<dyn Fn(Vec<String>) + Send + Sync>) -> Self {
        let texts = Mutex::default();
        Self(Arc::new(Inner { texts, show }))
    }

    /// Sets or clears a text. Returns whether it is news.
    pub(super) fn set(&self, place: Place, text: Option<String>) -> bool {
        let mut texts = self.0.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.get(&place) == text.as_ref() {
            return false;
        }
        match text {
            Some(text) => texts.insert(place, text),
            None => texts.remove(&place),
        };
        (self.0.show)(texts.values().cloned().collect());
        true
    }
}
