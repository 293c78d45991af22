//! Priorities: RFC 9218's are honoured in part, those of RFC 7540 only read.

/// How urgent an answer is, from 0 (most) to 7. Among equals, streams take turns, whatever they
/// say of being incremental.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency(pub(super) u8);

impl Urgency {
    /// How many there are.
    pub(super) const LEVELS: usize = 8;
}

impl Default for Urgency {
    fn default() -> Self {
        Self(3)
    }
}

impl Urgency {
    /// From a `priority` field: a dictionary of structured fields, of which `u` matters. What
    /// cannot be read counts as not there.
    pub(super) fn parse(value: &[u8]) -> Self {
        let mut urgency = Self::default();
        for member in value.split(|byte| *byte == b',') {
            let member = member.trim_ascii();
            // Parameters of the member are ignored.
            let member = member.split(|byte| *byte == b';').next().unwrap_or_default();
            if let [b'u', b'=', digit @ b'0'..=b'7'] = member.trim_ascii() {
                urgency = Self(digit - b'0');
            }
        }
        urgency
    }
}

#[cfg(test)]
mod tests {
    use super::Urgency;

    #[test]
    fn the_field_is_read() {
        for (value, urgency) in [
            (&b"u=0"[..], 0),
            (b"i, u=7", 7),
            (b"u=5;x=1,i", 5),
            (b"u=1, u=2", 2),
            (b"u=8", 3),
            (b"u=-1", 3),
            (b"U=1", 3),
            (b"", 3),
            (b"i", 3),
        ] {
            assert_eq!(Urgency::parse(value), Urgency(urgency));
        }
    }
}
