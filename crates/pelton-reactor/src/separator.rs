//! Where a message ends: the search of `readuntil`, which goes on where it stopped.

/// The separators of one search; each has at least one byte.
#[derive(Clone, Debug)]
pub enum Separator {
    /// `b"\n"`, for which nothing is kept.
    Newline,
    /// The shortest first.
    Any(Vec<Vec<u8>>),
}

/// Why bytes cannot be separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeparator {
    /// There is none.
    Nothing,
    /// One of them is empty.
    Empty,
}

/// A place in a buffer where a separator was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the separator begins.
    pub start: usize,
    /// Where the bytes after it begin.
    pub end: usize,
}

impl Separator {
    /// Any of these ends a message.
    pub fn any_of(mut all: Vec<Vec<u8>>) -> Result<Self, NoSeparator> {
        all.sort_by_key(Vec::len);
        match all.first() {
            None => Err(NoSeparator::Nothing),
            Some(shortest) if shortest.is_empty() => Err(NoSeparator::Empty),
            Some(shortest) if all.len() == 1 && shortest == b"\n" => Ok(Self::Newline),
            Some(_) => Ok(Self::Any(all)),
        }
    }

    /// A byte without which the separator cannot end, if there is just one.
    #[must_use]
    pub fn last_byte(&self) -> Option<u8> {
        match self {
            Self::Newline => Some(b'\n'),
            Self::Any(all) if all.len() == 1 => all[0].last().copied(),
            Self::Any(_) => None,
        }
    }

    fn min_len(&self) -> usize {
        match self {
            Self::Newline => 1,
            Self::Any(all) => all[0].len(),
        }
    }

    fn max_len(&self) -> usize {
        match self {
            Self::Newline => 1,
            Self::Any(all) => all[all.len() - 1].len(),
        }
    }

    /// The one that ends first, from `offset` on; of two that end there, the shorter.
    fn find(&self, data: &[u8], offset: usize) -> Option<Found> {
        match self {
            Self::Newline => position(&data[offset..], b'\n')
                .map(|at| Found { start: offset + at, end: offset + at + 1 }),
            Self::Any(all) => all
                .iter()
                .filter_map(|one| find(&data[offset..], one).map(|at| (one, offset + at)))
                .map(|(one, start)| Found { start, end: start + one.len() })
                .min_by_key(|found| found.end),
        }
    }
}

/// A search in a buffer that grows.
#[derive(Debug)]
pub struct Search {
    separator: Separator,
    /// No separator begins before it.
    offset: usize,
}

/// What a look at the buffer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// The message ends here, its separator included.
    Found(usize),
    /// There is none yet.
    More,
    /// The message, without its separator, is longer than the limit: it is at least so long. With
    /// `complete`, that is where its separator begins.
    Overrun {
        /// Bytes before the separator, or before where one may begin.
        consumed: usize,
        /// Whether the separator is there.
        complete: bool,
    },
}

impl Search {
    /// Nothing is looked at yet.
    #[must_use]
    pub const fn new(separator: Separator) -> Self {
        Self { separator, offset: 0 }
    }

    /// What is searched for.
    #[must_use]
    pub const fn separator(&self) -> &Separator {
        &self.separator
    }

    /// Looks at `data`: what the last call was given, and what came since. (If it got shorter, as
    /// somebody else took a part, the search goes on at its end.)
    pub fn advance(&mut self, data: &[u8], limit: usize) -> Searched {
        self.offset = self.offset.min(data.len());
        if data.len() - self.offset < self.separator.min_len() {
            return Searched::More;
        }
        match self.separator.find(data, self.offset) {
            Some(found) if found.start > limit => {
                Searched::Overrun { consumed: found.start, complete: true }
            }
            Some(found) => Searched::Found(found.end),
            None => {
                self.offset = (data.len() + 1).saturating_sub(self.separator.max_len());
                if self.offset > limit {
                    Searched::Overrun { consumed: self.offset, complete: false }
                } else {
                    Searched::More
                }
            }
        }
    }
}

/// The first place of `byte`.
#[must_use]
pub fn position(data: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: the pointer and length describe `data`; what is returned lies within, or is null.
    unsafe {
        let found = libc::memchr(data.as_ptr().cast(), byte.into(), data.len());
        (!found.is_null()).then(|| found.cast::<u8>().offset_from(data.as_ptr()) as usize)
    }
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + position(data.get(from..)?, wanted[0])?;
        if data.get(at..at + wanted.len())? == wanted {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(all: &[&[u8]]) -> Search {
        Search::new(Separator::any_of(all.iter().map(|one| one.to_vec()).collect()).unwrap())
    }

    #[test]
    fn what_ends_first_counts_and_of_two_the_shorter() {
        assert_eq!(search(&[b"\r\n", b"\n"]).advance(b"ab\r\ncd", 100), Searched::Found(4));
        assert_eq!(search(&[b"bcd", b"c"]).advance(b"abcd", 100), Searched::Found(3));
        assert_eq!(search(&[b"aab"]).advance(b"aaab", 100), Searched::Found(4));
    }

    #[test]
    fn it_goes_on_where_it_stopped_at_any_cut() {
        let data = b"one\r\r\ntwo";
        for cut in 0..data.len() {
            let mut search = search(&[b"\r\n"]);
            let first = search.advance(&data[..cut], 100);
            let whole = search.advance(data, 100);
            assert_eq!(if cut >= 6 { first } else { whole }, Searched::Found(6), "cut at {cut}");
        }
    }

    #[test]
    fn a_message_longer_than_the_limit_says_how_much_can_be_dropped() {
        let complete = Searched::Overrun { consumed: 5, complete: true };
        assert_eq!(search(&[b"\n"]).advance(b"12345\n", 4), complete);
        let open = Searched::Overrun { consumed: 5, complete: false };
        assert_eq!(search(&[b"\r\n"]).advance(b"12345\r", 4), open);
        assert_eq!(search(&[b"\r\n"]).advance(b"1234\r", 4), Searched::More);
    }

    #[test]
    fn separators_have_bytes() {
        assert_eq!(Separator::any_of(vec![]).unwrap_err(), NoSeparator::Nothing);
        assert_eq!(Separator::any_of(vec![vec![]]).unwrap_err(), NoSeparator::Empty);
    }

    #[test]
    fn a_buffer_that_got_shorter_is_searched_from_its_end() {
        let mut search = search(&[b"\n"]);
        assert_eq!(search.advance(b"0123456789", 100), Searched::More);
        assert_eq!(search.advance(b"89", 100), Searched::More);
        assert_eq!(search.advance(b"89\n", 100), Searched::Found(3));
    }
}
