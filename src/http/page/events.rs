//! The stream of server-sent events: one whenever something has changed, and from time to time in any case, because ages grow.

use std::time::Duration;

use axum::body::Body;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a stream lasts. The browser then opens another.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// How long after a change the event is sent, so that changes which belong together are seen together. Longer than a view lives.
const DELAY: Duration = Duration::from_millis(500);
/// The shortest interval between two events, and the longest.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How soon the browser comes back after its connection was lost.
const RETRY: &str = "retry: 1000\n\n";
const EVENT: &str = "data: changed\n\n";

/// Returns the stream as a body. It ends with the connection.
pub(super) fn body(changes: Option<watch::Receiver<()>>) -> Body {
    let state = changes.map(|changes| (changes, None::<Instant>));
    Body::from_stream(stream::unfold(state, async |state| {
        let (mut changes, sent_at) = state?;
        let Some(sent_at) = sent_at else {
            // What has changed between the page and this stream is not missed: the first event comes at once.
            let first = [RETRY, EVENT].concat();
            return Some((Ok::<_, std::convert::Infallible>(first), Some((changes, Some(Instant::now())))));
        };
        next(&mut changes, sent_at).await;
        Some((Ok(EVENT.to_owned()), Some((changes, Some(Instant::now())))))
    }))
}

/// Waits until the next event is to be sent.
async fn next(changes: &mut watch::Receiver<()>, sent_at: Instant) {
    let [least, most] = INTERVALS;
    let changed = timeout_at(sent_at + most, changes.changed()).await;
    if let Ok(Ok(())) = changed {
        sleep_until((Instant::now() + DELAY).max(sent_at + least)).await;
        // The event covers what has changed meanwhile.
        changes.mark_unchanged();
    } else {
        // Nothing has changed, or nothing is recorded any more.
        sleep_until(sent_at + most).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_follow_changes_at_a_bounded_rate() {
        let changes = watch::Sender::new(());
        let mut events = body(Some(changes.subscribe())).into_data_stream();
        let began = Instant::now();
        let mut next = async || {
            let event = events.next().await.unwrap().unwrap();
            assert!(event.ends_with(EVENT.as_bytes()));
            began.elapsed().as_millis()
        };
        assert_eq!(next().await, 0);
        changes.send_replace(());
        assert_eq!(next().await, 1_000);
        assert_eq!(next().await, 6_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        changes.send_replace(());
        changes.send_replace(());
        assert_eq!(next().await, 8_500);
        assert_eq!(next().await, 13_500);
        drop(changes);
        assert_eq!(next().await, 18_500);
    }
}
