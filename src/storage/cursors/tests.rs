//! When full scans, counts and searches are repeated, and where reads begin.

use super::*;
use crate::storage::plan::QueuePlan;

const CHEAP: Duration = Duration::from_secs(1);
const SCAN: Costly = Costly { full_scan: true, long_count: false };
const COUNT: Costly = Costly { full_scan: false, long_count: true };

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

fn plan(filter: &Filter, cursor: Option<QueueCursor>, read: i64) -> ReadPlan<'_> {
    let due = DuePlan::default();
    let queue = QueuePlan { filter, cursor, until: Vec::new(), scheduled: due, awaiting: None, work: false };
    ReadPlan {
        now: at(read),
        count_limit: Some(10_000),
        enqueued_limit: Some(1_000),
        bounds: ReadBounds::default(),
        queues: vec![queue],
        recurring: false,
        first_cursor: None,
    }
}

fn rows(row: QueueRow) -> Rows {
    Rows { queues: vec![row], ..Rows::default() }
}

/// A read of this filter whose oldest job is enqueued at this instant.
fn read(cursors: &mut QueueCursors, filter: &Filter, enqueued: Option<i64>, read: i64) {
    let row = QueueRow { oldest_enqueued_at: enqueued.map(at), ..QueueRow::default() };
    cursors.advance(&plan(filter, cursors.get(filter), read), &rows(row));
}

fn priority(priority: i32) -> Filter {
    Filter { priority: Some(priority), ..Filter::default() }
}

#[tokio::test(start_paused = true)]
async fn full_scans_are_repeated_by_their_cost() {
    let (filter, other) = (priority(1), priority(2));
    let bounds = ReadBounds::default();
    let check = async |took: u64, after: u64, in_first: bool, later: bool| {
        let mut cursors = QueueCursors::default();
        assert_eq!(cursors.cheap(&[&filter], &bounds, CHEAP), SCAN, "there is no cursor");
        let began = Instant::now();
        tokio::time::advance(Duration::from_millis(took)).await;
        cursors.record_full_scan(began);
        read(&mut cursors, &filter, Some(0), 10);
        tokio::time::advance(Duration::from_millis(after - took)).await;
        let text = format!("{took} ms, after {after} ms");
        assert_eq!(cursors.cheap(&[&filter], &bounds, CHEAP).full_scan, in_first, "{text}");
        let pending = cursors.pending(&[&filter], &bounds, Costly::default());
        assert_eq!(pending, later.then_some(SCAN), "{text}");
        assert_eq!(cursors.pending(&[&filter], &bounds, SCAN), None, "one per read");
        // A filter that is new needs one.
        assert_eq!(cursors.cheap(&[&filter, &other], &bounds, CHEAP).full_scan, took <= 1_000, "{text}");
        assert_eq!(cursors.pending(&[&filter, &other], &bounds, Costly::default()), Some(SCAN), "{text}");
        // After one that timed out, not even that.
        cursors.record_time_out(SCAN, Instant::now() - Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(18)).await;
        assert_eq!(cursors.cheap(&[&filter, &other], &bounds, CHEAP), Costly::default(), "{text}");
        assert_eq!(cursors.pending(&[&filter, &other], &bounds, Costly::default()), None, "{text}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cursors.cheap(&[&filter], &bounds, CHEAP), Costly::default(), "{text}");
        assert_eq!(cursors.pending(&[&filter], &bounds, Costly::default()), Some(SCAN), "{text}");
    };
    check(0, 0, true, true).await;
    check(1, 1_000, true, true).await;
    check(80, 1_000, false, false).await;
    check(80, 1_599, false, false).await;
    check(80, 1_600, true, true).await;
    check(6_000, 29_999, false, false).await;
    check(6_000, 30_000, false, true).await;
}

#[tokio::test(start_paused = true)]
async fn count_and_full_scan_follow_one_another() {
    let (filter, bounds) = (Filter::default(), ReadBounds::default());
    let mut cursors = QueueCursors::default();
    cursors.record_full_scan(Instant::now());
    let complete = |cursors: &mut QueueCursors, n_enqueued: u64, costly: Costly| {
        let enqueued_limit = QueueCursors::enqueued_limit(Some(10_000), costly);
        let plan = ReadPlan { enqueued_limit, ..plan(&filter, None, 0) };
        let n_enqueued = enqueued_limit.map_or(n_enqueued, |limit| limit.min(n_enqueued));
        let mut rows = rows(QueueRow { n_enqueued, ..QueueRow::default() });
        cursors.complete_counts(&plan, &mut rows, costly, Instant::now());
        cursors.advance(&plan, &rows);
        rows.queues[0].n_enqueued
    };
    // A queue becomes long, and the full scan is due as well.
    assert_eq!(complete(&mut cursors, 5_000, Costly::default()), 1_000);
    assert_eq!(cursors.pending(&[&filter], &bounds, Costly::default()), Some(COUNT));
    assert_eq!(complete(&mut cursors, 5_000, COUNT), 5_000);
    assert_eq!(cursors.pending(&[&filter], &bounds, COUNT), Some(SCAN));
    assert_eq!(complete(&mut cursors, 6_000, SCAN), 5_000);
    assert_eq!(cursors.pending(&[&filter], &bounds, COUNT.and(SCAN)), None);
    // Whichever times out does not postpone the other.
    tokio::time::advance(Duration::from_secs(5)).await;
    cursors.record_time_out(SCAN, Instant::now() - Duration::from_secs(1));
    assert_eq!(cursors.pending(&[&filter], &bounds, Costly::default()), Some(COUNT));
    cursors.record_time_out(COUNT, Instant::now() - Duration::from_secs(1));
    assert_eq!(cursors.pending(&[&filter], &bounds, Costly::default()), None);
    tokio::time::advance(Duration::from_secs(19)).await;
    // Both have timed out: they take turns.
    cursors.record_time_out(SCAN, Instant::now() - Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(120)).await;
    for expected in [SCAN, COUNT, SCAN] {
        assert_eq!(cursors.pending(&[&filter], &bounds, Costly::default()), Some(expected));
        cursors.record_time_out(expected, Instant::now() - Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(120)).await;
    }
    assert_eq!(cursors.pending(&[&filter], &bounds, SCAN), Some(COUNT));
    assert_eq!(cursors.pending(&[&filter], &bounds, COUNT), Some(SCAN));
}

#[test]
fn advance_sets_a_cursor_before_the_oldest_job_or_the_read() {
    let check = |enqueued: Option<i64>, expected: i64| {
        let mut cursors = QueueCursors::default();
        read(&mut cursors, &Filter::default(), enqueued, 100);
        assert_eq!(cursors.get(&Filter::default()).unwrap().enqueued, at(expected), "{enqueued:?}");
    };
    check(Some(40), 10);
    check(None, 70);
    check(Some(130), 70);
}

/// Jobs before the cursors are not forgotten until none is left, or a full scan has seen them.
#[test]
fn jobs_before_the_cursors_are_remembered() {
    let filter = Filter::default();
    let mut cursors = QueueCursors::default();
    read(&mut cursors, &filter, Some(40), 100);
    let mut check = |n_enqueued: u64, is_wrong: bool, scan: bool, expected: (u64, bool, Option<i64>)| {
        let plan = plan(&filter, cursors.get(&filter).filter(|_| !scan), 1_000);
        let enqueued = (0 < n_enqueued).then(|| at(500));
        let row = QueueRow {
            n_enqueued,
            oldest_enqueued_at: enqueued,
            is_enqueued_cursor_wrong: is_wrong,
            ..QueueRow::default()
        };
        let mut rows = rows(row);
        if scan {
            cursors.record_full_scan(Instant::now());
        }
        assert_eq!(cursors.correct_wrong(&plan, &mut rows), expected.1);
        cursors.advance(&plan, &rows);
        let QueueRow { n_enqueued, is_enqueued_truncated, oldest_enqueued_at, .. } = rows.queues[0];
        assert_eq!(
            (n_enqueued, is_enqueued_truncated, oldest_enqueued_at),
            (expected.0, expected.1, expected.2.map(at))
        );
    };
    check(3, false, false, (3, false, Some(500)));
    check(0, true, false, (1, true, Some(470)));
    check(0, true, false, (1, true, Some(470)));
    check(2, false, false, (2, true, Some(500)));
    check(0, true, false, (1, true, Some(470)));
    check(0, false, false, (0, false, None));
    check(2, false, false, (2, false, Some(500)));
    check(0, true, false, (1, true, Some(470)));
    check(9, false, true, (9, false, Some(500)));
    check(2, false, false, (2, false, Some(500)));
}

/// A cursor that is itself not sure is none for other filters.
#[test]
fn filters_do_not_inherit_a_doubtful_cursor() {
    let (all, [first, second]) = (Filter::default(), [1, 2].map(priority));
    let mut cursors = QueueCursors::default();
    read(&mut cursors, &first, Some(40), 100);
    let three = || rows(QueueRow { n_enqueued: 3, ..QueueRow::default() });
    let mut check = |filter: &Filter, mut rows: Rows, is_doubtful: bool, is_limited: bool| {
        let plan = plan(filter, cursors.get(filter).or(cursors.assumed()), 200);
        assert_eq!(cursors.correct_wrong(&plan, &mut rows), is_doubtful);
        cursors.advance(&plan, &rows);
        assert_eq!(rows.queues[0].is_enqueued_truncated, is_limited);
    };
    check(&all, three(), true, true);
    check(&second, three(), true, true);
    // Nobody asks without a filter any longer, but its cursor is kept.
    check(&second, rows(QueueRow::default()), true, false);
    check(&all, rows(QueueRow::default()), false, false);
    check(&priority(3), three(), false, false);
}

#[test]
fn count_from_a_wrong_cursor_is_made_again_after_a_full_scan() {
    let (filter, bounds) =
        (Filter::default(), ReadBounds { long_count_interval: Duration::MAX, ..ReadBounds::default() });
    let mut cursors = QueueCursors::default();
    cursors.record_full_scan(Instant::now());
    read(&mut cursors, &filter, Some(40), 100);
    let mut attempt = |n_enqueued: u64, is_enqueued_cursor_wrong: bool, costly: Costly| {
        let cursor = cursors.get(&filter).filter(|_| !costly.full_scan);
        let enqueued_limit = QueueCursors::enqueued_limit(Some(10_000), costly);
        let plan = ReadPlan { enqueued_limit, ..plan(&filter, cursor, 200) };
        let n_enqueued = enqueued_limit.map_or(n_enqueued, |limit| limit.min(n_enqueued));
        let mut rows = rows(QueueRow { n_enqueued, is_enqueued_cursor_wrong, ..QueueRow::default() });
        if costly.full_scan {
            cursors.record_full_scan(Instant::now());
        }
        cursors.complete_counts(&plan, &mut rows, costly, Instant::now());
        cursors.correct_wrong(&plan, &mut rows);
        cursors.advance(&plan, &rows);
        (rows.queues[0].n_enqueued, rows.queues[0].is_enqueued_truncated, cursors.is_count_due(&bounds))
    };
    assert_eq!(attempt(0, true, Costly::default()), (1, true, false));
    assert_eq!(attempt(2_000, false, Costly::default()), (1_000, true, true));
    assert_eq!(attempt(2_000, false, COUNT), (2_000, true, false));
    assert_eq!(attempt(5_000, false, SCAN), (2_000, true, true));
    assert_eq!(attempt(5_000, false, COUNT), (5_000, false, false));
}

#[test]
fn jobs_that_may_run_are_not_orphans() {
    let filter = Filter::default();
    let mut cursors = QueueCursors::default();
    read(&mut cursors, &filter, None, 100);
    let plan = plan(&filter, cursors.get(&filter), 1_000);
    let mut rows = rows(QueueRow { is_processing_cursor_wrong: true, ..QueueRow::default() });
    assert!(cursors.correct_wrong(&plan, &mut rows));
    assert_eq!((rows.queues[0].n_processing, rows.queues[0].n_processing_alive), (1, 1));
    assert_eq!(rows.runs.truncated_states, ["ENQUEUED", "PROCESSING"]);
}

#[test]
fn filter_that_was_not_read_begins_where_all_jobs_do() {
    let (mut cursors, filter) = (QueueCursors::default(), priority(1));
    assert_eq!(cursors.get(&filter), None);
    read(&mut cursors, &Filter::default(), Some(40), 100);
    assert_eq!(cursors.get(&filter).unwrap().enqueued, at(10));
    assert!(!cursors.has_read(&filter));
    read(&mut cursors, &filter, Some(90), 100);
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
