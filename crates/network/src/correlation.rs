//! The numbers by which responses are matched to requests (N-44).

/// Counts from 0 upwards, leaves out the range that is reserved for authentication, and wraps around.
#[derive(Clone, Debug, Default)]
pub(crate) struct CorrelationIds {
    next: i32,
}

/// Requests of the authentication phase use this number and those above it (N-84).
const FIRST_RESERVED: i32 = i32::MAX - 7;

impl CorrelationIds {
    pub(crate) fn next(&mut self) -> i32 {
        if self.next >= FIRST_RESERVED {
            self.next = i32::MIN;
        }
        let id = self.next;
        self.next += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N-44: instead of entering the reserved range, the counter jumps to the smallest number.
    #[test]
    fn correlation_ids_leave_out_the_reserved_range() {
        let mut ids = CorrelationIds::default();
        assert_eq!((ids.next(), ids.next()), (0, 1));
        ids.next = i32::MAX - 8;
        assert_eq!(
            (ids.next(), ids.next(), ids.next()),
            (i32::MAX - 8, i32::MIN, i32::MIN + 1)
        );
        ids.next = -1;
        assert_eq!((ids.next(), ids.next()), (-1, 0));
    }
}
