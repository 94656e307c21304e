//! The immutable table that every review is answered from.
//!
//! One hash look-up for the principal, at most one more for its permission set, at most one for its account. The
//! entries are spread over shards that a changed table shares with the one before it, so a change costs one shard, not
//! the whole table.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::{Mapping, SourceId};
use crate::identity::Identity;

/// A change copies one shard: with 256 of them and 100 000 mappings that is 400 pointers.
const SHARDS: usize = 256;

/// What the table says about a caller.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// This mapping is the one.
    Found {
        /// The winner.
        mapping: &'a Mapping,
        /// A source before it that was never read: the mapping stands in a local file and the time to wait is over.
        unsynced_before: Option<SourceId>,
    },
    /// Every source was read, and none has a mapping for the caller.
    NotMapped,
    /// This source was never read and could still change the answer.
    Unsynced(SourceId),
}

/// The mappings of some subjects.
#[derive(Clone, Debug, Default)]
struct Shard {
    /// The winner for each subject. One pointer each, so that as much as can be of it is in a cache.
    winners: HashTable<Mapping>,
    /// All mappings of a subject that has several, the winner first; few have.
    contested: BTreeMap<Box<str>, Box<[Mapping]>>,
}

impl Shard {
    fn winner(&self, hash: u64, subject_key: &str) -> Option<&Mapping> {
        let is_it = |mapping: &Mapping| mapping.subject_key_bytes() == subject_key.as_bytes();
        self.winners.find(hash, is_it)
    }

    fn contenders(&self, hash: u64, subject_key: &str) -> &[Mapping] {
        match self.contested.get(subject_key) {
            Some(all) => all,
            None => self.winner(hash, subject_key).map_or(&[], std::slice::from_ref),
        }
    }

    /// Tells how many there were before.
    fn replace(&mut self, hash: u64, subject_key: &str, contenders: Vec<Mapping>, hasher: &RandomState) -> usize {
        let before = self.contenders(hash, subject_key).len();
        let is_it = |mapping: &Mapping| mapping.subject_key_bytes() == subject_key.as_bytes();
        if let Ok(old) = self.winners.find_entry(hash, is_it) {
            old.remove();
        }
        self.contested.remove(subject_key);
        if let Some(winner) = contenders.first() {
            let rehash = |mapping: &Mapping| hasher.hash_one(mapping.subject_key_bytes());
            self.winners.insert_unique(hash, winner.clone(), rehash);
        }
        if contenders.len() > 1 {
            self.contested.insert(subject_key.into(), contenders.into());
        }
        before
    }
}

/// An immutable state of all mappings. Cloning it is cheap and shares every entry.
#[derive(Clone, Debug)]
pub struct MappingTable {
    shards: Box<[Arc<Shard>]>,
    hasher: RandomState,
    sources: Arc<[(SourceId, bool)]>,
    len: usize,
    generation: u64,
}

impl MappingTable {
    /// A table without entries for these sources, in backend order, none of them read yet.
    pub fn new(order: &[SourceId]) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
            sources: order.iter().map(|source| (*source, false)).collect(),
            len: 0,
            generation: 0,
        }
    }

    /// The mapping for a caller. `settled` tells whether the time in which sources may still come up is over.
    pub fn lookup(&self, identity: &Identity, settled: bool) -> Lookup<'_> {
        let exact = self.first(identity.canonical().key());
        let set = identity.permission_set().and_then(|key| self.first(key));
        let explicit = match (exact, set) {
            (Some(exact), Some(set)) if self.rank(set) < self.rank(exact) => Some(set),
            (exact, set) => exact.or(set),
        };
        let Some(mapping) = explicit else {
            return self.lookup_account(identity);
        };
        match self.first_unsynced(self.rank(mapping)) {
            // Only root writes the files: when the time to wait is over, what they say about the caller is served.
            Some(source) => match self.first_local(identity).filter(|_| settled) {
                Some(mapping) => Lookup::Found {
                    mapping,
                    unsynced_before: Some(source),
                },
                None => Lookup::Unsynced(source),
            },
            unsynced_before @ None => Lookup::Found {
                mapping,
                unsynced_before,
            },
        }
    }

    /// The explicit mapping for a caller that stands in a local file, the exact one first.
    fn first_local(&self, identity: &Identity) -> Option<&Mapping> {
        let keys = [Some(identity.canonical().key()), identity.permission_set()];
        let all = keys.into_iter().flatten().flat_map(|key| self.contenders(key));
        all.into_iter().find(|mapping| mapping.source().is_local_file())
    }

    /// An explicit mapping anywhere beats an account-wide one, so every source must have been read.
    fn lookup_account(&self, identity: &Identity) -> Lookup<'_> {
        match (
            self.first_unsynced(self.sources.len()),
            self.first(identity.account().as_str()),
        ) {
            (Some(source), _) => Lookup::Unsynced(source),
            (None, Some(mapping)) => Lookup::Found {
                mapping,
                unsynced_before: None,
            },
            (None, None) => Lookup::NotMapped,
        }
    }

    /// All mappings for a subject, the winner first.
    pub fn contenders(&self, subject_key: &str) -> &[Mapping] {
        let hash = self.hash(subject_key);
        self.shard(hash)
            .map_or(&[], |shard| shard.contenders(hash, subject_key))
    }

    /// How many mappings there are, the ones that lose a conflict included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no mapping.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows by one with every published change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The sources in backend order and whether each was read whole once.
    pub fn sources(&self) -> &[(SourceId, bool)] {
        &self.sources
    }

    /// The place of a mapping's source in the backend order.
    fn rank(&self, mapping: &Mapping) -> usize {
        self.rank_of(mapping.source())
    }

    pub(super) fn rank_of(&self, source: SourceId) -> usize {
        self.sources
            .iter()
            .position(|(id, _)| *id == source)
            .unwrap_or(usize::MAX)
    }

    fn first_unsynced(&self, before: usize) -> Option<SourceId> {
        self.sources
            .iter()
            .take(before)
            .find(|(_, synced)| !synced)
            .map(|(source, _)| *source)
    }

    fn first(&self, subject_key: &str) -> Option<&Mapping> {
        let hash = self.hash(subject_key);
        self.shard(hash)?.winner(hash, subject_key)
    }

    fn hash(&self, subject_key: &str) -> u64 {
        self.hasher.hash_one(subject_key.as_bytes())
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(shard_of(hash)).map(|shard| &**shard)
    }

    pub(super) fn mark_synced(&mut self, source: SourceId) -> bool {
        let rank = self.rank_of(source);
        if self.sources.get(rank).is_none_or(|(_, synced)| *synced) {
            return false;
        }
        self.sources = self
            .sources
            .iter()
            .map(|(id, synced)| (*id, *synced || *id == source))
            .collect();
        true
    }

    pub(super) fn bump_generation(&mut self) {
        self.generation += 1;
    }

    /// Replaces the contenders of one subject, in order of precedence; none removes the subject.
    pub(super) fn set_contenders(&mut self, subject_key: &str, contenders: Vec<Mapping>) {
        let hash = self.hash(subject_key);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)).map(Arc::make_mut) {
            self.len += contenders.len();
            self.len -= shard.replace(hash, subject_key, contenders, &self.hasher);
        }
    }
}

// The low bits pick the bucket in a shard and the top seven tag it, so the shard takes bits that neither uses first.
fn shard_of(hash: u64) -> usize {
    usize::from(u8::try_from((hash >> 40) & 0xff).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::{MappingText, Origin, Subject, aws_auth};
    use super::*;
    use SourceId::{Crd, EksConfigMap, MountedFile};

    const ADMIN: &str = "arn:aws:iam::123456789012:role/Admin";
    const SSO: &str = "arn:aws:iam::123456789012:role/AWSReservedSSO_View_0123456789abcdef";

    fn mapping(source: SourceId, arn: &str) -> Mapping {
        let origin = Origin::Entry {
            list: aws_auth::List::MapRoles,
            line: 1,
        };
        let text = MappingText {
            username: source.as_str(),
            groups: &[],
            user_id: None,
        };
        let subject = Subject::from_arn(arn).expect("valid");
        Mapping::new(&subject, text, source, origin).expect("valid")
    }

    fn account(source: SourceId) -> Mapping {
        let origin = Origin::Entry {
            list: aws_auth::List::MapAccounts,
            line: 1,
        };
        let id = crate::arn::AccountId::parse("123456789012").expect("valid");
        Mapping::account(id, source, origin)
    }

    fn table(order: &[SourceId], synced: &[SourceId], mappings: &[Mapping]) -> MappingTable {
        let mut table = MappingTable::new(order);
        for mapping in mappings {
            table.set_contenders(mapping.subject_key(), vec![mapping.clone()]);
        }
        for source in synced {
            table.mark_synced(*source);
        }
        table
    }

    /// Source of the winner, or what stands in the way.
    fn lookup(table: &MappingTable, role: &str, settled: bool) -> String {
        let session = role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/s";
        let identity = Identity::new("123456789012", &session, "AROAX:s", "AKID").expect("valid");
        match table.lookup(&identity, settled) {
            Lookup::Found {
                mapping,
                unsynced_before: None,
            } => mapping.source().as_str().to_owned(),
            Lookup::Found {
                mapping,
                unsynced_before: Some(before),
            } => {
                format!("{} before {}", mapping.source().as_str(), before.as_str())
            }
            Lookup::NotMapped => "not mapped".to_owned(),
            Lookup::Unsynced(source) => format!("unsynced {}", source.as_str()),
        }
    }

    #[test]
    fn an_earlier_backend_wins_and_the_exact_arn_in_one_backend() {
        let set = "arn:aws:iam::123456789012:role/AWSReservedSSO_View_*";
        let both = [Crd, MountedFile];
        let earlier_set = table(&both, &both, &[mapping(Crd, set), mapping(MountedFile, SSO)]);
        assert_eq!(lookup(&earlier_set, SSO, true), "CRD");
        let same = table(&both, &both, &[mapping(Crd, SSO), account(Crd)]);
        assert_eq!(lookup(&same, SSO, true), "CRD");
        let only_set = table(&both, &both, &[mapping(MountedFile, set)]);
        assert_eq!(lookup(&only_set, SSO, true), "MountedFile");
        assert_eq!(lookup(&only_set, ADMIN, true), "not mapped");
    }

    #[test]
    fn an_explicit_mapping_beats_an_account_in_an_earlier_backend() {
        let both = [Crd, MountedFile];
        let table = table(&both, &both, &[account(Crd), mapping(MountedFile, ADMIN)]);
        assert_eq!(lookup(&table, ADMIN, true), "MountedFile");
        assert_eq!(lookup(&table, SSO, true), "CRD");
    }

    #[test]
    fn an_answer_waits_only_for_sources_that_could_change_it() {
        let order = [MountedFile, EksConfigMap, Crd];
        let mappings = [mapping(MountedFile, ADMIN), account(MountedFile)];
        let first = table(&order, &[MountedFile], &mappings);
        assert_eq!(lookup(&first, ADMIN, false), "MountedFile");
        assert_eq!(lookup(&first, SSO, false), "unsynced EKSConfigMap");
        let order = [EksConfigMap, MountedFile, Crd];
        let last = table(
            &order,
            &[MountedFile, Crd],
            &[mapping(MountedFile, ADMIN), mapping(Crd, SSO)],
        );
        assert_eq!(lookup(&last, ADMIN, false), "unsynced EKSConfigMap");
        assert_eq!(lookup(&last, ADMIN, true), "MountedFile before EKSConfigMap");
        assert_eq!(lookup(&last, SSO, true), "unsynced EKSConfigMap");
        let order = [EksConfigMap, Crd, MountedFile];
        let mut both = table(&order, &[MountedFile, Crd], &[]);
        let contenders = vec![mapping(Crd, ADMIN), mapping(MountedFile, ADMIN)];
        both.set_contenders(mapping(Crd, ADMIN).subject_key(), contenders);
        assert_eq!(
            lookup(&both, ADMIN, true),
            "MountedFile before EKSConfigMap",
            "break-glass"
        );
    }

    #[test]
    fn a_clone_keeps_its_entries_when_the_table_changes() {
        let mut table = table(&[Crd], &[Crd], &[mapping(Crd, ADMIN)]);
        let before = table.clone();
        table.set_contenders(mapping(Crd, ADMIN).subject_key(), Vec::new());
        assert_eq!((lookup(&before, ADMIN, true).as_str(), before.len()), ("CRD", 1));
        assert_eq!((lookup(&table, ADMIN, true).as_str(), table.len()), ("not mapped", 0));
    }
}
