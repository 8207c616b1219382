//! What is remembered, for how long, and how much of it.

use super::*;
use crate::metrics::Metrics;
use crate::scaling::Reason;

fn trigger(metadata: &str) -> Trigger {
    Trigger::parse(metadata.split(' ').filter_map(|pair| pair.split_once('='))).unwrap()
}

fn decision(value: f64) -> Decision {
    let reasons = vec![Reason::Active { value, activation_target: 0.0 }];
    Decision { value, target: 8.0, active: 0.0 < value, truncated: false, reasons }
}

#[tokio::test(start_paused = true)]
async fn recent_has_the_latest_decision_and_its_course() {
    let (recent, metrics) = (Recent::new(), Metrics::default());
    let (key, trigger) = (ScaledObjectKey::parse("shop", "worker").unwrap(), trigger("metric=demand targetValue=8"));
    let id = metrics.trigger_id(&key, &trigger);
    recent.record(id, &key, &trigger, &decision(40.0));
    recent.record_push(id);
    tokio::time::advance(Duration::from_secs(60)).await;
    recent.record(id, &key, &trigger, &decision(0.0));
    tokio::time::advance(Duration::from_secs(60)).await;
    recent.record_failure(id, &key, &trigger, "the database\nis away");
    let all = recent.triggers();
    let [known] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(known.decision, Some(decision(0.0)));
    assert_eq!((known.key(), known.failure.as_deref()), (&key, Some("the database\u{fffd}is away")));
    assert_eq!((known.asked_age, known.decision_age), (Duration::ZERO, Some(Duration::from_secs(60))));
    let ago = |columns: usize| known.columns[N_COLUMNS - 1 - columns];
    assert_eq!(ago(12), Column { ratio: Some(5.0), active: true, pushed: true, failed: false });
    assert_eq!(ago(6), Column { ratio: Some(0.0), ..Column::default() });
    assert_eq!(ago(0), Column { failed: true, ..Column::default() });
    // An answer ends the failure.
    recent.record(id, &key, &trigger, &decision(1.0));
    assert_eq!(recent.triggers()[0].failure, None);
    tokio::time::advance(UNUSED_TIMEOUT).await;
    assert_eq!(recent.triggers().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn recent_is_bounded() {
    let (recent, metrics) = (Recent::new(), Metrics::default());
    let key = ScaledObjectKey::parse("shop", "worker").unwrap();
    let record = |n: usize| {
        let trigger = trigger(&format!("metric=demand targetValue={n}"));
        recent.record(metrics.trigger_id(&key, &trigger), &key, &trigger, &decision(1.0));
    };
    (1..=MAX_TRIGGERS + 7).for_each(record);
    assert_eq!((recent.triggers().len(), recent.n_dropped()), (MAX_TRIGGERS, 7));
    // Those that nobody asks for make room.
    tokio::time::advance(UNUSED_TIMEOUT).await;
    record(MAX_TRIGGERS + 7);
    assert_eq!(recent.triggers().len(), 1);
    for n in 0..1_000 {
        recent.record_rejection(&key, &format!("{n}"));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let rejections = recent.rejections();
    assert_eq!((rejections.len(), rejections[0].why.as_str(), rejections[99].why.as_str()), (100, "999", "900"));
    recent.record_rejection(&key, "900");
    assert_eq!((recent.rejections()[0].times, recent.rejections().len()), (2, 100));
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(recent.rejections().len(), 0);
}

#[tokio::test]
async fn recent_notifies_of_changes_and_can_be_off() {
    let (recent, metrics) = (Recent::new(), Metrics::default());
    let (key, trigger) = (ScaledObjectKey::parse("shop", "worker").unwrap(), trigger("metric=demand targetValue=8"));
    let id = metrics.trigger_id(&key, &trigger);
    let mut changes = recent.changes().unwrap();
    recent.record(id, &key, &trigger, &decision(1.0));
    changes.changed().await.unwrap();
    recent.record_rejection(&key, "no");
    changes.changed().await.unwrap();
    let off = Recent::off();
    off.record(id, &key, &trigger, &decision(1.0));
    off.record_rejection(&key, "no");
    assert!(off.changes().is_none() && off.triggers().is_empty() && off.rejections().is_empty());
}
