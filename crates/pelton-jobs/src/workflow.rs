//! Jobs that wait for jobs.

use std::collections::{HashMap, HashSet};

use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, On};
use crate::state::State;

/// How a job hangs together with others of its workflow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ties {
    /// Jobs that it waits for, or waited.
    pub inputs: u32,
    /// Those of them without an end that it could go on with.
    pub pending: u32,
    /// Edges to jobs that wait for it.
    pub children: u32,
}

/// The ties of all jobs at the ends of `edges`. `succeeded` knows the parents that were there
/// before.
pub fn ties(edges: &[Edge], succeeded: impl Fn(JobId) -> bool) -> HashMap<JobId, Ties> {
    let mut ties: HashMap<JobId, Ties> = HashMap::new();
    for edge in edges {
        let done = edge.on == On::Success && succeeded(edge.parent);
        let child = ties.entry(edge.child).or_default();
        child.inputs += 1;
        child.pending += u32::from(!done);
        ties.entry(edge.parent).or_default().children += 1;
    }
    ties
}

/// Of `jobs`, those that are written, since no other has their key (`ids` has their own id); and
/// the edges that lead to them, from the jobs that stand for their parents.
pub fn resolve(
    jobs: impl Iterator<Item = JobId>,
    ids: &[JobId],
    edges: &[Edge],
) -> (HashSet<JobId>, Vec<Edge>) {
    let real: HashMap<JobId, JobId> = jobs.zip(ids.iter().copied()).collect();
    let own = real.iter().filter(|(job, id)| job == id);
    let written: HashSet<JobId> = own.map(|(job, _)| *job).collect();
    let kept = edges.iter().filter(|edge| written.contains(&edge.child));
    let edges =
        kept.map(|edge| Edge { parent: *real.get(&edge.parent).unwrap_or(&edge.parent), ..*edge });
    let edges = edges.collect();
    (written, edges)
}

/// Refuses edges that could never be fulfilled: whose child is not among `new` jobs, that use an
/// input position twice, or that lead in a circle.
pub fn check(new: &HashSet<JobId>, edges: &[Edge]) -> Result<(), BrokerError> {
    let mut taken = HashSet::new();
    let mut kinds: HashMap<JobId, On> = HashMap::new();
    for edge in edges {
        if *kinds.entry(edge.child).or_insert(edge.on) != edge.on {
            return invalid(format!(
                "job {} would wait for the success of some jobs and the failure of others",
                edge.child
            ));
        }
        if !new.contains(&edge.child) {
            return invalid(format!(
                "the edge {} -> {}: its child must be among the jobs enqueued with it",
                edge.parent, edge.child
            ));
        }
        if !taken.insert((edge.child, edge.position)) {
            return invalid(format!(
                "two edges lead to input {} of job {}",
                edge.position, edge.child
            ));
        }
    }
    if let Some(id) = in_circle(edges) {
        return invalid(format!("job {id} would wait for itself"));
    }
    Ok(())
}

/// The reason that a job gets when it is cancelled because of `parent`.
#[must_use]
pub fn reason(parent: JobId, state: State) -> String {
    format!("parent {parent} is {}", state.name())
}

/// The reason that a job gets when it was to follow a failure, and there was none.
#[must_use]
pub fn unneeded(parent: JobId) -> String {
    format!("{UNNEEDED}{parent} is succeeded")
}

/// Refuses to run a job again that was to follow a failure, and was let go because there was
/// none: it would run without its input.
pub fn check_needed(id: JobId, reason: Option<&str>) -> Result<(), BrokerError> {
    if reason.is_some_and(|reason| reason.starts_with(UNNEEDED)) {
        return Err(BrokerError::Invalid(format!(
            "job {id} cannot run again: it was to follow a failure, and there was none"
        )));
    }
    Ok(())
}

const UNNEEDED: &str = "not needed: ";

/// What a job that follows the failure of `parent` gets as its input: a JSON object. `error` is
/// the last attempt's, a JSON object itself.
#[must_use]
pub fn failure_input(
    parent: JobId,
    state: State,
    reason: Option<&str>,
    error: Option<&[u8]>,
) -> Vec<u8> {
    let mut json = format!(
        "{{\"job\":\"{parent}\",\"state\":\"{}\",\"reason\":{},\"error\":",
        state.name(),
        reason.map_or_else(|| "null".to_owned(), json_string)
    )
    .into_bytes();
    json.extend_from_slice(error.filter(|error| !error.is_empty()).unwrap_or(b"null"));
    json.push(b'}');
    json
}

/// A text as JSON writes it.
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A job that waits for itself, if there is one: what is left when all jobs that wait for nothing
/// are taken away, again and again.
fn in_circle(edges: &[Edge]) -> Option<JobId> {
    let mut waits: HashMap<JobId, usize> = HashMap::new();
    let mut children: HashMap<JobId, Vec<JobId>> = HashMap::new();
    for edge in edges {
        *waits.entry(edge.child).or_default() += 1;
        waits.entry(edge.parent).or_default();
        children.entry(edge.parent).or_default().push(edge.child);
    }
    let mut free: Vec<JobId> =
        waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        waits.remove(&id);
        for child in children.remove(&id).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&child) {
                *count -= 1;
                if *count == 0 {
                    free.push(child);
                }
            }
        }
    }
    waits.into_keys().min()
}

fn invalid<T>(message: String) -> Result<T, BrokerError> {
    Err(BrokerError::Invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> JobId {
        JobId::from_bytes([number; 16])
    }

    fn check_edges(edges: &[(u8, u8, u32)]) -> Result<(), BrokerError> {
        let new = (1..=5).map(id).collect();
        let edges: Vec<Edge> = edges
            .iter()
            .map(|(parent, child, position)| Edge {
                parent: id(*parent),
                child: id(*child),
                position: *position,
                on: On::Success,
            })
            .collect();
        check(&new, &edges)
    }

    #[test]
    fn jobs_that_are_there_take_the_place_of_parents() {
        let edge = |parent, child| Edge {
            parent: id(parent),
            child: id(child),
            position: 0,
            on: On::Success,
        };
        // 2 is there already, as 9; 3 waits for it, and for 1; 2 itself is left alone.
        let ids = [id(1), id(9), id(3)];
        let edges = [edge(1, 2), edge(2, 3), edge(1, 3)];
        let (written, edges) = resolve((1..=3).map(id), &ids, &edges);
        assert_eq!(written, HashSet::from([id(1), id(3)]));
        assert_eq!(edges, [edge(9, 3), edge(1, 3)]);
        let ties = ties(&edges, |parent| parent == id(9));
        assert_eq!(ties[&id(3)], Ties { inputs: 2, pending: 1, children: 0 });
        assert_eq!(ties[&id(9)], Ties { inputs: 0, pending: 0, children: 1 });
    }

    #[test]
    fn trees_diamonds_and_outer_parents_are_fine() {
        check_edges(&[]).unwrap();
        check_edges(&[(1, 2, 0), (1, 3, 0), (2, 4, 0), (3, 4, 1), (9, 1, 0)]).unwrap();
    }

    #[test]
    fn a_failure_is_told_as_json() {
        let told = |reason, error| {
            String::from_utf8(failure_input(id(1), State::Dead, reason, error)).unwrap()
        };
        let head = format!("{{\"job\":\"{}\",\"state\":\"dead\"", id(1));
        assert_eq!(told(None, None), format!("{head},\"reason\":null,\"error\":null}}"));
        assert_eq!(
            told(Some("a \"b\"\n\\"), Some(b"{\"type\":\"E\"}")),
            format!("{head},\"reason\":\"a \\\"b\\\"\\u000a\\\\\",\"error\":{{\"type\":\"E\"}}}}")
        );
    }

    #[test]
    fn what_could_never_run_is_refused() {
        for (edges, words) in [
            (&[(1, 9, 0)][..], "among the jobs"),
            (&[(1, 2, 0), (3, 2, 0)], "two edges"),
            (&[(1, 1, 0)], "wait for itself"),
            (&[(1, 2, 0), (2, 3, 0), (3, 1, 0), (3, 4, 0)], "wait for itself"),
        ] {
            let error = check_edges(edges).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
