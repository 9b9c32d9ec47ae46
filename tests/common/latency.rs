//! How long requests took, in buckets an eighth of a doubling wide: a percentile is at most 12 %
//! too high, and takes the same room after ten million requests as after ten.

use std::time::Duration;

const BUCKETS_A_DOUBLING: u32 = 8;
const DOUBLINGS: u32 = 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latency {
    counts: Vec<u64>,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: vec![0; (DOUBLINGS * BUCKETS_A_DOUBLING) as usize] }
    }
}

impl Latency {
    pub(crate) fn add(&mut self, took: Duration) {
        let last = self.counts.len() - 1;
        self.counts[bucket(took.as_micros()).min(last)] += 1;
    }

    pub(crate) fn merge(&mut self, other: &Latency) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, more)| *mine += more);
    }

    /// The upper end of the bucket in which that share of the requests is reached; zero without
    /// any.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            wanted <= seen
        });
        reached.map_or(Duration::ZERO, |at| Duration::from_micros(upper_end(at)))
    }
}

fn bucket(micros: u128) -> usize {
    let doublings = micros.max(1).ilog2();
    let start = 1_u128 << doublings;
    let part = (micros.max(1) - start) * u128::from(BUCKETS_A_DOUBLING) / start;
    (doublings * BUCKETS_A_DOUBLING) as usize + part as usize
}

fn upper_end(bucket: usize) -> u64 {
    let parts = BUCKETS_A_DOUBLING as usize;
    let start = 1_u64 << (bucket / parts);
    start + start * (bucket % parts + 1) as u64 / u64::from(BUCKETS_A_DOUBLING)
}
