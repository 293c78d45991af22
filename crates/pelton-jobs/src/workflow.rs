//! Jobs that wait for jobs.

use std::collections::{HashMap, HashSet};

use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, On};
use crate::state::State;

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
    format!("not needed: {parent} is succeeded")
}

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
