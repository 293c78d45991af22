//! A search that gets the bytes in pieces finds what one over the whole would: the message that ends
//! first, by the plainest way of looking.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pelton_reactor::{Search, Searched, Separator};

fuzz_target!(|input: (Vec<Vec<u8>>, u8, Vec<u8>, &[u8])| {
    let (mut separators, limit, cuts, data) = input;
    separators.truncate(4);
    let Ok(separator) = Separator::any_of(separators.clone()) else {
        assert!(separators.is_empty() || separators.iter().any(Vec::is_empty));
        return;
    };
    let limit = usize::from(limit);
    let mut search = Search::new(separator);
    let mut seen = 0;
    for cut in cuts.into_iter().map(usize::from).chain([data.len()]) {
        seen = (seen + cut).min(data.len());
        let expected = plain(&separators, &data[..seen]);
        match search.advance(&data[..seen], limit) {
            Searched::More => assert!(expected.is_none()),
            Searched::Found(end) => {
                let (start, found) = expected.expect("there is none");
                assert_eq!(end, found);
                assert!(start <= limit);
                return;
            }
            Searched::Overrun { consumed, complete: true } => {
                assert_eq!(expected.map(|(start, _)| start), Some(consumed));
                assert!(consumed > limit);
                return;
            }
            Searched::Overrun { consumed, complete: false } => {
                assert!(expected.is_none() && consumed > limit && consumed <= seen);
                return;
            }
        }
    }
});

/// The separator that ends first, of two that end there the shorter: where it begins and ends.
fn plain(separators: &[Vec<u8>], data: &[u8]) -> Option<(usize, usize)> {
    (1..=data.len()).find_map(|end| {
        let mut here: Vec<_> =
            separators.iter().filter(|one| data[..end].ends_with(one)).map(Vec::len).collect();
        here.sort_unstable();
        here.first().map(|len| (end - len, end))
    })
}
