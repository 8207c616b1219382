//! The built-in workloads. `docs/simulation.md` describes them.

use std::f64::consts::TAU;

use clap::ValueEnum;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal};

use super::{Job, Workload};
use crate::simulate::Millis;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;

/// A built-in workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Builtin {
    /// Two hours with three bursts of 400 jobs of about 20 s, each within 10 s.
    Burst,
    /// Four hours with a job per second of 10 s on average.
    Steady,
    /// A day with 0 to 2 jobs per second of 10 s on average, as a sine.
    Sinusoid,
    /// Six hours, every two hours 300 jobs of about 90 s, scheduled half an hour ahead.
    Batch,
    /// Six hours with a job every 5 s, most of them of seconds, some of up to an hour.
    LongTail,
    /// An hour with 20 jobs per second of about 50 ms, and 10,000 more every ten minutes.
    ShortJobs,
    /// Twelve hours of recurring jobs: 10 of every 5 minutes, 10 hourly, 5 of every 4 hours.
    Recurring,
}

impl Builtin {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Burst, Self::Steady, Self::Sinusoid, Self::Batch, Self::LongTail, Self::ShortJobs, Self::Recurring];

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Steady => "steady",
            Self::Sinusoid => "sinusoid",
            Self::Batch => "batch",
            Self::LongTail => "long-tail",
            Self::ShortJobs => "short-jobs",
            Self::Recurring => "recurring",
        }
    }

    /// Returns the built-in workload of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// Makes its jobs. The same seed makes the same jobs.
    #[must_use]
    pub fn workload(self, seed: u64) -> Workload {
        let mut maker = Maker { random: Xoshiro256PlusPlus::seed_from_u64(seed), jobs: Vec::new() };
        match self {
            Self::Burst => maker.bursts(),
            Self::Steady => maker.poisson(0, 4 * HOUR, 1.0, &Length::Exponential(10.0)),
            Self::Sinusoid => maker.sinusoid(),
            Self::Batch => maker.batches(),
            Self::LongTail => maker.poisson(0, 6 * HOUR, 0.2, &Length::LogNormal { median: 5.0, sigma: 2.0 }),
            Self::ShortJobs => maker.short_jobs(),
            Self::Recurring => maker.recurring(),
        }
        Workload::new(self.name(), maker.jobs, vec!["job".to_owned()])
    }
}

/// How long jobs run, in seconds.
enum Length {
    /// Of this mean.
    Exponential(f64),
    /// Of this median; the larger `sigma`, the longer the longest.
    LogNormal { median: f64, sigma: f64 },
}

/// No job runs longer.
const LONGEST: f64 = 3600.0;

struct Maker {
    random: Xoshiro256PlusPlus,
    jobs: Vec<Job>,
}

impl Maker {
    fn add(&mut self, arrival: Millis, due: Millis, length: &Length) {
        let duration = duration(self.sample(length));
        self.jobs.push(Job { arrival, due, duration, kind: 0 });
    }

    fn sample(&mut self, length: &Length) -> f64 {
        match *length {
            Length::Exponential(mean) => Exp::new(1.0 / mean).map_or(mean, |exp| exp.sample(&mut self.random)),
            Length::LogNormal { median, sigma } => {
                LogNormal::new(median.ln(), sigma).map_or(median, |normal| normal.sample(&mut self.random))
            }
        }
    }

    /// Jobs that come independently of one another, so many per second.
    fn poisson(&mut self, from: Millis, until: Millis, rate: f64, length: &Length) {
        let mut at = from as f64;
        loop {
            at += self.sample(&Length::Exponential(1000.0 / rate));
            if until as f64 <= at {
                return;
            }
            self.add(at as Millis, at as Millis, length);
        }
    }

    fn bursts(&mut self) {
        for start in [10 * MINUTE, HOUR, 110 * MINUTE] {
            for _ in 0..400 {
                let at = start + self.random.random_range(0..10 * SECOND);
                self.add(at, at, &Length::LogNormal { median: 20.0, sigma: 0.5 });
            }
        }
        let quiet = Length::LogNormal { median: 5.0, sigma: 0.5 };
        self.poisson(0, 2 * HOUR, 0.01, &quiet);
    }

    fn sinusoid(&mut self) {
        const PEAK: f64 = 2.0;
        let mut at = 0.0;
        loop {
            at += self.sample(&Length::Exponential(1000.0 / PEAK));
            if (24 * HOUR) as f64 <= at {
                return;
            }
            // Each candidate is kept with the probability that makes the rate a sine.
            let part = 0.5 - 0.5 * (TAU * at / (24 * HOUR) as f64).cos();
            if self.random.random::<f64>() < part {
                self.add(at as Millis, at as Millis, &Length::Exponential(10.0));
            }
        }
    }

    fn batches(&mut self) {
        for due in [HOUR, 3 * HOUR, 5 * HOUR] {
            for number in 0..300 {
                let arrival = due - 30 * MINUTE + number * 20;
                self.add(arrival, due, &Length::LogNormal { median: 90.0, sigma: 0.3 });
            }
        }
        self.poisson(0, 6 * HOUR, 0.005, &Length::Exponential(10.0));
    }

    fn short_jobs(&mut self) {
        let length = Length::LogNormal { median: 0.05, sigma: 0.5 };
        self.poisson(0, HOUR, 20.0, &length);
        for minute in [5, 15, 25, 35, 45, 55] {
            for number in 0..10_000 {
                let at = minute * MINUTE + number / 10;
                self.add(at, at, &length);
            }
        }
    }

    /// JobRunr 8 writes the next run of a recurring job when the run before it is due, at the latest.
    fn recurring(&mut self) {
        for (n_jobs, every, median) in [(10, 5 * MINUTE, 15.0), (10, HOUR, 120.0), (5, 4 * HOUR, 900.0)] {
            for _ in 0..n_jobs {
                let first = self.random.random_range(1..=every / MINUTE) * MINUTE;
                let mut written = 0;
                for due in (0..).map(|n| first + n * every).take_while(|due| *due < 12 * HOUR) {
                    self.add(written, due, &Length::LogNormal { median, sigma: 0.3 });
                    written = due;
                }
            }
        }
    }
}

/// Seconds in milliseconds, at least one.
fn duration(seconds: f64) -> u32 {
    // A float-to-integer cast saturates.
    (seconds.min(LONGEST) * 1000.0).round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_workload_is_the_same_for_the_same_seed() {
        for builtin in Builtin::ALL {
            let (first, again) = (builtin.workload(7), builtin.workload(7));
            assert_eq!(first, again);
            assert_ne!(first, builtin.workload(8));
            assert_eq!(Builtin::from_name(builtin.name()), Some(builtin));
            assert!(first.jobs.is_sorted_by_key(|job| job.arrival), "{builtin:?}");
            assert!(first.jobs.iter().all(|job| 0 <= job.arrival && 0 < job.duration && job.arrival <= job.due));
        }
    }

    /// What the documentation says of them.
    #[test]
    fn builtin_workloads_are_as_described() {
        let check = |builtin: Builtin, n_jobs: std::ops::Range<usize>, hours: i64, mean: std::ops::Range<f64>| {
            let workload = builtin.workload(1);
            let work: f64 = workload.jobs.iter().map(|job| f64::from(job.duration) / 1000.0).sum();
            let found = work / workload.jobs.len() as f64;
            assert!(n_jobs.contains(&workload.jobs.len()), "{builtin:?}: {} jobs", workload.jobs.len());
            assert!(workload.last_due() <= hours * HOUR, "{builtin:?}: {}", workload.last_due());
            assert!((hours - 2) * HOUR < workload.last_due() || hours < 3, "{builtin:?}: {}", workload.last_due());
            assert!(mean.contains(&found), "{builtin:?}: {found} s");
        };
        check(Builtin::Burst, 1220..1320, 2, 20.0..24.0);
        check(Builtin::Steady, 14_000..14_800, 4, 9.7..10.3);
        check(Builtin::Sinusoid, 85_000..88_000, 24, 9.8..10.2);
        check(Builtin::Batch, 950..1050, 6, 80.0..96.0);
        check(Builtin::LongTail, 4_000..4_600, 6, 25.0..50.0);
        check(Builtin::ShortJobs, 130_000..134_000, 1, 0.055..0.059);
        check(Builtin::Recurring, 1_500..1_620, 12, 30.0..45.0);
    }
}
