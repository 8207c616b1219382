//! Random tables, compared with a model that counts in Rust.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use jobrunr_scaler::config::{ReadBounds, StorageConfig};
use jobrunr_scaler::jobrunr::{
    Count, Filter, LastSeenServers, Mutexes, Question, Questions, Queue, Recurring, RunScheduling, Server, Snapshot,
};
use jobrunr_scaler::storage::Storage;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use super::{no_further_full_scan, question, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Encoding, Job, ServerRow, job, server};

/// The model: answers the questions from every row.
fn expected(jobs: &[Job], servers: &[ServerRow], questions: &[Question], now: Timestamp, limit: u64) -> Snapshot {
    let mut servers: Vec<Server> = servers
        .iter()
        .map(|row| Server {
            worker_pool_size: row.workers.try_into().unwrap(),
            poll_interval: SignedDuration::from_secs(row.poll_seconds.into()),
            last_heartbeat: now - row.heartbeat_ago,
            occupied_workers: row.occupied.map(|n| n.try_into().unwrap()),
            server_tags: row.tags.clone(),
            ..Server::default()
        })
        .collect();
    servers.sort_by_key(|server| std::cmp::Reverse(server.last_heartbeat));
    let slowest = servers.iter().filter(|server| server.is_alive(now, 4)).map(|server| server.poll_interval).max();
    let last_seen = servers.first().map(|server| server.poll_interval);
    let poll_interval = slowest.or(last_seen).unwrap_or(SignedDuration::from_secs(15));

    let count = |jobs: &mut dyn Iterator<Item = &&Job>| {
        let n_jobs = jobs.count() as u64;
        Count { n_jobs: n_jobs.min(limit), limited: limit <= n_jobs }
    };
    let mut queues = BTreeMap::new();
    for (filter, look_aheads) in Questions::from_iter(questions.iter().cloned()).iter() {
        let matches = |job: &&Job| {
            filter.priority.is_none_or(|priority| priority == job.priority)
                && filter.above_priority.is_none_or(|priority| job.priority < priority)
                && filter.server_tag.as_ref().is_none_or(|tag| **tag == *job.server_tag)
                && filter.dynamic_queue.as_ref().is_none_or(|queue| Some(&**queue) == job.dynamic_queue.as_deref())
        };
        let in_state =
            |state: &str| -> Vec<&Job> { jobs.iter().filter(|job| job.state == state && matches(job)).collect() };
        let [enqueued, processing, scheduled, awaiting] =
            ["ENQUEUED", "PROCESSING", "SCHEDULED", "AWAITING"].map(in_state);
        let due_within = |jobs: &[&Job], ahead: SignedDuration| {
            count(&mut jobs.iter().filter(|job| job.scheduled_in.is_some_and(|due_in| due_in <= ahead)))
        };
        let next = |ahead: SignedDuration, demand: bool| {
            let jobs = scheduled.iter().chain(awaiting.iter().filter(|_| demand));
            jobs.filter_map(|job| job.scheduled_in).filter(|due_in| ahead < *due_in).min().map(|due_in| now + due_in)
        };
        let queue = Queue {
            enqueued: count(&mut enqueued.iter()),
            oldest_enqueued_at: enqueued.iter().map(|job| now - job.updated_ago).min(),
            mutexes: Some(mutexes(jobs, &enqueued, now)),
            processing: count(&mut processing.iter()),
            processing_alive: count(&mut processing.iter().filter(|job| job.updated_ago <= poll_interval * 4)),
            oldest_heartbeat_at: processing.iter().map(|job| now - job.updated_ago).min(),
            scheduled: look_aheads.keys().map(|&ahead| (ahead, due_within(&scheduled, ahead))).collect(),
            awaiting: look_aheads
                .iter()
                .filter(|(_, details)| details.demand)
                .map(|(&ahead, _)| (ahead, due_within(&awaiting, ahead)))
                .collect(),
            next_scheduled_at: look_aheads
                .iter()
                .filter_map(|(&ahead, details)| Some((ahead, next(ahead, details.demand)?)))
                .collect(),
            is_partial: false,
            ..Queue::default()
        };
        queues.insert(filter.clone(), Ok(queue));
    }
    let recurring = questions.iter().any(|question| question.demand).then(|| Recurring {
        scheduling: RunScheduling::Ahead,
        jobs: Vec::new(),
        note: None,
    });
    Snapshot {
        read_at: now,
        heartbeat_multiplicand: 4,
        servers,
        last_seen_servers: LastSeenServers::default(),
        queues,
        recurring,
        service_times: None,
        running: None,
        notes: Vec::new(),
    }
}

/// What mutexes do to the enqueued jobs of a filter: a job that runs holds its own.
fn mutexes(all: &[Job], enqueued: &[&Job], now: Timestamp) -> Mutexes {
    let held: BTreeSet<_> =
        all.iter().filter(|job| job.state == "PROCESSING").filter_map(|job| job.mutex.as_ref()).collect();
    let waiting: Vec<_> = enqueued.iter().filter_map(|job| job.mutex.as_ref()).collect();
    let n_mutexes = waiting.iter().collect::<BTreeSet<_>>().len();
    let free = enqueued.iter().filter(|job| job.mutex.as_ref().is_none_or(|mutex| !held.contains(mutex)));
    let n_blocked = (waiting.len() - n_mutexes) as u64;
    Mutexes { n_blocked, oldest_free_at: free.map(|job| now - job.updated_ago).min() }
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let state = prop::sample::select(vec!["ENQUEUED", "PROCESSING", "SCHEDULED", "SUCCEEDED", "AWAITING", "UNKNOWN"]);
    let due_in = prop::option::of(-200_i32..200);
    let queue = prop::option::of(prop::sample::select(vec!["a", "b"]));
    let tag = prop::sample::select(vec!["DEFAULT", "gpu"]);
    let mutex = prop::option::of(prop::sample::select(vec!["a", "b", "c"]));
    let columns = (state, -5_i32..200, due_in, 0..3, tag, queue, mutex);
    let job = columns.prop_map(|(state, ago, due_in, priority, tag, queue, mutex)| {
        let mut job = job(state, ago.into()).priority(priority).tag(tag);
        job = mutex.map_or(job.clone(), |mutex| job.mutex(mutex));
        job = due_in.map_or(job.clone(), |due_in| job.due_in(due_in.into()));
        queue.map_or(job.clone(), |queue| job.queue(queue))
    });
    prop::collection::vec(job, 0..60)
}

fn servers() -> impl Strategy<Value = Vec<ServerRow>> {
    let one = (1..20, 5..30, -5_i32..150, prop::option::of(0..20), prop::bool::ANY);
    prop::collection::vec(one, 0..5).prop_map(|rows| {
        let rows = rows.into_iter().enumerate().map(|(n, (workers, poll, heartbeat_ago, occupied, tagged))| {
            // Heartbeats at different instants, so that there is one order.
            let mut row = server(workers, poll, f64::from(heartbeat_ago * 10 + i32::try_from(n).unwrap()) / 10.0);
            row.occupied = occupied;
            if tagged { row.tags("SERVER=0a,gpu") } else { row }
        });
        rows.collect()
    })
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let filter = (
        prop::option::of(0..3),
        prop::option::of(prop::sample::select(vec!["DEFAULT".into(), "gpu".into()])),
        prop::option::of(prop::sample::select(vec!["a".into(), "c".into()])),
    );
    let filter = filter.prop_map(|(priority, server_tag, dynamic_queue)| Filter {
        priority,
        server_tag,
        dynamic_queue,
        ..Filter::default()
    });
    let one = (filter, 0_i64..150, prop::bool::ANY);
    let one = one.prop_map(|(filter, ahead, demand)| Question { demand, ..question(filter, ahead) });
    prop::collection::vec(one, 1..6)
}

/// One database of every kind, and SQLite in other forms of instants.
async fn databases() -> Vec<Database> {
    let layout = Layout { pro: true, ..Layout::default() };
    let mut databases = Vec::new();
    // For other versions of one database: scripts/test-versions.sh.
    if let Ok(only) = std::env::var("TEST_ONLY") {
        let kinds = [Kind::Postgres, Kind::MariaDb, Kind::MySql];
        let kinds = kinds.into_iter().filter(|kind| format!("{kind:?}").eq_ignore_ascii_case(&only));
        for kind in kinds {
            databases.push(Database::with(kind, layout).await);
        }
        assert!(!databases.is_empty(), "TEST_ONLY={only} is none of postgres, mariadb and mysql");
        return databases;
    }
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::MySql, Kind::Sqlite] {
        databases.push(Database::with(kind, layout).await);
    }
    // With its indexes MongoDB scans in the order of the due times, without them in no order.
    for hand_made in [false, true] {
        databases.push(Database::with(Kind::MongoDb, Layout { hand_made, ..Layout::default() }).await);
    }
    for encoding in [Encoding::Text, Encoding::JulianDay] {
        let mut database = Database::with(Kind::Sqlite, layout).await;
        database.encoding = encoding;
        databases.push(database);
    }
    databases
}

/// The questions that the database can answer: on MongoDB, those without a filter.
fn supported(database: &Database, questions: &[Question]) -> Vec<Question> {
    let mut questions = questions.to_vec();
    if database.kind == Kind::MongoDb {
        questions.iter_mut().for_each(|question| question.filter = Filter::default());
    }
    questions
}

/// The servers as the database stores them: on MongoDB, without what JobRunr Pro adds.
fn supported_servers(database: &Database, servers: &[ServerRow]) -> Vec<ServerRow> {
    let mut servers = servers.to_vec();
    if database.kind == Kind::MongoDb {
        servers.iter_mut().for_each(|server| (server.occupied, server.tags) = (None, None));
    }
    servers
}

/// Runs the cases, each on every database.
fn on_random_input<S: Strategy>(
    cases: u32,
    strategy: S,
    check: impl AsyncFn(&mut Database, &S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let databases = std::cell::RefCell::new(runtime.block_on(databases()));
    let regressions = FileFailurePersistence::Direct("proptest-regressions/tests/it/storage/model.txt");
    let config = Config { cases, failure_persistence: Some(Box::new(regressions)), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&strategy, |input| {
        for database in databases.borrow_mut().iter_mut() {
            database.now = crate::database::noon();
            runtime.block_on(database.clear());
            runtime.block_on(check(database, &input))?;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn snapshot_of_random_tables_equals_the_model() {
    on_random_input(24, (jobs(), servers(), questions(), 1_u64..30), async |database, input| {
        let (jobs, servers, questions, limit) = input;
        let (servers, questions) = (&supported_servers(database, servers), &supported(database, questions));
        let config = StorageConfig { count_limit: Some(*limit), ..database.config() };
        database.insert_jobs(jobs).await;
        database.insert_servers(servers).await;
        let mut snapshot = read(database, &config, questions.clone()).await.unwrap();
        for server in &mut snapshot.servers {
            prop_assert_eq!((server.id.len(), server.name.as_deref()), (36, Some("pod")));
            (server.id, server.name, server.first_heartbeat) = ("".into(), None, None);
        }
        let mut expected = expected(jobs, servers, questions, database.now, *limit);
        // Without the indexes there are notes on them, and without a recurring job MongoDB does not show JobRunr's version.
        expected.notes.clone_from(&snapshot.notes);
        if let (Kind::MongoDb, Some(recurring)) = (database.kind, &mut expected.recurring) {
            recurring.scheduling = RunScheduling::JustInTime;
        }
        prop_assert_eq!(snapshot.notes.is_empty(), !database.layout.hand_made);
        if matches!(database.kind, Kind::Sqlite | Kind::MongoDb) {
            // These have no cursors, so it is not read.
            expected.queues.values_mut().flatten().for_each(|queue| queue.oldest_heartbeat_at = None);
        }
        for (filter, queue) in &mut expected.queues {
            let (Ok(queue), Ok(read)) = (queue, &snapshot.queues[filter]) else { continue };
            if database.kind == Kind::MongoDb {
                // JobRunr Pro is not supported there.
                queue.mutexes = None;
            } else if queue.enqueued.limited {
                // Only jobs that were counted are looked at.
                queue.mutexes = read.mutexes;
            }
        }
        prop_assert_eq!(&snapshot, &expected, "{:?} {:?}", database.kind, database.encoding);
        Ok(())
    });
}

/// What happens between two reads of a session.
#[derive(Clone, Debug)]
enum Step {
    /// Jobs are inserted, by hosts whose clocks differ, with due times that may have passed.
    Insert(Vec<Job>),
    /// All jobs in the first state are now in the second.
    Move(&'static str, &'static str),
    /// Seconds in which nobody writes.
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = || prop::sample::select(vec!["ENQUEUED", "PROCESSING", "SCHEDULED", "SUCCEEDED", "AWAITING"]);
    let job = (state(), -40_i32..4_000, prop::option::of(-4_000_i32..400), 0..3);
    let job = job.prop_map(|(state, ago, due_in, priority)| {
        let job = job_row(state, ago, priority);
        due_in.map_or(job.clone(), |due_in| job.due_in(due_in.into()))
    });
    let step = prop_oneof![
        4 => prop::collection::vec(job, 1..40).prop_map(Step::Insert),
        3 => (0..3, state(), prop::bool::ANY).prop_map(|(priority, state, overdue)| Step::Insert(hidden(priority, state, overdue))),
        2 => (state(), state()).prop_map(|(from, to)| Step::Move(from, to)),
        2 => (1_u16..400).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..12)
}

/// As many jobs due in the distant future as a scan of the state covers, as many jobs in another state as a scan by due time
/// covers, and behind both perhaps one that is overdue.
fn hidden(priority: i32, state: &str, is_overdue: bool) -> Vec<Job> {
    let far = (0..12).map(|n| job_row("SCHEDULED", 50, priority).due_in(f64::from(5_000 + n)));
    let done = (0..12).map(|n| job_row(state, 50, priority).due_in(f64::from(-n)));
    let overdue = is_overdue.then(|| job_row("SCHEDULED", 10, priority).due_in(-3_000.0));
    far.chain(done).chain(overdue).collect()
}

fn job_row(state: &str, ago: i32, priority: i32) -> Job {
    job(state, ago.into()).priority(priority)
}

/// Applies a step to the database and to the model.
async fn take(step: &Step, database: &mut Database, jobs: &mut Vec<Job>) {
    match step {
        Step::Insert(new) => {
            database.insert_jobs(new).await;
            jobs.extend(new.iter().cloned());
        }
        Step::Move(from, to) => {
            database.move_jobs(from, to).await;
            jobs.iter_mut().filter(|job| job.state == *from).for_each(|job| job.state = (*to).to_owned());
        }
        Step::Wait(seconds) => {
            let waited = SignedDuration::from_secs(i64::from(*seconds));
            database.now += waited;
            for job in jobs {
                job.updated_ago += waited;
                job.scheduled_in = job.scheduled_in.map(|due_in| due_in - waited);
            }
        }
    }
}

/// A count is exact or truncated; it is never more than there are, and never 0 if there is one.
fn check_count(what: &str, count: Count, exact: Count) -> Result<(), TestCaseError> {
    if count.limited {
        prop_assert!(count.n_jobs <= exact.n_jobs, "{}: {:?} of {:?}", what, count, exact);
    } else {
        prop_assert_eq!(count, exact, "{}", what);
    }
    prop_assert_eq!(count.n_jobs == 0, exact.n_jobs == 0, "{}: {:?} of {:?}", what, count, exact);
    Ok(())
}

/// Checks that a session reads correctly after each step, whatever happened since its last read.
async fn check_session(
    database: &mut Database,
    (steps, questions, limit): &(Vec<Step>, Vec<Question>, u64),
    bounds: ReadBounds,
) -> Result<(), TestCaseError> {
    let questions = &supported(database, questions);
    let config = StorageConfig { count_limit: Some(*limit), bounds, ..database.config() };
    let questions_of_read = Questions::from_iter(questions.iter().cloned());
    let mut session = config.connect().await.unwrap();
    let mut jobs = Vec::new();
    let mut last: Option<Snapshot> = None;
    for step in steps {
        take(step, database, &mut jobs).await;
        let what = format!("{:?} {:?} after {step:?}", database.kind, database.encoding);
        let unchanged = last.and_then(|last| last.unchanged_at(&questions_of_read, database.now));
        let snapshot = match unchanged {
            Some(unchanged) if session.is_unchanged(&questions_of_read, &unchanged).await.unwrap() => unchanged,
            _ => session.read(&questions_of_read, database.now).await.unwrap(),
        };
        let exact = expected(&jobs, &[], questions, database.now, *limit);
        for (filter, queue) in &snapshot.queues {
            let (queue, exact) = (queue.as_ref().unwrap(), exact.queues[filter].as_ref().unwrap());
            // Cursors miss jobs of a clock that is behind, until the next full scan.
            let is_full = bounds.full_scan_share == 0;
            let counted = |count: Count| Count { limited: count.limited || !is_full, ..count };
            check_count(&format!("{what}: enqueued"), counted(queue.enqueued), exact.enqueued)?;
            check_count(&format!("{what}: processing"), counted(queue.processing), exact.processing)?;
            if is_full {
                prop_assert_eq!(queue.oldest_enqueued_at, exact.oldest_enqueued_at, "{}", what);
            }
            for (ahead, count) in &queue.scheduled {
                check_count(&format!("{what}: scheduled {ahead}"), *count, exact.scheduled[ahead])?;
                let next = (queue.next_scheduled_at.get(ahead), exact.next_scheduled_at.get(ahead));
                prop_assert!(queue.is_partial || next.0 == next.1, "{}: next {:?}", what, next);
            }
            for (ahead, count) in &queue.awaiting {
                check_count(&format!("{what}: awaiting {ahead}"), *count, exact.awaiting[ahead])?;
            }
        }
        last = Some(snapshot);
    }
    session.close().await;
    Ok(())
}

#[test]
fn session_is_never_wrong_in_tables_larger_than_every_bound() {
    let bounds = ReadBounds { due_jobs: 7, later_jobs: 3, runs: 3, full_scan_share: 0, ..ReadBounds::default() };
    on_random_input(24, (steps(), questions(), 1_u64..12), async |database, input| {
        check_session(database, input, bounds).await
    });
}

#[test]
fn session_that_reads_from_its_cursors_never_misses_the_only_job() {
    let bounds = no_further_full_scan();
    on_random_input(24, (steps(), questions(), 1_u64..300), async |database, input| {
        check_session(database, input, bounds).await
    });
}
