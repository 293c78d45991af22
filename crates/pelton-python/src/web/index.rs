//! Which routes may match a path, found without trying all of them.
//!
//! Routes stand in a tree of the segments that their paths must have. What hangs on the way of a
//! path are all routes that can match it, and perhaps some that do not: whoever asks tries these,
//! in their order, and so decides as if it had tried all.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pyo3::prelude::*;

use super::router::{Pattern, Segment};

/// A tree of routes, which are known by their numbers.
pub(crate) struct Index {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    /// The nodes of segments that are just this text.
    texts: HashMap<Box<str>, usize, BuildHasherDefault<Fnv>>,
    /// The node of segments that may be anything.
    any: Option<usize>,
    /// Routes whose path ends here.
    ends: Vec<usize>,
    /// Routes of which no more is known than that they begin so.
    begun: Vec<usize>,
}

impl Index {
    /// A tree with no routes in it.
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds the route `number`.
    pub(crate) fn add(&mut self, number: usize, pattern: &Pattern) {
        let (segments, complete) = pattern.segments();
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Any => *node.any.get_or_insert(next),
                Segment::Text(text) => match node.texts.get(text) {
                    Some(&known) => known,
                    None => {
                        node.texts.insert(text.into(), next);
                        next
                    }
                },
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        if complete { node.ends.push(number) } else { node.begun.push(number) }
    }

    /// The numbers of all routes that may match `path`, smallest first.
    pub(crate) fn candidates(&self, path: &str) -> Vec<usize> {
        let mut found = Vec::with_capacity(8);
        self.collect(0, Some(path), &mut found);
        found.sort_unstable();
        found
    }

    /// `rest`: what follows a slash; `None` where the path has ended. As deep as the longest
    /// path of a route, and each node is visited at most once.
    fn collect(&self, node: usize, rest: Option<&str>, found: &mut Vec<usize>) {
        let node = &self.nodes[node];
        found.extend_from_slice(&node.begun);
        let Some(rest) = rest else {
            found.extend_from_slice(&node.ends);
            return;
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(&next) = node.texts.get(segment) {
            self.collect(next, rest, found);
        }
        if let Some(next) = node.any
            && !segment.is_empty()
        {
            self.collect(next, rest, found);
        }
    }
}

/// FNV-1a, which is quick for short texts. The keys are the app's own, so that nobody else can
/// choose them to collide.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The routes of a router, for its own search in Python: `RouteIndex(patterns)`.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct RouteIndex(Index);

#[pymethods]
impl RouteIndex {
    /// Reads one pattern a route: text and `(name, convertor)` in turn.
    #[new]
    fn new(patterns: &Bound<'_, PyAny>) -> PyResult<Self> {
        let none = patterns.py().None().into_bound(patterns.py());
        let mut index = Index::new();
        for (number, pattern) in patterns.try_iter()?.enumerate() {
            index.add(number, &Pattern::from_spec(&pattern?, &none)?);
        }
        Ok(Self(index))
    }

    /// The places in the list of all routes that may match this path, smallest first.
    fn candidates(&self, path: &str) -> Vec<usize> {
        self.0.candidates(path)
    }
}
