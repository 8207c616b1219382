use std::collections::BTreeMap;

use super::*;

#[test]
fn blocked_jobs_of_a_queue_that_is_not_counted_leave_some_free() {
    let check = |n_blocked: u64, n_searched: u64, expected: u64| {
        let LongQueue { n_enqueued, n_blocked: part, .. } = LongQueue::uncounted(n_blocked, n_searched);
        assert_eq!(n_enqueued - part, expected, "{n_blocked} of {n_searched}");
    };
    check(0, 10_000, 1_000);
    check(5_000, 10_000, 500);
    check(9_999, 10_000, 1);
    check(10_000, 10_000, 1);
    check(700, 1_000, 300);
    check(7, 0, 993);
    check(u64::MAX, u64::MAX, 999);
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn snapshot(filter: &Filter, enqueued: Option<i64>, read: i64) -> Snapshot {
    let queue = Queue { oldest_enqueued_at: enqueued.map(at), ..Queue::default() };
    let queues = BTreeMap::from([(filter.clone(), Ok(queue))]);
    Snapshot { queues, ..Snapshot::empty(at(read), 4) }
}

#[tokio::test(start_paused = true)]
async fn cover_repeats_full_scans_by_their_cost() {
    let filter = Filter { priority: Some(1), ..Filter::default() };
    let other = Filter { priority: Some(2), ..Filter::default() };
    let bounds = ReadBounds::default();
    let check = async |took: u64, after: u64, expected: bool| {
        let mut cursors = QueueCursors::default();
        assert!(!cursors.cover([&filter].into_iter(), &bounds, Effort::Any));
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(took)).await;
        cursors.reset(&snapshot(&filter, Some(0), 10), began);
        tokio::time::advance(Duration::from_millis(after - took)).await;
        assert_eq!(cursors.cover([&filter].into_iter(), &bounds, Effort::Any), expected, "{took} ms, after {after} ms");
        assert!(!cursors.cover([&other].into_iter(), &bounds, Effort::Any));
    };
    check(0, 0, false).await;
    check(1, 1_000, false).await;
    check(80, 1_000, true).await;
    check(80, 1_599, true).await;
    check(80, 1_600, false).await;
    check(6_000, 29_999, true).await;
    check(6_000, 30_000, false).await;
}

#[test]
fn advance_sets_a_cursor_before_the_oldest_job_or_the_read() {
    let check = |enqueued: Option<i64>, expected: i64| {
        let mut cursors = QueueCursors::default();
        cursors.advance(&snapshot(&Filter::default(), enqueued, 100));
        assert_eq!(cursors.get(&Filter::default()).unwrap().enqueued, at(expected), "{enqueued:?}");
    };
    check(Some(40), 10);
    check(None, 70);
    check(Some(130), 70);
}

#[test]
fn filter_that_was_not_read_begins_where_all_jobs_do() {
    let mut cursors = QueueCursors::default();
    let filter = Filter { priority: Some(1), ..Filter::default() };
    assert_eq!(cursors.get(&filter), None);
    cursors.advance(&snapshot(&Filter::default(), Some(40), 100));
    assert_eq!(cursors.get(&filter).unwrap().enqueued, at(10));
    assert!(!cursors.has_read(&filter));
    cursors.advance(&snapshot(&filter, Some(90), 100));
    assert_eq!(cursors.get(&filter).unwrap().enqueued, at(60));
}

#[tokio::test(start_paused = true)]
async fn last_search_is_repeated_by_its_cost_or_if_it_found_a_job() {
    let (filter, state, bounds) = (Filter::default(), DueState::Scheduled, ReadBounds::default());
    let check = async |found: EarliestDue, after: u64, expected: Option<EarliestDue>| {
        let mut cursors = QueueCursors::default();
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(100)).await;
        let look_ahead = SignedDuration::from_mins(2);
        cursors.set_last_search(&filter, state, look_ahead, began, found);
        tokio::time::advance(Duration::from_millis(after)).await;
        let last = cursors.last_search(&filter, state, look_ahead, &bounds);
        assert_eq!(last, expected, "{found:?} after {after} ms");
        // It is no answer for a longer look-ahead.
        assert_eq!(cursors.last_search(&filter, state, SignedDuration::from_mins(3), &bounds), None);
    };
    check(EarliestDue::None, 1_899, Some(EarliestDue::None)).await;
    check(EarliestDue::None, 1_900, None).await;
    check(EarliestDue::Unknown, 1_000, Some(EarliestDue::Unknown)).await;
    // The job that it found is no longer seen.
    check(EarliestDue::At(at(0)), 0, None).await;
}
