//! The live values: what the scaler answers for exactly those jobs and pods that are shown.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Status;

use super::fast_clock::FastClock;
use super::scaled_object::{PlayedObject, PlayedTrigger};
use super::scaler_client::{ScalerClient, TargetAndValue};
use super::state::{DemoState, LiveAnswer};
use crate::clock::TimeSource;
use crate::kubernetes::hpa::{Replicas, Tolerance, pods_wanted};

/// How often the scaler is asked, by the machine's clock.
const EVERY: Duration = Duration::from_millis(100);

/// Asks for the live values.
pub(super) struct LiveValues {
    client: ScalerClient,
    played: PlayedObject,
    clock: &'static FastClock,
    state: Arc<DemoState>,
    refresh: Duration,
}

impl LiveValues {
    /// `refresh` is how old an answer of the scaler may be, by the machine's clock.
    pub(super) fn new(
        client: ScalerClient,
        played: PlayedObject,
        clock: &'static FastClock,
        state: Arc<DemoState>,
        refresh: Duration,
    ) -> Self {
        Self { client, played, clock, state, refresh }
    }

    /// Asks until dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.measure().await;
        }
    }

    /// Nothing is written meanwhile. What the scaler answers after a refresh was therefore read after the last write.
    async fn measure(&mut self) {
        let state = Arc::clone(&self.state);
        let unchanged = state.lock_tables().await;
        sleep(self.refresh).await;
        let mut answers = Vec::new();
        for trigger in &self.played.triggers {
            answers.push(answer(&mut self.client, trigger, state.replicas()).await.unwrap_or_default());
        }
        state.show(self.clock.now(), answers);
        drop(unchanged);
    }
}

async fn answer(client: &mut ScalerClient, trigger: &PlayedTrigger, replicas: Replicas) -> Result<LiveAnswer, Status> {
    let TargetAndValue { target, value } = client.target_and_value(trigger).await?;
    let active = client.is_active(trigger).await?;
    let Replicas { status, ready, .. } = replicas;
    let pods = pods_wanted(trigger.metric_type, value, target, status, ready, Tolerance::default()).ok();
    Ok(LiveAnswer { value: Some(value), target: Some(target), active: Some(active), pods })
}
