//! Tables with more jobs than one scan covers: no count is silently wrong, and none is 0 while there is something to do.

use std::time::Duration;

use jiff::SignedDuration;
use jobrunr_scaler::config::{ReadBounds, StorageConfig};
use jobrunr_scaler::jobrunr::{Count, Filter, Question, Questions, Snapshot};
use jobrunr_scaler::storage::Storage;

use super::{demand, from_cursors, on_every_database, plain, question, queue, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{job, scheduled};

on_every_database!(
    jobs_before_the_cursor_are_counted_at_once,
    many_look_aheads_are_answered_by_one_scan;
    sql: long_queue_is_counted_in_its_share_of_the_time,
    blocked_jobs_of_a_long_queue_are_counted_with_it,
    unsupported_filter_makes_no_read_a_full_scan,
    overdue_jobs_beyond_every_scan_are_found,
    count_that_ended_at_its_bound_is_truncated,
    count_limit_above_the_bound_is_reached,
    due_jobs_are_counted_without_an_index_on_the_due_time,
    due_jobs_are_counted_in_the_order_of_an_index_on_state_and_due_time,
);

fn due(snapshot: &Snapshot, look_ahead_seconds: i64) -> Count {
    queue(snapshot, &Filter::default()).scheduled[&SignedDuration::from_secs(look_ahead_seconds)]
}

/// 20,000 jobs that are due in two days hide 500 overdue ones from a scan of the state; 12,000 finished ones hide them from a
/// scan by due time.
async fn overdue_jobs_beyond_every_scan_are_found(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_series("SCHEDULED", 20_000, "-n", Some("172800 + n")).await;
    database.insert_series("SCHEDULED", 500, "-3600", Some("-3600 - n")).await;
    database.insert_series("SUCCEEDED", 12_000, "-1", Some("-n / 10")).await;
    database.analyze().await;
    let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
    let count = due(&snapshot, 60);
    assert!((1..=500).contains(&count.n_jobs) && count.limited, "{kind:?}: {count:?}");
    assert!(!snapshot.is_idle(&Questions::from_iter([demand()])), "{kind:?}");

    // Once they are gone, the count is an exact 0.
    let jobs = database.jobs();
    let mut session = database.config().connect().await.unwrap();
    let questions = Questions::from_iter([demand()]);
    let before = session.read(&questions, database.now).await.unwrap();
    assert_eq!(due(&before, 60), count, "{kind:?}");
    let now = database.instant(database.now);
    database
        .execute(&format!("UPDATE {jobs} SET state = 'DELETED' WHERE state = 'SCHEDULED' AND scheduledAt < {now}"))
        .await;
    let after = session.read(&questions, database.now).await.unwrap();
    assert_eq!(due(&after, 60), Count { n_jobs: 0, limited: false }, "{kind:?}");
    session.close().await;
}

async fn count_that_ended_at_its_bound_is_truncated(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_series("SCHEDULED", 15_000, "-n", Some("172800 + n")).await;
    // Due jobs are mixed with finished ones.
    database.insert_series("SCHEDULED", 15_000, "-3600", Some("-n * 2")).await;
    database.insert_series("SUCCEEDED", 15_000, "-1", Some("-n * 2 - 1")).await;
    database.analyze().await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    let count = due(&snapshot, 60);
    assert!(count.limited && (1_000..=10_000).contains(&count.n_jobs), "{kind:?}: {count:?}");
}

async fn count_limit_above_the_bound_is_reached(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_series("SCHEDULED", 12_000, "-n", Some("-n")).await;
    for (limit, n_jobs, limited) in [(10_000, 10_000, true), (12_000, 12_000, true), (50_000, 12_000, false)] {
        let config = StorageConfig { count_limit: Some(limit), ..database.config() };
        let count = due(&read(&database, &config, [plain()]).await.unwrap(), 60);
        assert_eq!((count.n_jobs, count.limited), (n_jobs, limited), "{kind:?} {limit}");
    }
}

/// Two hosts of the application whose clocks are at least 31 s apart: the jobs of one are before the cursor that the jobs of
/// the other have set.
async fn jobs_before_the_cursor_are_counted_at_once(kind: Kind) {
    let mut database = Database::new(kind).await;
    let config = from_cursors(&database);
    for (state, ago) in [("ENQUEUED", 31.0), ("ENQUEUED", 4_000.0), ("PROCESSING", 31.0), ("PROCESSING", 4_000.0)] {
        database.clear().await;
        let mut session = config.connect().await.unwrap();
        let questions = Questions::from_iter([demand()]);
        let mut idle = session.read(&questions, database.now).await.unwrap();
        idle = session.read(&questions, idle.read_at).await.unwrap();
        assert!(idle.is_idle(&questions), "{kind:?}");
        assert!(session.is_unchanged(&questions, &idle).await.unwrap(), "{kind:?}");
        database.insert_jobs(&[job(state, ago)]).await;
        assert!(!session.is_unchanged(&questions, &idle).await.unwrap(), "{kind:?} {state}");
        let snapshot = session.read(&questions, database.now).await.unwrap();
        let queue = queue(&snapshot, &Filter::default());
        assert_eq!(queue.enqueued.n_jobs + queue.processing.n_jobs, 1, "{kind:?} {state} {ago}");
        assert!(!snapshot.is_idle(&questions), "{kind:?} {state} {ago}");
        session.close().await;
    }
}

async fn long_queue_is_counted_in_its_share_of_the_time(kind: Kind) {
    let mut database = Database::new(kind).await;
    for count_limit in [None, Some(10_000)] {
        for (full_scan_share, is_due) in [(0, true), (u32::MAX, false)] {
            database.clear().await;
            let full_scan_interval = Duration::from_secs(3_600);
            let long_count_interval = Duration::ZERO;
            let bounds =
                ReadBounds { full_scan_share, full_scan_interval, long_count_interval, ..ReadBounds::default() };
            let mut session = StorageConfig { bounds, count_limit, ..database.config() }.connect().await.unwrap();
            let mut check = async |database: &Database, expected: u64| {
                let questions = Questions::from_iter([plain()]);
                let snapshot = session.read(&questions, database.now).await.unwrap();
                let enqueued = queue(&snapshot, &Filter::default()).enqueued;
                assert_eq!(enqueued, Count { n_jobs: expected, limited: false }, "{kind:?} {count_limit:?} {is_due}");
                session.is_unchanged(&questions, &snapshot).await.unwrap()
            };
            database.insert_jobs(&vec![job("ENQUEUED", 1.0); 999]).await;
            check(&database, 999).await;
            // It has become long: counted at once.
            database.insert_jobs(&vec![job("ENQUEUED", 1.0); 501]).await;
            check(&database, 1_500).await;
            database.insert_jobs(&vec![job("ENQUEUED", 1.0); 300]).await;
            let is_unchanged = check(&database, if is_due { 1_800 } else { 1_500 }).await;
            assert!(
                is_due || !is_unchanged,
                "{kind:?}: a count that was repeated has to be counted, even if nothing changes"
            );
            // A short queue is always counted, and so is one that becomes long again.
            database.move_jobs("ENQUEUED", "SUCCEEDED").await;
            check(&database, 0).await;
            database.insert_jobs(&vec![job("ENQUEUED", 1.0); 1_200]).await;
            check(&database, 1_200).await;
            session.close().await;
        }
    }
}

/// With JobRunr Pro, jobs that wait for a mutex are subtracted from those that are enqueued: both have to be of the same read.
async fn blocked_jobs_of_a_long_queue_are_counted_with_it(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    let mut session = from_cursors(&database).connect().await.unwrap();
    database.insert_jobs(&vec![job("ENQUEUED", 1.0); 1_100]).await;
    for _ in 0..2 {
        let snapshot = session.read(&Questions::from_iter([plain()]), database.now).await.unwrap();
        let enqueued = queue(&snapshot, &Filter::default()).enqueued(false);
        assert_eq!(enqueued, Count { n_jobs: 1_100, limited: false }, "{kind:?}");
        database.insert_jobs(&vec![job("ENQUEUED", 1.0).mutex("a"); 1_200]).await;
    }
    session.close().await;
}

/// A filter that has no answer has no cursor. What shows that the others' are used is what they leave out.
async fn unsupported_filter_makes_no_read_a_full_scan(kind: Kind) {
    let mut database = Database::new(kind).await;
    let mut session = from_cursors(&database).connect().await.unwrap();
    let unsupported = question(Filter { priority: Some(1), ..Filter::default() }, 60);
    let mut count = async |database: &Database, questions: &[Question]| {
        let questions = Questions::from_iter(questions.to_vec());
        let snapshot = session.read(&questions, database.now).await.unwrap();
        queue(&snapshot, &Filter::default()).enqueued.n_jobs
    };
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    assert_eq!(count(&database, &[plain()]).await, 1, "{kind:?}");
    database.insert_jobs(&[job("ENQUEUED", 4_000.0)]).await;
    let alone = count(&database, &[plain()]).await;
    assert_eq!(count(&database, &[plain(), unsupported]).await, alone, "{kind:?}");
}

async fn many_look_aheads_are_answered_by_one_scan(kind: Kind) {
    let mut database = Database::new(kind).await;
    for due_in in [-5.0, 0.0, 10.0, 10.0, 195.0, 9_999.0] {
        database.insert_jobs(&[scheduled(due_in)]).await;
    }
    let look_aheads = 1..=195;
    let questions =
        look_aheads.clone().map(|ahead| Question { demand: ahead % 2 == 0, ..question(Filter::default(), ahead) });
    let snapshot = read(&database, &database.config(), questions).await.unwrap();
    for ahead in look_aheads {
        let expected = match ahead {
            ..10 => (2, Some(10)),
            10..195 => (4, Some(195)),
            _ => (5, Some(9_999)),
        };
        let next = snapshot.next_scheduled_at(&question(Filter::default(), ahead));
        let next = next.map(|at| at.duration_since(database.now).as_secs());
        assert_eq!((due(&snapshot, ahead).n_jobs, next), expected, "{kind:?} {ahead}");
    }
}

async fn due_jobs_are_counted_without_an_index_on_the_due_time(kind: Kind) {
    let mut database = Database::with(kind, Layout { hand_made: true, ..Layout::default() }).await;
    let bounds = ReadBounds { due_jobs: 5, ..ReadBounds::default() };
    let config = StorageConfig { bounds, count_limit: Some(5), ..database.config() };
    for n in 0..20_u8 {
        database.insert_jobs(&[scheduled(900.0 + f64::from(n))]).await;
    }
    database.insert_jobs(&[scheduled(-1.0), scheduled(-2.0)]).await;
    let snapshot = read(&database, &config, [plain()]).await.unwrap();
    assert_eq!(due(&snapshot, 60), Count { n_jobs: 2, limited: false }, "{kind:?}");
    assert_eq!(snapshot.next_scheduled_at(&plain()), Some(database.now + SignedDuration::from_secs(900)), "{kind:?}");
}

/// The index of JobRunr Pro.
async fn due_jobs_are_counted_in_the_order_of_an_index_on_state_and_due_time(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jobs = database.jobs();
    database.execute(&format!("CREATE INDEX by_state_and_time ON {jobs} (state, scheduledAt)")).await;
    let bounds = ReadBounds { due_jobs: 5, ..ReadBounds::default() };
    let config = StorageConfig { bounds, count_limit: Some(5), ..database.config() };
    for n in 0..20_u8 {
        database.insert_jobs(&[scheduled(900.0 + f64::from(n)), job("SUCCEEDED", 1.0).due_in(-0.5)]).await;
    }
    let mut check = async |n_due: u64, expected: Count| {
        let snapshot = read(&database, &config, [plain()]).await.unwrap();
        assert_eq!(due(&snapshot, 60), expected, "{kind:?} {n_due}");
        database.insert_jobs(&[scheduled(-1.0)]).await;
    };
    for n_due in 0..5 {
        check(n_due, Count { n_jobs: n_due, limited: false }).await;
    }
    check(5, Count { n_jobs: 5, limited: true }).await;
    check(6, Count { n_jobs: 5, limited: true }).await;
}
