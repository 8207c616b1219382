//! KEDA's calls of the scaler, over gRPC.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::Channel;

use super::scaled_object::PlayedTrigger;
use crate::grpc::proto::external_scaler_client::ExternalScalerClient;
use crate::grpc::proto::{GetMetricsRequest, ScaledObjectRef};

/// A client of the demo's scaler. Clones share the connection.
#[derive(Clone)]
pub(super) struct ScalerClient {
    client: ExternalScalerClient<Channel>,
}

/// What the scaler says of a trigger, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TargetAndValue {
    pub(super) target: f64,
    pub(super) value: f64,
}

impl ScalerClient {
    pub(super) fn new(channel: Channel) -> Self {
        Self { client: ExternalScalerClient::new(channel) }
    }

    /// Asks whether a trigger is active.
    pub(super) async fn is_active(&mut self, trigger: &PlayedTrigger) -> Result<bool, Status> {
        Ok(self.client.is_active(trigger.reference.clone()).await?.into_inner().result)
    }

    /// Asks for target and value, as KEDA does for itself and for the HPA.
    pub(super) async fn target_and_value(&mut self, trigger: &PlayedTrigger) -> Result<TargetAndValue, Status> {
        let reference = trigger.reference.clone();
        let specs = self.client.get_metric_spec(reference.clone()).await?.into_inner().metric_specs;
        let spec = specs.into_iter().next().ok_or_else(|| Status::internal("no metric spec returned"))?;
        let request = GetMetricsRequest { scaled_object_ref: Some(reference), metric_name: spec.metric_name };
        let values = self.client.get_metrics(request).await?.into_inner().metric_values;
        // KEDA adds up what it gets.
        let value = values.iter().map(|value| number(value.metric_value_float, value.metric_value)).sum();
        Ok(TargetAndValue { target: number(spec.target_size_float, spec.target_size), value })
    }

    /// Keeps the stream of a trigger open, and sends `index` for each `true`. A stream that ends is opened again after
    /// `pause`.
    pub(super) fn forward_pushes(
        &self,
        reference: ScaledObjectRef,
        index: usize,
        pause: Duration,
        sender: mpsc::Sender<usize>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut client = self.client.clone();
        async move {
            loop {
                if let Ok(stream) = client.stream_is_active(reference.clone()).await {
                    let mut stream = stream.into_inner();
                    while let Ok(Some(push)) = stream.message().await {
                        if push.result && sender.send(index).await.is_err() {
                            return;
                        }
                    }
                }
                sleep(pause).await;
            }
        }
    }
}

/// A number of KEDA's contract: the integer counts if the fraction is 0.
fn number(float: f64, integer: i64) -> f64 {
    if 0.0 < float { float } else { integer as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_counts_if_the_fraction_is_zero() {
        assert_eq!(number(0.8, 1), 0.8);
        assert_eq!(number(0.0, 3), 3.0);
    }
}
