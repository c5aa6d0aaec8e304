//! Plans cached by statement: one space per database, search path and catalog version.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use schema::Snapshot;
use schema::oids::OidMap;
use smallvec::SmallVec;
use topology::ShardId;

use crate::backend::prepared::StatementIdentity;
use crate::control::DatabaseState;
use crate::plan::Plan;
use crate::session::execute::{Element, Original};
use crate::session::oids::Described;

/// Texts longer than this are planned each time: they are bulk loads, seldom repeated.
const CACHED_TEXT_BYTES: usize = 16 * 1024;

/// The catalog of one transaction.
#[derive(Clone)]
struct Private {
    snapshot: Arc<Snapshot>,
    /// Of the shards that have joined the transaction.
    oids: Rc<[(ShardId, OidMap)]>,
}

/// One for each list of parameter types that a text was prepared with.
type Identities = SmallVec<[Rc<StatementIdentity>; 1]>;

/// One for each list of parameter types that a text was prepared with.
type Originals = SmallVec<[(Box<[u32]>, Rc<Original>); 1]>;

/// Plans that share everything a plan depends on.
pub struct PlanSpace {
    pub state: Arc<DatabaseState>,
    /// Where it is not the cluster's: the catalog as one transaction sees it.
    private: Option<Private>,
    /// As set, `$user` in its place.
    pub search_path: Rc<[String]>,
    /// Those schemas of it that exist.
    pub existing_path: Vec<String>,
    shapes: RefCell<Cache<Box<[u8]>>>,
    texts: RefCell<Cache<Box<str>>>,
    /// So that a repeated Parse allocates nothing.
    identities: RefCell<FxHashMap<Box<str>, Identities>>,
    /// By number: statements as shards describe them, where shards have oids of their own.
    described: RefCell<FxHashMap<u64, Rc<Described>>>,
    /// Statements as the home shard describes them, by text and declared types: of those that the router
    /// sends to no shard as they are.
    originals: RefCell<FxHashMap<Box<str>, Originals>>,
    /// By the home shard's oid.
    elements: RefCell<FxHashMap<u32, Element>>,
    /// Some shard has other oids than the home shard.
    translates: bool,
    capacity: usize,
}

impl std::fmt::Debug for PlanSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanSpace")
            .field("search_path", &self.search_path)
            .finish_non_exhaustive()
    }
}

impl PlanSpace {
    /// `capacity`: plans kept, of each kind.
    pub fn new(state: Arc<DatabaseState>, search_path: Rc<[String]>, capacity: usize) -> Self {
        let existing_path = existing(&search_path, &state.snapshot);
        Self {
            existing_path,
            translates: state.oids.iter().any(Option::is_some),
            described: RefCell::default(),
            originals: RefCell::default(),
            elements: RefCell::default(),
            state,
            private: None,
            search_path,
            shapes: RefCell::new(Cache::new(capacity)),
            texts: RefCell::new(Cache::new(capacity)),
            identities: RefCell::default(),
            capacity,
        }
    }

    /// The same with a transaction's own view of the catalog.
    pub fn with_catalog(
        &self,
        snapshot: Arc<Snapshot>,
        oids: Vec<(ShardId, OidMap)>,
        capacity: usize,
    ) -> Self {
        let translates = oids.iter().any(|(_, map)| !map.is_identity());
        let plain = Self::new(
            Arc::clone(&self.state),
            Rc::clone(&self.search_path),
            capacity,
        );
        Self {
            translates: translates || plain.translates,
            existing_path: existing(&self.search_path, &snapshot),
            private: Some(Private {
                snapshot,
                oids: oids.into(),
            }),
            ..plain
        }
    }

    /// The same with another search path.
    pub fn with_search_path(&self, search_path: Rc<[String]>, capacity: usize) -> Self {
        Self {
            existing_path: existing(&search_path, self.snapshot()),
            translates: self.translates,
            private: self.private.clone(),
            ..Self::new(Arc::clone(&self.state), search_path, capacity)
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        match &self.private {
            Some(private) => &private.snapshot,
            None => &self.state.snapshot,
        }
    }

    /// How the oids of `shard` are translated; `None`: they are the home shard's.
    pub fn oids(&self, shard: ShardId) -> Option<&OidMap> {
        let private = self.private.as_ref().map(|private| private.oids.iter());
        if let Some((_, map)) = private.into_iter().flatten().find(|(id, _)| *id == shard) {
            return Some(map).filter(|map| !map.is_identity());
        }
        let position = self.state.map.shards().binary_search(&shard).ok()?;
        self.state.oids.get(position)?.as_ref()
    }

    /// Whether any shard's oids must be translated.
    pub fn translates(&self) -> bool {
        self.translates
    }

    /// What is known of the statement with that number.
    pub fn described(&self, number: u64) -> Option<Rc<Described>> {
        self.described.borrow().get(&number).cloned()
    }

    pub fn keep_described(&self, number: u64, described: Described) {
        let mut all = self.described.borrow_mut();
        if all.len() >= self.capacity {
            all.clear();
        }
        all.insert(number, Rc::new(described));
    }

    /// Takes in one message of a shard's description. The first is that of the parameters.
    pub fn note_described(
        &self,
        number: u64,
        tag: u8,
        body: &[u8],
        oids: Option<&OidMap>,
    ) -> Result<(), wire::ProtocolError> {
        let known = match tag {
            wire::backend::tag::PARAMETER_DESCRIPTION => None,
            _ => self.described(number),
        };
        let mut described = known.map_or_else(Described::default, |known| (*known).clone());
        described.note(tag, body, oids)?;
        self.keep_described(number, described);
        Ok(())
    }

    pub fn forget_described(&self, number: u64) {
        self.described.borrow_mut().remove(&number);
    }

    /// What the home shard has said of a text with these declared types.
    pub(in crate::session) fn original(&self, text: &str, types: &[u32]) -> Option<Rc<Original>> {
        let originals = self.originals.borrow();
        let known = originals.get(text)?.iter();
        let mut same = known.filter(|(declared, _)| **declared == *types);
        same.next().map(|(_, original)| Rc::clone(original))
    }

    pub(in crate::session) fn keep_original(
        &self,
        text: &str,
        types: &[u32],
        original: &Rc<Original>,
    ) {
        if text.len() > CACHED_TEXT_BYTES {
            return;
        }
        let mut originals = self.originals.borrow_mut();
        if originals.len() >= self.capacity {
            originals.clear();
        }
        let known = originals.entry(text.into()).or_default();
        known.push((types.into(), Rc::clone(original)));
    }

    /// How values of a type are handed over.
    pub(in crate::session) fn element(&self, type_oid: u32) -> Option<Element> {
        self.elements.borrow().get(&type_oid).copied()
    }

    pub(in crate::session) fn keep_element(&self, type_oid: u32, element: Element) {
        self.elements.borrow_mut().insert(type_oid, element);
    }

    /// The plan of a shape; the whole shape is compared, not its hash.
    pub fn by_shape(&self, shape: &[u8]) -> Option<Rc<Plan>> {
        self.shapes.borrow().plans.get(shape).cloned()
    }

    pub fn by_text(&self, text: &str) -> Option<Rc<Plan>> {
        self.texts.borrow().plans.get(text).cloned()
    }

    /// The identity of a text that was prepared with these parameter types.
    pub fn identity(&self, text: &str, types: &[u32]) -> Option<Rc<StatementIdentity>> {
        let identities = self.identities.borrow();
        identities
            .get(text)?
            .iter()
            .find(|known| *known.types == *types)
            .cloned()
    }

    pub fn keep_identity(&self, identity: &Rc<StatementIdentity>) {
        if identity.text.len() <= CACHED_TEXT_BYTES {
            let mut identities = self.identities.borrow_mut();
            if identities.len() >= self.capacity {
                identities.clear();
            }
            identities
                .entry(identity.text.clone())
                .or_default()
                .push(Rc::clone(identity));
        }
    }

    pub fn keep_shape(&self, shape: &[u8], plan: &Rc<Plan>) {
        if shape.len() <= CACHED_TEXT_BYTES {
            self.shapes.borrow_mut().insert(shape.into(), plan);
        }
    }

    pub fn keep_text(&self, text: &str, plan: &Rc<Plan>) {
        if text.len() <= CACHED_TEXT_BYTES {
            self.texts.borrow_mut().insert(text.into(), plan);
        }
    }
}

fn existing(search_path: &[String], snapshot: &Snapshot) -> Vec<String> {
    let exists = |name: &&String| snapshot.schemas.contains(*name);
    search_path.iter().filter(exists).cloned().collect()
}

/// First in, first out: a look-up writes nothing.
struct Cache<K> {
    plans: FxHashMap<K, Rc<Plan>>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: std::hash::Hash + Eq + Clone> Cache<K> {
    fn new(capacity: usize) -> Self {
        Self {
            plans: FxHashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    fn insert(&mut self, key: K, plan: &Rc<Plan>) {
        if self.plans.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.plans.remove(&oldest);
        }
        if self.plans.insert(key.clone(), Rc::clone(plan)).is_none() {
            self.order.push_back(key);
        }
    }
}
