//! What happened over time, in as many columns as a chart or table has.

use crate::simulate::SimulationResult;

/// What happened in one column: the most of each.
pub(super) struct Columns {
    /// From the start to the end of the simulation, in seconds.
    seconds: f64,
    pub(super) waiting: Vec<f64>,
    pub(super) running: Vec<f64>,
    /// The replicas wanted.
    pub(super) wanted: Vec<f64>,
    /// The pods that existed.
    pub(super) pods: Vec<f64>,
}

impl Columns {
    /// Divides `seconds` into `n` columns.
    pub(super) fn new(result: &SimulationResult, seconds: f64, n: usize) -> Self {
        let series = &result.series;
        let width = seconds / n as f64 / series.interval_seconds.max(0.001);
        // The series ends when the policy is at rest.
        let rest = |last: Option<u64>| if result.jobs_unfinished == 0 { 0 } else { last.unwrap_or_default() };
        let n_pods = result.replicas.last().map_or(0, |(_, replicas)| *replicas);
        let pods: Vec<u64> = series.pods.iter().copied().map(u64::from).collect();
        Self {
            seconds,
            waiting: largest(&series.waiting, rest(series.waiting.last().copied()), width, n),
            running: largest(&series.running, rest(series.running.last().copied()), width, n),
            wanted: largest_wanted(&result.replicas, seconds, n),
            pods: largest(&pods, n_pods.into(), width, n),
        }
    }

    /// Returns when a column begins and ends, in seconds.
    pub(super) fn span(&self, column: usize) -> (f64, f64) {
        let width = self.seconds / self.waiting.len() as f64;
        (column as f64 * width, (column + 1) as f64 * width)
    }
}

/// The largest value of each column of `width` intervals; `rest` where there are no intervals any longer.
fn largest(values: &[u64], rest: u64, width: f64, n: usize) -> Vec<f64> {
    let column = |column: usize| {
        let from = (column as f64 * width) as usize;
        let to = ((column + 1) as f64 * width).ceil() as usize;
        let range = from.min(values.len())..to.max(from + 1).min(values.len());
        values[range].iter().copied().max().unwrap_or(rest) as f64
    };
    (0..n).map(column).collect()
}

fn largest_wanted(replicas: &[(f64, u32)], seconds: f64, n: usize) -> Vec<f64> {
    let mut changes = replicas.iter().peekable();
    let mut current = 0;
    let column = |column: usize| {
        let until = seconds * (column + 1) as f64 / n as f64;
        let mut largest = current;
        while let Some((_, replicas)) = changes.next_if(|(at, _)| *at < until) {
            largest = largest.max(*replicas);
            current = *replicas;
        }
        f64::from(largest)
    };
    (0..n).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_largest_value_and_end_at_rest() {
        let check = |width: f64, n: usize, expected: &[f64]| assert_eq!(largest(&[1, 5, 2, 4], 0, width, n), expected);
        check(1.0, 5, &[1.0, 5.0, 2.0, 4.0, 0.0]);
        check(2.0, 3, &[5.0, 4.0, 0.0]);
        check(0.5, 4, &[1.0, 1.0, 5.0, 5.0]);
        check(1.5, 2, &[5.0, 5.0]);
        assert_eq!(largest_wanted(&[(0.0, 0), (1.0, 3), (1.5, 1)], 4.0, 4), [0.0, 3.0, 1.0, 1.0]);
    }
}
