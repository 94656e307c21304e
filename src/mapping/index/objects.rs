//! Custom resources by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::table::MappingTable;
use super::super::{Mapping, MappingError};
use super::{Counts, Stored, Touched, replace_in_table};

/// One pointer and three numbers each: there may be a hundred thousand, and few of them are bad.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) mapping: Result<Mapping, Box<MappingError>>,
    pub(super) stored: Stored,
}

/// An object that the policy was asked about.
pub(super) struct Admitted {
    pub(super) name: Arc<str>,
    pub(super) mapping: Result<Mapping, MappingError>,
    pub(super) stored: Stored,
}

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
    pub(super) fn apply(&mut self, object: Admitted, table: &mut MappingTable, touched: &mut Touched) -> News {
        let Admitted {
            name,
            mapping: new,
            stored,
        } = object;
        touched.push(&name);
        let old = self.by_name.get_mut(&name);
        if let (
            Some(Record {
                mapping: Ok(old),
                stored: known,
            }),
            Ok(new),
        ) = (old, &new)
            && old == new
        {
            *known = stored;
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
        let old_mapping = self.by_name.get(&name).and_then(|record| record.mapping.as_ref().ok());
        let changed = old_mapping.is_some() || new.is_ok();
        replace_in_table(table, old_mapping, new.as_ref().ok().cloned(), touched);
        self.invalid += usize::from(new.is_err());
        let record = Record {
            mapping: new.map_err(Box::new),
            stored,
        };
        if self
            .by_name
            .insert(name, record)
            .is_some_and(|old| old.mapping.is_err())
        {
            self.invalid -= 1;
        }
        News { changed, newly_invalid }
    }

    pub(super) fn delete(&mut self, name: &str, table: &mut MappingTable, touched: &mut Touched) -> bool {
        match self.by_name.remove(name).map(|record| record.mapping) {
            Some(Ok(old)) => {
                replace_in_table(table, Some(&old), None, touched);
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
    pub(super) fn reset(&mut self, objects: Vec<Admitted>, table: &mut MappingTable, touched: &mut Touched) -> bool {
        let mut gone: HashSet<Arc<str>> = self.by_name.keys().cloned().collect();
        for object in &objects {
            gone.remove(&object.name);
        }
        let mut changed = false;
        for name in gone {
            changed |= self.delete(&name, table, touched);
        }
        for object in objects {
            changed |= self.apply(object, table, touched).changed;
        }
        changed
    }

    pub(super) fn get(&self, name: &str) -> Option<&Record> {
        self.by_name.get(name)
    }

    pub(super) fn is_invalid_for(&self, name: &str, error: &MappingError) -> bool {
        self.get(name)
            .and_then(|record| record.mapping.as_ref().err())
            .is_some_and(|known| **known == *error)
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
