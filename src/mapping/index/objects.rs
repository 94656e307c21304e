//! Custom resources by name.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::table::MappingTable;
use super::super::{Mapping, MappingError};
use super::{Counts, replace_in_table};

/// One pointer each: there may be a hundred thousand, and few of them are bad.
type Record = Result<Arc<Mapping>, Box<MappingError>>;

#[derive(Debug, Default)]
pub(super) struct Objects {
    by_name: HashMap<Arc<str>, Record>,
    invalid: usize,
}

pub(super) struct News {
    /// Whether the table is another one.
    pub(super) changed: bool,
    /// Set when the object became invalid, or invalid in another way.
    pub(super) newly_invalid: Option<MappingError>,
}

impl Objects {
    pub(super) fn apply(
        &mut self,
        name: Arc<str>,
        new: Result<Arc<Mapping>, MappingError>,
        table: &mut MappingTable,
    ) -> News {
        let old = self.by_name.get(&name);
        if let (Some(Ok(old)), Ok(new)) = (old, &new)
            && old == new
        {
            return News {
                changed: false,
                newly_invalid: None,
            };
        }
        let newly_invalid = new
            .as_ref()
            .err()
            .filter(|error| !self.is_invalid_for(&name, error))
            .cloned();
        let old_mapping = old.and_then(|record| record.as_ref().ok());
        let changed = old_mapping.is_some() || new.is_ok();
        replace_in_table(table, old_mapping.map(|mapping| &**mapping), new.as_ref().ok().cloned());
        self.invalid += usize::from(new.is_err());
        if let Some(Err(_)) = self.by_name.insert(name, new.map_err(Box::new)) {
            self.invalid -= 1;
        }
        News { changed, newly_invalid }
    }

    pub(super) fn delete(&mut self, name: &str, table: &mut MappingTable) -> bool {
        match self.by_name.remove(name) {
            Some(Ok(old)) => {
                replace_in_table(table, Some(&old), None);
                true
            }
            Some(Err(_)) => {
                self.invalid -= 1;
                false
            }
            None => false,
        }
    }

    /// Makes these the only objects.
    pub(super) fn reset(
        &mut self,
        objects: Vec<(Arc<str>, Result<Arc<Mapping>, MappingError>)>,
        table: &mut MappingTable,
    ) -> bool {
        let mut gone: HashMap<Arc<str>, ()> = self.by_name.keys().map(|name| (Arc::clone(name), ())).collect();
        for (name, _) in &objects {
            gone.remove(name);
        }
        let mut changed = false;
        for name in gone.into_keys() {
            changed |= self.delete(&name, table);
        }
        for (name, mapping) in objects {
            changed |= self.apply(name, mapping, table).changed;
        }
        changed
    }

    pub(super) fn is_invalid_for(&self, name: &str, error: &MappingError) -> bool {
        matches!(self.by_name.get(name), Some(Err(known)) if **known == *error)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            serving: self.by_name.len() - self.invalid,
            held: 0,
            invalid: self.invalid,
        }
    }
}
