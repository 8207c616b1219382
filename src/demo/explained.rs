//! The HPA's decisions in words, with the numbers they were made of.

use super::scaled_object::TRIGGERS;
use crate::kubernetes::hpa::{HpaOutcome, HpaReason, MetricReading, MetricType, Replicas, pods_wanted};

/// A number of KEDA's contract: the whole one counts where the fraction is 0.
pub(super) fn number(float: f64, whole: i64) -> f64 {
    if 0.0 < float { float } else { whole as f64 }
}

/// Why the HPA changes the replicas.
pub(super) fn hpa_reason(readings: &[MetricReading], replicas: Replicas, outcome: HpaOutcome, max: u32) -> String {
    if outcome.replicas < replicas.spec {
        return match outcome.reason {
            HpaReason::AboveMaximum => format!("{max} pods are the most allowed"),
            _ => "no metric has asked for more in the last 5 minutes".to_owned(),
        };
    }
    let asked = readings.iter().zip(TRIGGERS).filter_map(|(reading, trigger)| {
        let value = reading.value?;
        let pods = pods_wanted(reading.metric_type, value, reading.target, replicas.status, replicas.ready).ok()?;
        Some((pods, formula(trigger.metric, reading, value, replicas.ready)))
    });
    // The metric that asks for the most pods decides.
    let Some((_, formula)) = asked.max_by_key(|(pods, _)| *pods) else { return outcome.reason.to_string() };
    match outcome.reason {
        HpaReason::ScaleUpLimit => format!("{formula}; one step is to 4 or double"),
        HpaReason::TooManyReplicas => format!("{formula}; {max} are the most allowed"),
        HpaReason::ScaleDownStabilized => "a recommendation of the last 5 minutes still counts".to_owned(),
        _ => formula,
    }
}

/// `scheduled-count 40 / 8 = 5`
fn formula(metric: &str, reading: &MetricReading, value: f64, ready: u32) -> String {
    let (shown_value, target) = (shown(value), shown(reading.target));
    match reading.metric_type {
        MetricType::AverageValue => format!("{metric} {shown_value} / {target} = {}", shown(value / reading.target)),
        MetricType::Value => {
            let pods = value / reading.target * f64::from(ready);
            format!("{metric} {shown_value} / {target} × {ready} ready pods = {}", shown(pods))
        }
    }
}

/// A number as people write it, with at most two decimals.
pub(super) fn shown(number: f64) -> String {
    crate::text::number(number, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trigger of that place has this value and target, the others 0.
    fn reason(place: usize, value: f64, target: f64, from: u32, to: u32, reason: HpaReason) -> String {
        let readings: Vec<MetricReading> = (0..TRIGGERS.len())
            .map(|trigger| MetricReading {
                metric_type: TRIGGERS[trigger].metric_type,
                target: if trigger == place { target } else { 1.0 },
                value: Some(if trigger == place { value } else { 0.0 }),
            })
            .collect();
        hpa_reason(&readings, Replicas::settled(from, from), HpaOutcome { replicas: to, reason }, 10)
    }

    #[test]
    fn the_metric_that_asks_for_the_most_is_named_with_its_numbers() {
        let within = HpaReason::DesiredWithinRange;
        assert_eq!(reason(0, 40.0, 8.0, 4, 5, within), "scheduled-count 40 / 8 = 5");
        assert_eq!(reason(1, 1.0, 0.8, 5, 7, within), "worker-usage 1 / 0.8 × 5 ready pods = 6.25");
        assert_eq!(reason(2, 450.0, 300.0, 2, 3, within), "enqueued-latency 450 / 300 × 2 ready pods = 3");
    }

    #[test]
    fn a_limit_is_named_too() {
        let limited = reason(0, 40.0, 8.0, 1, 4, HpaReason::ScaleUpLimit);
        assert_eq!(limited, "scheduled-count 40 / 8 = 5; one step is to 4 or double");
        let limited = reason(0, 100.0, 8.0, 8, 10, HpaReason::TooManyReplicas);
        assert_eq!(limited, "scheduled-count 100 / 8 = 12.5; 10 are the most allowed");
    }

    #[test]
    fn the_whole_number_counts_where_the_fraction_is_zero() {
        assert_eq!(number(0.8, 1), 0.8);
        assert_eq!(number(0.0, 3), 3.0);
    }
}
