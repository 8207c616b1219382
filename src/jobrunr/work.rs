//! How much work jobs are: what waits, by kind, and how long finished jobs of each kind ran.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// Jobs of one kind, as far as they were looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct JobGroup {
    /// What they run (`jobSignature`): `com.example.Mail.send(java.lang.Long)`.
    pub kind: Arc<str>,
    /// How many. Extrapolated from a sample if there are many, hence no whole number.
    pub jobs: f64,
    /// When the first of them was enqueued or is due.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
}

/// Jobs of each end of a queue that are looked at. Of those in between, only the number is known.
pub const QUEUE_SAMPLE: usize = 1_000;

/// Finished jobs, the newest ones, that estimates are made of.
pub const FINISHED_SAMPLE: usize = 1_000;

impl JobGroup {
    /// Groups jobs by kind.
    #[must_use]
    pub fn of_jobs(jobs: impl IntoIterator<Item = (Arc<str>, Timestamp)>) -> Vec<Self> {
        let mut groups = BTreeMap::<Arc<str>, Self>::new();
        for (kind, at) in jobs {
            let group = groups.entry(kind.clone()).or_insert(Self { kind, jobs: 0.0, first: at, last: at });
            group.jobs += 1.0;
            group.first = group.first.min(at);
            group.last = group.last.max(at);
        }
        groups.into_values().collect()
    }

    /// The groups of a queue of `n_jobs`, from samples of its oldest and its newest jobs: those that are in neither, or may be in
    /// both, are taken to be as the newest are.
    #[must_use]
    pub fn of_queue(oldest: Vec<Self>, newest: Vec<Self>, n_jobs: u64) -> Vec<Self> {
        let jobs = |groups: &[Self]| groups.iter().map(|group| group.jobs).sum::<f64>();
        let (n_oldest, n_newest) = (jobs(&oldest), jobs(&newest));
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let n_others = n_jobs as f64 - n_oldest;
        if n_others <= 0.0 || n_newest <= 0.0 {
            return oldest;
        }
        let end_of_oldest = oldest.iter().map(|group| group.last).max();
        let mut groups = oldest;
        groups.extend(newest.into_iter().map(|group| Self {
            jobs: group.jobs * n_others / n_newest,
            first: end_of_oldest.map_or(group.first, |end| group.first.min(end)),
            ..group
        }));
        groups
    }
}

/// A finished job, as far as its duration goes.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRun {
    /// The job's id.
    pub id: Arc<str>,
    /// What it ran (`jobSignature`).
    pub kind: Arc<str>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it ran, in seconds (`SucceededState.processDuration`).
    pub seconds: f64,
}

/// How long the jobs of a kind run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceTime {
    /// The finished jobs that were looked at.
    pub samples: usize,
    /// Their mean, in seconds.
    pub mean: f64,
    /// 95 % of them were not longer, in seconds.
    pub p95: f64,
}

/// How long jobs run, from the newest finished ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTimes {
    by_kind: BTreeMap<Arc<str>, ServiceTime>,
    overall: Option<ServiceTime>,
    /// When the newest of them ended.
    pub newest: Option<Timestamp>,
}

/// The longest plausible duration of a job, in seconds: a month. A longer one is a damaged record.
const LONGEST: f64 = 31.0 * 86_400.0;

impl ServiceTime {
    fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.sort_unstable_by(f64::total_cmp);
        let samples = seconds.len();
        let mean = seconds.iter().sum::<f64>() / samples as f64;
        let p95 = *seconds.get(samples.saturating_mul(95).div_ceil(100).saturating_sub(1))?;
        Some(Self { samples, mean, p95 })
    }
}

impl ServiceTimes {
    /// Estimates from finished jobs. Durations that are not plausible are ignored.
    #[must_use]
    pub fn from_runs<'a>(runs: impl IntoIterator<Item = &'a FinishedRun>) -> Self {
        let (mut by_kind, mut all) = (BTreeMap::<Arc<str>, Vec<f64>>::new(), Vec::new());
        let mut newest = None;
        for run in runs.into_iter().filter(|run| (0.0..=LONGEST).contains(&run.seconds)) {
            by_kind.entry(run.kind.clone()).or_default().push(run.seconds);
            all.push(run.seconds);
            newest = newest.max(Some(run.ended_at));
        }
        let by_kind = by_kind.into_iter().filter_map(|(kind, seconds)| Some((kind, ServiceTime::of(seconds)?)));
        Self { by_kind: by_kind.collect(), overall: ServiceTime::of(all), newest }
    }

    /// Returns how long jobs of that kind run; `None` if none of them has finished lately.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Option<ServiceTime> {
        self.by_kind.get(kind).copied()
    }

    /// The kinds of jobs that have finished lately.
    #[must_use]
    pub fn n_kinds(&self) -> usize {
        self.by_kind.len()
    }

    /// Returns how long jobs of all kinds run; `None` if none has finished lately.
    #[must_use]
    pub fn overall(&self) -> Option<ServiceTime> {
        self.overall
    }
}
