//! Measures a simulation while it runs: waits, pods, replicas over time.

use sketches_ddsketch::{Config, DDSketch};

use super::result::{Latency, Series, rounded, seconds};
use super::{Millis, Settings};

/// Up to so many waits, percentiles are exact.
const EXACT_UP_TO: usize = 2_000_000;
/// Beyond, they are at most that fraction off.
const SKETCH_ERROR: f64 = 0.001;
/// The sketch covers 16 decimal orders of magnitude with this error.
const SKETCH_BINS: u32 = 20_000;
/// Intervals of the charts.
const INTERVALS: Millis = 480;

/// How long jobs waited.
pub(super) struct Waits {
    /// In milliseconds; empty once the sketch has taken over.
    exact: Vec<u32>,
    sketch: Option<DDSketch>,
    n: u64,
    sum: u128,
    max: Millis,
    slo: Millis,
    n_above_slo: u64,
    /// Per power of the square root of 2 of a tenth of a second.
    distribution: Vec<u64>,
}

impl Waits {
    pub(super) fn new(slo: Millis) -> Self {
        Self { exact: Vec::new(), sketch: None, n: 0, sum: 0, max: 0, slo, n_above_slo: 0, distribution: Vec::new() }
    }

    /// Records a wait; one that is negative, because the job ran early, counts as none.
    pub(super) fn record(&mut self, wait: Millis) {
        let wait = wait.max(0);
        self.n += 1;
        self.sum += u128::from(wait.unsigned_abs());
        self.max = self.max.max(wait);
        self.n_above_slo += u64::from(self.slo < wait);
        let interval = interval_of(wait);
        if self.distribution.len() <= interval {
            self.distribution.resize(interval + 1, 0);
        }
        self.distribution[interval] += 1;
        match &mut self.sketch {
            Some(sketch) => sketch.add(seconds(wait)),
            None => self.record_exactly(wait),
        }
    }

    fn record_exactly(&mut self, wait: Millis) {
        self.exact.push(u32::try_from(wait).unwrap_or(u32::MAX));
        if EXACT_UP_TO < self.exact.len() {
            let mut sketch = DDSketch::new(Config::new(SKETCH_ERROR, SKETCH_BINS, 1e-4));
            for wait in std::mem::take(&mut self.exact) {
                sketch.add(f64::from(wait) / 1000.0);
            }
            self.sketch = Some(sketch);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sums of waits are far below 2^53 ms, or need no more digits")]
    pub(super) fn latency(&mut self) -> Latency {
        if self.n == 0 {
            return Latency::default();
        }
        Latency {
            mean: rounded(self.sum as f64 / self.n as f64 / 1000.0),
            p50: self.quantile(0.5),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            max: seconds(self.max),
        }
    }

    /// Returns the smallest wait that at least this part of the jobs did not exceed.
    fn quantile(&mut self, part: f64) -> f64 {
        if let Some(sketch) = &self.sketch {
            return sketch.quantile(part).ok().flatten().map_or(0.0, rounded);
        }
        let rank = (part * self.exact.len() as f64).ceil() as usize;
        let index = rank.saturating_sub(1).min(self.exact.len() - 1);
        f64::from(*self.exact.select_nth_unstable(index).1) / 1000.0
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below 2^53")]
    pub(super) fn share_above_slo(&self) -> f64 {
        if self.n == 0 { 0.0 } else { rounded(self.n_above_slo as f64 / self.n as f64) }
    }

    /// All waits, in the order in which the jobs were started.
    #[cfg(test)]
    pub(super) fn all(&self) -> &[u32] {
        &self.exact
    }

    /// Upper bounds in seconds, with the jobs up to each.
    fn distribution(&self) -> Vec<(f64, u64)> {
        self.distribution.iter().enumerate().map(|(interval, jobs)| (bound_of(interval), *jobs)).collect()
    }
}

/// The interval of the distribution in which a wait is. The first ends at a tenth of a second, each further one at √2 of the one
/// before.
fn interval_of(wait: Millis) -> usize {
    if wait <= 100 {
        return 0;
    }
    // A float-to-integer cast saturates.
    ((seconds(wait) * 10.0).log2() * 2.0).ceil() as usize
}

#[expect(clippy::cast_precision_loss, reason = "at most some dozens")]
fn bound_of(interval: usize) -> f64 {
    rounded(0.1 * (interval as f64 / 2.0).exp2())
}

/// What is measured in a simulation.
pub(super) struct Measure {
    pub(super) waits: Waits,
    /// Each change of the wanted replicas.
    pub(super) replicas: Vec<(Millis, u32)>,
    pub(super) activations: u64,
    pub(super) max_pods: u32,
    /// The sum of the lifetimes of the pods that are gone.
    pub(super) pod_millis: Millis,
    interval: Millis,
    waiting: Vec<u64>,
    running: Vec<u64>,
    pods: Vec<u32>,
    /// What was observed last: waiting and running jobs, pods.
    last: (u64, u64, u32),
}

impl Measure {
    /// `last_due` is the last instant at which a job is due.
    pub(super) fn new(settings: &Settings, last_due: Millis) -> Self {
        Self {
            waits: Waits::new(settings.slo),
            replicas: Vec::new(),
            activations: 0,
            max_pods: 0,
            pod_millis: 0,
            interval: (last_due / INTERVALS).max(1000),
            waiting: Vec::new(),
            running: Vec::new(),
            pods: Vec::new(),
            last: (0, 0, 0),
        }
    }

    pub(super) fn replicas(&mut self, now: Millis, replicas: u32) {
        let before = self.replicas.last().map(|(_, replicas)| *replicas);
        if before == Some(0) && 0 < replicas {
            self.activations += 1;
        }
        self.max_pods = self.max_pods.max(replicas);
        match self.replicas.last_mut() {
            Some((at, last)) if *at == now => *last = replicas,
            _ if before == Some(replicas) => {}
            _ => self.replicas.push((now, replicas)),
        }
    }

    /// Records how many jobs wait and run and how many pods exist.
    pub(super) fn observe(&mut self, now: Millis, waiting: u64, running: u64, pods: u32) {
        // Not negative, and far below `usize::MAX`.
        let interval = usize::try_from(now / self.interval).unwrap_or_default();
        let before = self.last;
        record(&mut self.waiting, interval, before.0, waiting);
        record(&mut self.running, interval, before.1, running);
        record(&mut self.pods, interval, before.2, pods);
        self.last = (waiting, running, pods);
    }

    pub(super) fn series(&mut self) -> Series {
        Series {
            interval_seconds: seconds(self.interval),
            waiting: std::mem::take(&mut self.waiting),
            running: std::mem::take(&mut self.running),
            pods: std::mem::take(&mut self.pods),
            waits: self.waits.distribution(),
        }
    }
}

/// Keeps the largest value of an interval. Intervals in which nothing changed have the value from before.
fn record<T: Copy + Ord>(values: &mut Vec<T>, interval: usize, before: T, value: T) {
    if values.len() <= interval {
        values.resize(interval + 1, before);
    }
    values[interval] = values[interval].max(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(n: u32) -> Waits {
        let mut waits = Waits::new(500_000);
        // In a different order, all from 1 to n seconds; 7919 is prime.
        (0..n).for_each(|i| waits.record(Millis::from((u64::from(i) * 7919 % u64::from(n)) as u32 + 1) * 1000));
        waits
    }

    #[test]
    fn percentiles_are_exact_below_the_limit_and_close_above() {
        let mut exact = waits(1000);
        assert_eq!(exact.latency(), Latency { mean: 500.5, p50: 500.0, p95: 950.0, p99: 990.0, max: 1000.0 });
        assert_eq!(exact.share_above_slo(), 0.5);
        let mut sketched = waits(2_100_000);
        assert!(sketched.sketch.is_some() && sketched.exact.is_empty());
        let latency = sketched.latency();
        assert_eq!((latency.mean, latency.max), (1_050_000.5, 2_100_000.0));
        for (found, expected) in [(latency.p50, 1_050_000.0), (latency.p95, 1_995_000.0), (latency.p99, 2_079_000.0)] {
            assert!((found / expected - 1.0_f64).abs() <= SKETCH_ERROR, "{found} {expected}");
        }
        assert_eq!(Waits::new(0).latency(), Latency::default());
    }

    #[test]
    fn distribution_has_every_job_below_its_bound() {
        let mut waits = Waits::new(0);
        for wait in [0, 99, 100, 101, 141, 142, 200, 60_000, -5] {
            waits.record(wait);
        }
        let distribution = waits.distribution();
        assert_eq!(distribution[0], (0.1, 4));
        assert_eq!(distribution[1], (0.141421, 2));
        assert_eq!(distribution[2], (0.2, 2));
        assert_eq!(distribution.last().map(|(bound, jobs)| (60.0 <= *bound, *jobs)), Some((true, 1)));
        assert_eq!(distribution.iter().map(|(_, jobs)| jobs).sum::<u64>(), 9);
    }

    #[test]
    fn series_keep_the_largest_value_and_fill_gaps() {
        let mut measure = Measure::new(&Settings::default(), 0);
        for (now, waiting) in [(0, 3), (10, 7), (900, 1), (3500, 2)] {
            measure.observe(now, waiting, 0, 1);
        }
        assert_eq!(measure.series().waiting, [7, 1, 1, 2]);
    }
}
