//! Percentiles of durations in fixed memory: exact below 256 µs, within 1/128 above.

use std::time::Duration;

/// Buckets below this are one microsecond wide.
const EXACT: u64 = 256;
/// Buckets in each doubling above it.
const PER_DOUBLING: u64 = 128;
/// Doublings above `EXACT`: up to 2^40 µs, twelve days.
const DOUBLINGS: u64 = 32;

/// How often each duration was seen.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    /// A histogram that has seen nothing.
    pub(crate) fn new() -> Self {
        let buckets = usize::try_from(EXACT + PER_DOUBLING * DOUBLINGS).expect("a few thousand");
        Self {
            counts: vec![0; buckets],
            total: 0,
            largest: 0,
        }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.largest = self.largest.max(micros);
    }

    /// Adds what another histogram has seen.
    pub(crate) fn join(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.largest = self.largest.max(other.largest);
    }

    /// The largest duration, in microseconds.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// The smallest number of microseconds that `share` (0 to 1) of the durations do not pass; 0 when nothing was seen.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(bucket as u64).min(self.largest);
            }
        }
        self.largest
    }
}

fn bucket(micros: u64) -> usize {
    let number = if micros < EXACT {
        micros
    } else {
        // Between 2^e and 2^(e+1), e >= 8, the 7 bits below the first one choose the bucket.
        let exponent = u64::from(micros.ilog2());
        let within = (micros >> (exponent - 7)) - PER_DOUBLING;
        EXACT + (exponent - 8) * PER_DOUBLING + within
    };
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The largest number of microseconds that falls into `bucket`.
fn upper_edge(bucket: u64) -> u64 {
    let Some(above) = bucket.checked_sub(EXACT) else {
        return bucket;
    };
    let (doubling, within) = (above / PER_DOUBLING, above % PER_DOUBLING);
    ((PER_DOUBLING + within + 1) << (doubling + 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_the_bucket_whose_edges_hold_it() {
        for micros in (0..100_000).chain([1 << 30, (1 << 31) - 1, u64::from(u32::MAX)]) {
            let found = bucket(micros) as u64;
            assert!(micros <= upper_edge(found), "{micros}");
            assert!(found == 0 || micros > upper_edge(found - 1), "{micros}");
            assert!(
                upper_edge(found) - micros <= micros / 128,
                "{micros} is off by more than 1/128"
            );
        }
    }

    #[test]
    fn percentiles_of_a_thousand_durations() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        assert_eq!(histogram.percentile(0.1), 100);
        assert!(
            (500..=504).contains(&histogram.percentile(0.5)),
            "{}",
            histogram.percentile(0.5)
        );
        assert_eq!((histogram.percentile(1.0), histogram.largest()), (1000, 1000));
    }

    #[test]
    fn an_empty_histogram_and_an_endless_duration_do_no_harm() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(0.99), 0);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.largest(), u64::MAX);
        assert!(histogram.percentile(0.5) > 0);
    }
}
