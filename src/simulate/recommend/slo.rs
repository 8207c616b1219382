//! The promise: how long jobs may wait.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::duration;
use crate::simulate::{Latency, Millis, SimulationResult};

/// A promise such as `p95 latency <= PT1M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slo {
    /// Which wait.
    pub percentile: Percentile,
    /// The longest that it may be.
    pub limit: Millis,
}

/// Which of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percentile {
    /// The mean.
    Mean,
    /// The median.
    P50,
    /// 95 % of the jobs.
    P95,
    /// 99 % of the jobs.
    P99,
    /// All jobs.
    Max,
}

/// A text that is no promise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not allowed; use p50, p95, p99, mean or max, and a duration: \"p95 latency <= PT1M\"")]
pub struct SloError {
    text: String,
}

impl Percentile {
    const ALL: [Self; 5] = [Self::Mean, Self::P50, Self::P95, Self::P99, Self::Max];

    fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} latency <= {}", self.percentile, duration::format(jiff::SignedDuration::from_millis(self.limit)))
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let error = || SloError { text: text.to_owned() };
        let (left, right) = text.split_once("<=").ok_or_else(error)?;
        let mut words = left.split_whitespace();
        let name = words.next().ok_or_else(error)?.to_lowercase();
        let percentile = Percentile::ALL.into_iter().find(|percentile| percentile.name() == name).ok_or_else(error)?;
        if words.next() != Some("latency") || words.next().is_some() {
            return Err(error());
        }
        let limit = duration::parse(right).ok().filter(|limit| !limit.is_negative()).ok_or_else(error)?;
        let limit = Millis::try_from(limit.as_millis()).map_err(|_| error())?;
        Ok(Self { percentile, limit })
    }
}

impl Slo {
    /// Returns the wait that the promise is about, in seconds.
    #[must_use]
    pub fn wait(self, latency: &Latency) -> f64 {
        match self.percentile {
            Percentile::Mean => latency.mean,
            Percentile::P50 => latency.p50,
            Percentile::P95 => latency.p95,
            Percentile::P99 => latency.p99,
            Percentile::Max => latency.max,
        }
    }

    /// Returns whether a result keeps the promise: also, all jobs are done.
    #[must_use]
    pub fn is_kept(self, result: &SimulationResult) -> bool {
        let is_complete = result.jobs_undone() == 0;
        is_complete && self.wait(&result.latency_seconds) * 1000.0 <= self.limit as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slo_is_read_as_it_is_written() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<Slo>().ok().map(|slo| slo.to_string()).as_deref(), expected, "{text}");
        };
        check("p95 latency <= PT1M", Some("p95 latency <= PT1M"));
        check(" P99  latency<=PT90S ", Some("p99 latency <= PT1M30S"));
        check("max latency <= PT0S", Some("max latency <= PT0S"));
        for wrong in [
            "",
            "p95 latency < PT1M",
            "p90 latency <= PT1M",
            "p95 <= PT1M",
            "p95 latency <= 60",
            "p95 latency <= -PT1S",
        ] {
            check(wrong, None);
        }
    }
}
