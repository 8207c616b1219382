//! How many pods a metric asks for.
//!
//! Follows `GetExternalPerPodMetricReplicas` and `GetExternalMetricReplicas` in Kubernetes' `replica_calculator.go`, with numbers as
//! KEDA passes them (`quantityFromFloat64` in its `pkg/scalers/scaler.go`).

/// How the HPA compares a metric with its target: `triggers[].metricType` of a ScaledObject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricType {
    /// All pods share the value, and each should have `target` of it: `ceil(value / target)` pods. KEDA's default.
    #[default]
    AverageValue,
    /// The value is a ratio that should be near the target: `ceil(value / target × ready pods)` pods.
    Value,
}

impl MetricType {
    /// The name in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
        }
    }
}

/// What the HPA gets for a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricReading {
    /// How the value is compared with the target.
    pub metric_type: MetricType,
    /// The target, in the metric's unit.
    pub target: f64,
    /// The value, in the metric's unit; `None` if it could not be read.
    pub value: Option<f64>,
}

/// The pods of a workload: three numbers that differ while it scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// Wanted pods: the workload's `spec.replicas`.
    pub spec: u32,
    /// Existing pods, in any phase: `status.replicas`.
    pub status: u32,
    /// Running and ready pods.
    pub ready: u32,
}

impl Replicas {
    /// A workload that does not scale: all `count` pods exist, and `ready` of them are ready.
    #[must_use]
    pub fn settled(count: u32, ready: u32) -> Self {
        Self { spec: count, status: count, ready }
    }
}

/// How much value ÷ target may differ from 1 before the HPA acts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The fraction by which it may be above.
    pub up: f64,
    /// The fraction by which it may be below.
    pub down: f64,
}

impl Default for Tolerance {
    /// 10 % in both directions: `--horizontal-pod-autoscaler-tolerance` of kube-controller-manager, its default.
    fn default() -> Self {
        Self { up: 0.1, down: 0.1 }
    }
}

impl Tolerance {
    fn contains(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Why the pods of a metric cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FormulaError {
    /// Kubernetes rejects a target that is not above zero, and KEDA rounds it to thousandths.
    #[error("target {0} is less than 0.001, the smallest that Kubernetes can compare with")]
    TargetTooSmall(f64),
    /// The value could not be read.
    #[error("the metric could not be read")]
    Unreadable,
    /// A `Value` metric is multiplied by the ready pods, and there is no pod at all.
    #[error("there are no pods yet to multiply by")]
    NoPods,
}

/// Returns how many pods a metric asks for while `replicas` are wanted and exist, `ready` of them ready. Not limited to min and max.
///
/// `value` and `target` are in the metric's unit. With zero replicas, the result is what Kubernetes would compute if it did not leave
/// them to KEDA: without a tolerance, and without multiplying.
///
/// # Errors
/// [`FormulaError::TargetTooSmall`] if the target is below 0.001 or not a number.
pub fn pods_wanted(
    metric_type: MetricType,
    value: f64,
    target: f64,
    replicas: u32,
    ready: u32,
    tolerance: Tolerance,
) -> Result<u32, FormulaError> {
    let reading = MetricReading { metric_type, target, value: Some(value) };
    one_metric(&reading, Replicas::settled(replicas, ready), tolerance)
}

/// Returns how many pods all metrics together ask for: the largest number that any of them asks for.
///
/// `None` leaves the replicas as they are: no metric could be read, or one could not be read and the others would scale down
/// (`computeReplicasForMetrics` in Kubernetes' `horizontal.go`).
pub(super) fn combine(metrics: &[MetricReading], replicas: Replicas, tolerance: Tolerance) -> Option<u32> {
    let asked: Vec<u32> = metrics.iter().filter_map(|metric| one_metric(metric, replicas, tolerance).ok()).collect();
    let most = asked.iter().copied().max()?;
    let some_invalid = asked.len() < metrics.len();
    if some_invalid && most < replicas.spec { None } else { Some(most) }
}

fn one_metric(reading: &MetricReading, replicas: Replicas, tolerance: Tolerance) -> Result<u32, FormulaError> {
    let target = thousandths(reading.target);
    if target <= 0.0 {
        return Err(FormulaError::TargetTooSmall(reading.target));
    }
    let value = thousandths(reading.value.ok_or(FormulaError::Unreadable)?);
    match reading.metric_type {
        MetricType::AverageValue => Ok(average_value(value, target, replicas.status, tolerance)),
        MetricType::Value => ratio(value / target, replicas, tolerance),
    }
}

fn average_value(value: f64, target: f64, status: u32, tolerance: Tolerance) -> u32 {
    // Without pods this is infinite or not a number, and neither is within the tolerance. Kubernetes relies on that too.
    let ratio = value / (target * f64::from(status));
    if tolerance.contains(ratio) { status } else { whole_pods(value / target) }
}

fn ratio(ratio: f64, replicas: Replicas, tolerance: Tolerance) -> Result<u32, FormulaError> {
    if replicas.spec == 0 {
        return Ok(whole_pods(ratio));
    }
    if tolerance.contains(ratio) {
        return Ok(replicas.spec);
    }
    if replicas.status == 0 {
        return Err(FormulaError::NoPods);
    }
    Ok(whole_pods(ratio * f64::from(replicas.ready)))
}

/// Rounds up to whole pods. Saturates at the maximum of `i32`, beyond which Kubernetes' conversion is undefined.
fn whole_pods(pods: f64) -> u32 {
    // A float-to-integer cast saturates, and NaN becomes zero.
    pods.ceil().min(f64::from(i32::MAX)) as u32
}

/// Returns a number as the HPA gets it: KEDA prints it with three decimals, and the HPA counts in thousandths. NaN, infinite and
/// negative numbers become 0 (KEDA 2.20 and later).
fn thousandths(number: f64) -> f64 {
    if !number.is_finite() || number < 0.0 {
        return 0.0;
    }
    // Printed, not multiplied: `1.0005 * 1000` rounds up although 1.0005 is stored as slightly less.
    let printed = format!("{number:.3}").replace('.', "");
    printed.parse().unwrap_or(f64::MAX)
}
