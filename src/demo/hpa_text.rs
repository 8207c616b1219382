//! The HPA's decisions in words, with the numbers that led to them.

use super::scaled_object::PlayedObject;
use crate::kubernetes::hpa::{
    DOWNSCALE_STABILIZATION, HpaOutcome, HpaReason, MetricReading, MetricType, Replicas, Tolerance, pods_wanted,
};
use crate::text::number;

/// Returns why the HPA changes the replicas.
pub(super) fn hpa_reason(
    played: &PlayedObject,
    readings: &[MetricReading],
    replicas: Replicas,
    outcome: HpaOutcome,
) -> String {
    let max = played.object.rules.bounds.max;
    if outcome.replicas < replicas.spec {
        let behavior = played.object.behavior.as_ref();
        let window = behavior.map_or(DOWNSCALE_STABILIZATION, |behavior| behavior.scale_down.stabilization_window);
        return match outcome.reason {
            HpaReason::AboveMaximum => format!("the maximum is {max}"),
            HpaReason::ScaleDownLimit => format!("less was needed for {} s; scaleDown goes in steps", window.as_secs()),
            _ => format!("less was needed for {} s", window.as_secs()),
        };
    }
    let wanted = readings.iter().zip(&played.triggers).filter_map(|(reading, trigger)| {
        let value = reading.value?;
        let pods = pods_wanted(
            reading.metric_type,
            value,
            reading.target,
            replicas.status,
            replicas.ready,
            Tolerance::default(),
        )
        .ok()?;
        Some((pods, formula(&trigger.metric, reading, value, replicas.ready)))
    });
    // The metric that asks for the most pods decides.
    let Some((_, formula)) = wanted.max_by_key(|(pods, _)| *pods) else { return outcome.reason.to_string() };
    match outcome.reason {
        HpaReason::ScaleUpLimit => format!("{formula}; scaleUp goes in steps"),
        HpaReason::TooManyReplicas => format!("{formula}; the maximum is {max}"),
        _ => formula,
    }
}

/// `demand 40 / 8 = 5`
fn formula(metric: &str, reading: &MetricReading, value: f64, ready: u32) -> String {
    let (shown_value, target) = (number(value, 2), number(reading.target, 2));
    match reading.metric_type {
        MetricType::AverageValue => {
            format!("{metric} {shown_value} / {target} = {}", number(value / reading.target, 2))
        }
        MetricType::Value => {
            let pods = value / reading.target * f64::from(ready);
            format!("{metric} {shown_value} / {target} × {ready} ready pods = {}", number(pods, 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a reading with this value and target.
    fn reason(metric_type: MetricType, value: f64, target: f64, from: u32, to: u32, reason: HpaReason) -> String {
        let played = PlayedObject::new("127.0.0.1:9090").unwrap();
        let readings = [MetricReading { metric_type, target, value: Some(value) }];
        hpa_reason(&played, &readings, Replicas::settled(from, from), HpaOutcome { replicas: to, reason })
    }

    #[test]
    fn hpa_reason_shows_the_formula() {
        let within = HpaReason::DesiredWithinRange;
        assert_eq!(reason(MetricType::AverageValue, 40.0, 8.0, 4, 5, within), "demand 40 / 8 = 5");
        assert_eq!(reason(MetricType::Value, 1.0, 0.8, 5, 7, within), "demand 1 / 0.8 × 5 ready pods = 6.25");
    }

    #[test]
    fn hpa_reason_names_the_limit() {
        let limited = reason(MetricType::AverageValue, 40.0, 8.0, 1, 4, HpaReason::ScaleUpLimit);
        assert_eq!(limited, "demand 40 / 8 = 5; scaleUp goes in steps");
        let limited = reason(MetricType::AverageValue, 100.0, 8.0, 8, 10, HpaReason::TooManyReplicas);
        assert_eq!(limited, "demand 100 / 8 = 12.5; the maximum is 10");
        let down = reason(MetricType::AverageValue, 0.0, 8.0, 5, 4, HpaReason::ScaleDownLimit);
        assert_eq!(down, "less was needed for 300 s; scaleDown goes in steps");
    }
}
