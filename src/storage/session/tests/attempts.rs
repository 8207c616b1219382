//! What a read answers although a part of it takes too long.

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn tagged(tag: &str) -> Question {
    Question { filter: Filter { server_tag: Some(tag.into()), ..Filter::default() }, ..question() }
}

#[tokio::test(start_paused = true)]
async fn full_scan_that_times_out_takes_no_count_with_it() {
    let full_scan = Duration::from_millis(100);
    let (mut session, fake) = start(Some(10_000), State { n_enqueued: 9_000, full_scan, ..State::default() });
    read(&mut session, question()).await.unwrap();
    fake.state().full_scan = Duration::from_secs(60);
    let mut n_failed = 0;
    for second in 0..300 {
        match read(&mut session, question()).await {
            Ok(snapshot) => assert_eq!(enqueued(&snapshot), Count { n_jobs: 9_000, limited: false }, "{second}"),
            Err(error) => {
                assert!(session.is_usable_after(&error), "{error}");
                n_failed += 1;
            }
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(n_failed, 1, "the first that was not known to take long");
}

#[tokio::test(start_paused = true)]
async fn full_scan_does_not_make_counts_seem_slow() {
    let state = State { n_enqueued: 5_000, full_scan: Duration::from_secs(2), ..State::default() };
    let (mut session, fake) = start(Some(10_000), state);
    for n_enqueued in [5_000, 6_000, 7_000, 8_000, 9_000, 9_999] {
        fake.state().n_enqueued = n_enqueued;
        assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()).n_jobs, n_enqueued);
        advance(Duration::from_secs(11)).await;
    }
}

/// A job that another machine's clock, or a long transaction, dated before the cursors.
#[tokio::test(start_paused = true)]
async fn job_before_the_cursors_is_not_lost_where_full_scans_time_out() {
    let full_scan = Duration::from_millis(10);
    let (mut session, fake) = start(Some(10_000), State { full_scan, ..State::default() });
    read(&mut session, question()).await.unwrap();
    fake.change(State {
        n_enqueued: 7,
        are_before_cursors: true,
        full_scan: Duration::from_secs(60),
        ..State::default()
    });
    for second in 0..200 {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let snapshot = session.read(&Questions::from_iter([question()]), now).await.unwrap();
        assert_eq!(enqueued(&snapshot), Count { n_jobs: 1, limited: true }, "{second}");
        // It waits the longer.
        let oldest = snapshot.queues[&Filter::default()].as_ref().unwrap().oldest_enqueued_at;
        assert_eq!(oldest, Some(Timestamp::UNIX_EPOCH - SignedDuration::from_secs(30)), "{second}");
        advance(Duration::from_secs(1)).await;
    }
    assert!(fake.state().n_full_scans <= 3, "{}", fake.state().n_full_scans);
    // It ends in time again.
    fake.state().full_scan = Duration::ZERO;
    advance(Duration::from_secs(100)).await;
    assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs: 7, limited: false });
}

/// Where nobody asks without a filter, it is not known where a new one begins.
#[tokio::test(start_paused = true)]
async fn new_filter_takes_no_other_with_it() {
    for (asked, limited) in [(question(), false), (tagged("a"), true)] {
        let (mut session, fake) = start(Some(10_000), State { full_scan: Duration::from_secs(2), ..State::default() });
        read(&mut session, asked.clone()).await.unwrap();
        fake.state().full_scan = Duration::from_secs(60);
        fake.state().n_tagged = 3;
        let questions = Questions::from_iter([asked.clone(), tagged("new")]);
        let mut read = async || {
            let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
            advance(Duration::from_secs(1)).await;
            assert!(snapshot.queues[&asked.filter].is_ok());
            snapshot.queues[&tagged("new").filter].as_ref().unwrap().enqueued
        };
        for second in 0..120 {
            assert_eq!(read().await, Count { n_jobs: 3, limited }, "{second}");
        }
        assert!(fake.state().n_full_scans <= 3, "{}", fake.state().n_full_scans);
        fake.state().full_scan = Duration::ZERO;
        advance(Duration::from_secs(100)).await;
        assert_eq!(read().await, Count { n_jobs: 3, limited: false });
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_cursor_stops_no_other() {
    let (mut session, fake) = start(Some(10_000), State { full_scan: Duration::from_secs(2), ..State::default() });
    let questions = Questions::from_iter([question(), tagged("a")]);
    session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
    fake.change(State {
        n_tagged: 1,
        are_tagged_before_cursors: true,
        full_scan: Duration::from_secs(60),
        ..State::default()
    });
    for minute in 1..10 {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        for _ in 0..2 {
            let snapshot = session.read(&questions, now).await.unwrap();
            assert_eq!(snapshot.queues[&tagged("a").filter].as_ref().unwrap().enqueued.n_jobs, 1);
        }
        assert_eq!(fake.state().cursor, Some(now - SignedDuration::from_secs(30)));
        advance(Duration::from_secs(60)).await;
    }
}

/// A transaction that began first and committed last. Scanning is quick, and counting all of it is not.
#[tokio::test(start_paused = true)]
async fn long_queue_before_the_cursors_is_at_least_long() {
    let (mut session, fake) = start(None, State::default());
    read(&mut session, question()).await.unwrap();
    fake.change(State {
        n_enqueued: 50_000_000,
        per_job: Duration::from_micros(1),
        are_before_cursors: true,
        ..State::default()
    });
    assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs: 1_000, limited: true });
}

#[tokio::test(start_paused = true)]
async fn list_of_running_jobs_begins_at_no_wrong_cursor() {
    let (mut session, fake) = start(Some(10_000), State { full_scan: Duration::from_secs(2), ..State::default() });
    let asked = Question { running: true, ..question() };
    // As long as any is enqueued, others may be before the cursors.
    for (n_enqueued, are_before_cursors, is_from_cursor) in
        [(7, false, true), (7, true, false), (7, false, false), (0, false, true)]
    {
        let full_scan = Duration::from_secs(60);
        read(&mut session, asked.clone()).await.unwrap();
        fake.change(State { n_enqueued, are_before_cursors, full_scan, ..State::default() });
        // A full scan leaves no time for the list.
        let _ = read(&mut session, asked.clone()).await;
        read(&mut session, asked.clone()).await.unwrap();
        assert_eq!(fake.state().running_since.is_some(), is_from_cursor);
    }
}

/// Searches for due jobs that never end come after everything else.
#[tokio::test(start_paused = true)]
async fn searches_that_time_out_leave_counts_and_scans_their_time() {
    let full_scan = Duration::from_millis(1_500);
    let state =
        State { n_enqueued: 10, has_large_state: true, search: Duration::from_secs(60), full_scan, ..State::default() };
    let (mut session, fake) = start(Some(10_000), state);
    let questions = Questions::from_iter(["a", "b", "c", "d"].map(tagged).into_iter().chain([question()]));
    session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
    fake.state().n_enqueued = 9_000;
    for _ in 0..30 {
        let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(enqueued(&snapshot), Count { n_jobs: 9_000, limited: false });
        advance(Duration::from_secs(10)).await;
    }
    assert!(8 <= fake.state().n_full_scans, "{}", fake.state().n_full_scans);
}

/// With reads that are far apart everything is due at once.
#[tokio::test(start_paused = true)]
async fn full_scan_that_times_out_in_every_read_leaves_counts_their_time() {
    for are_tagged_before_cursors in [false, true] {
        let state = State { n_enqueued: 10, full_scan: Duration::from_secs(2), ..State::default() };
        let (mut session, fake) = start(Some(10_000), state);
        let questions = Questions::from_iter([question(), tagged("a")]);
        session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        let full_scan = Duration::from_secs(60);
        fake.change(State { n_tagged: 1, are_tagged_before_cursors, full_scan, ..State::default() });
        for n_enqueued in [9_000, 8_000, 7_000] {
            advance(Duration::from_secs(120)).await;
            fake.state().n_enqueued = n_enqueued;
            let mut count = Count::default();
            for _ in 0..2 {
                let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
                count = enqueued(&snapshot);
            }
            assert_eq!(count, Count { n_jobs: n_enqueued, limited: false }, "{are_tagged_before_cursors}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn count_that_times_out_in_every_read_leaves_full_scans_their_time() {
    let state = State { n_enqueued: 50_000_000, full_scan: Duration::from_secs(2), ..State::default() };
    let (mut session, fake) = start(None, State { per_job: Duration::from_micros(1), ..state });
    let questions = Questions::from_iter([question()]);
    for n_read in 0..10 {
        let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(enqueued(&snapshot), Count { n_jobs: 1_000, limited: true }, "{n_read}");
        advance(Duration::from_secs(120)).await;
    }
    assert!(4 <= fake.state().n_full_scans, "{}", fake.state().n_full_scans);
    assert!(4 <= fake.state().n_counts, "{}", fake.state().n_counts);
}

/// Either fits into a read, but not both.
#[tokio::test(start_paused = true)]
async fn slow_count_and_slow_full_scan_take_turns() {
    let slow = State { n_enqueued: 2_000_000, full_scan: Duration::from_secs(4), ..State::default() };
    let (mut session, fake) = start(None, State { per_job: Duration::from_micros(1), ..slow });
    let mut counted = 0;
    for n_read in 0..20 {
        fake.state().per_job = Duration::from_micros(if n_read == 0 { 10 } else { 1 });
        let snapshot = read(&mut session, question()).await.unwrap();
        counted += u32::from(enqueued(&snapshot) == Count { n_jobs: 2_000_000, limited: false });
        advance(Duration::from_secs(120)).await;
    }
    assert!(8 < counted, "{counted}");
    // The full scan has timed out once.
    fake.state().full_scan = Duration::from_secs(60);
    for _ in 0..2 {
        read(&mut session, question()).await.unwrap();
        advance(Duration::from_secs(120)).await;
    }
    fake.change(State {
        n_enqueued: 4_000_000,
        per_job: Duration::from_micros(1),
        n_tagged: 7,
        are_tagged_before_cursors: true,
        full_scan: Duration::from_secs(2),
        ..State::default()
    });
    let questions = Questions::from_iter([question(), tagged("a")]);
    let mut seen = false;
    for _ in 0..10 {
        let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        let tagged = snapshot.queues[&tagged("a").filter].as_ref().unwrap().enqueued;
        seen |= tagged == Count { n_jobs: 7, limited: false };
        advance(Duration::from_secs(120)).await;
    }
    assert!(seen);
}

#[tokio::test(start_paused = true)]
async fn full_scan_that_follows_a_wrong_cursor_is_right() {
    let (mut session, fake) = start(Some(10_000), State { full_scan: Duration::from_secs(2), ..State::default() });
    let asked = Question { running: true, ..question() };
    read(&mut session, asked.clone()).await.unwrap();
    fake.state().n_enqueued = 7;
    fake.state().are_before_cursors = true;
    let snapshot = read(&mut session, asked).await.unwrap();
    assert_eq!(enqueued(&snapshot), Count { n_jobs: 7, limited: false });
    assert!(fake.state().running_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn found_run_expires_when_it_is_never_looked_up_again() {
    let recurring = vec![("a", true)];
    let (mut session, fake) = start(Some(10_000), State { recurring, ..State::default() });
    let asked = Question { demand: true, ..question() };
    let mut has_run = async || read(&mut session, asked.clone()).await.unwrap().recurring.unwrap().jobs[0].has_run;
    assert!(has_run().await);
    // Its run ends. Reads become so slow that there is no time for look-ups.
    fake.change(State { recurring: vec![("a", false)], read: Duration::from_millis(4_600), ..State::default() });
    let began = Instant::now();
    while has_run().await {
        assert!(began.elapsed() < Duration::from_secs(700), "its next run needs a worker");
        advance(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn full_scan_that_times_out_makes_no_job_due() {
    for interval in [1, 58, 120] {
        let (full_scan, search) = (Duration::from_millis(100), Duration::from_millis(50));
        let (mut session, fake) =
            start(Some(10_000), State { has_large_state: true, full_scan, search, ..State::default() });
        read(&mut session, question()).await.unwrap();
        advance(Duration::from_secs(2)).await;
        fake.state().full_scan = Duration::from_secs(60);
        read(&mut session, question()).await.unwrap_err();
        for n_read in 0..150 {
            let snapshot = read(&mut session, question()).await.unwrap();
            let due = snapshot.queues[&Filter::default()].as_ref().unwrap().scheduled_within(MINUTE);
            assert_eq!(due, Count { n_jobs: 0, limited: false }, "{n_read}, {interval} s apart");
            advance(Duration::from_secs(interval)).await;
        }
        assert!(2 < fake.state().n_full_scans);
    }
}

#[tokio::test(start_paused = true)]
async fn question_whether_anything_changed_and_the_read_share_their_time() {
    let slow = Duration::from_millis(3_100);
    let (mut session, fake) = start(Some(10_000), State::default());
    let questions = Questions::from_iter([question()]);
    let mut snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
    snapshot.queues.values_mut().flatten().for_each(|queue| queue.processing = Count::default());
    assert!(snapshot.is_idle(&questions));
    fake.change(State { probe: slow, read: slow, ..State::default() });
    let began = Instant::now();
    assert!(!session.is_unchanged(&questions, &snapshot).await.unwrap());
    let error = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap_err();
    assert!(began.elapsed() < READ_TIMEOUT && session.is_usable_after(&error), "{:?}: {error}", began.elapsed());
    // The next read has all of the time, and so has one long after nothing had changed.
    read(&mut session, question()).await.unwrap();
    fake.change(State { is_unchanged: true, ..State::default() });
    assert!(session.is_unchanged(&questions, &snapshot).await.unwrap());
    advance(Duration::from_secs(30)).await;
    fake.state().read = slow;
    read(&mut session, question()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rejected_filter_is_found_among_many() {
    let tags: Vec<String> = (0..100).map(|nth| format!("tag-{nth:02}")).collect();
    let state = State { read: Duration::from_millis(100), rejected_tag: Some("tag-99"), ..State::default() };
    let (mut session, _) = start(Some(10_000), state);
    let questions = Questions::from_iter(tags.iter().map(|tag| tagged(tag)).chain([question()]));
    let mut n_reads = 0;
    let snapshot = loop {
        n_reads += 1;
        match session.read(&questions, Timestamp::UNIX_EPOCH).await {
            Ok(snapshot) => break snapshot,
            Err(error) => assert!(session.is_usable_after(&error) && n_reads < 4, "{n_reads}: {error}"),
        }
    };
    assert!(snapshot.queues[&tagged("tag-99").filter].is_err());
    assert_eq!(snapshot.queues.values().filter(|queue| queue.is_ok()).count(), 100);
    // When it is tried again, those that had an answer are not.
    advance(RETRY_REJECTED_AFTER).await;
    session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn queue_that_becomes_long_again_and_again_does_not_repeat_long_counts() {
    let state = State { n_enqueued: 3_000_000, per_job: Duration::from_micros(1), ..State::default() };
    let (mut session, fake) = start(None, state);
    let questions = Questions::from_iter([question(), tagged("b")]);
    for second in 0..60 {
        fake.state().n_tagged = if second % 2 == 0 { 1_010 } else { 990 };
        let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(enqueued(&snapshot).n_jobs, 3_000_000);
        advance(Duration::from_secs(1)).await;
    }
    assert!(fake.state().n_counts <= 4, "{}", fake.state().n_counts);
}

#[tokio::test(start_paused = true)]
async fn runs_that_are_not_reached_keep_what_was_found() {
    let names: [&'static str; 700] = std::array::from_fn(|nth| &*format!("job-{nth:03}").leak());
    let recurring = names.map(|id| (id, true)).to_vec();
    let look_up = Duration::from_millis(4_600);
    let (mut session, _) = start(Some(10_000), State { recurring, look_up, ..State::default() });
    let asked = Question { demand: true, ..question() };
    for n_read in 0..40 {
        let snapshot = read(&mut session, asked.clone()).await.unwrap();
        let n_without = snapshot.recurring.unwrap().jobs.iter().filter(|job| !job.has_run).count();
        assert!(n_read < 14 || n_without == 0, "read {n_read}: {n_without} without a run");
        advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answer_with_earlier_look_ups_is_not_confirmed() {
    let (recurring, look_up) = (vec![("a", true)], Duration::from_millis(100));
    let (mut session, _) = start(Some(10_000), State { recurring, look_up, confirms: true, ..State::default() });
    let questions = Questions::from_iter([Question { demand: true, ..question() }]);
    for (seconds, expected) in [(0, true), (1, false), (1, true)] {
        advance(Duration::from_secs(seconds)).await;
        let snapshot = session.read(&questions, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(session.is_unchanged(&questions, &snapshot).await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn long_queue_is_counted_at_most_once_in_five_seconds() {
    let (mut session, fake) = start(Some(10_000), State { n_enqueued: 2_000, ..State::default() });
    for second in 0..21 {
        fake.state().n_enqueued = 2_000 + second;
        let n_jobs = 2_000 + second / 5 * 5;
        assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs, limited: false });
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.state().n_counts, 5);
    // A short queue is counted with every read.
    for n_jobs in [999, 998, 0, 5] {
        fake.state().n_enqueued = n_jobs;
        assert_eq!(enqueued(&read(&mut session, question()).await.unwrap()), Count { n_jobs, limited: false });
    }
}
