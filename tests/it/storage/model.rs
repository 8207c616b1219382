//! Random tables, compared with the same counted in Rust.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{
    Count, Filter, LastSeenServers, Planning, Question, Questions, Queue, Recurring, Server, Snapshot,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{question, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Encoding, Job, ServerRow, job, server};

/// Answers the questions by looking at every row.
fn expected(jobs: &[Job], servers: &[ServerRow], questions: &[Question], now: Timestamp, limit: u64) -> Snapshot {
    let mut servers: Vec<Server> = servers
        .iter()
        .map(|row| Server {
            worker_pool_size: row.workers.try_into().unwrap(),
            poll_interval: SignedDuration::from_secs(row.poll_seconds.into()),
            last_heartbeat: now - row.heartbeat_ago,
            occupied_workers: row.occupied.map(|n| n.try_into().unwrap()),
            server_tags: row.tags.clone(),
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
                && filter.server_tag.as_ref().is_none_or(|tag| *tag == job.server_tag)
                && filter.dynamic_queue.as_ref().is_none_or(|queue| Some(queue) == job.dynamic_queue.as_ref())
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
            processing: count(&mut processing.iter()),
            processing_alive: count(&mut processing.iter().filter(|job| job.updated_ago <= poll_interval * 4)),
            oldest_heartbeat_at: processing.iter().map(|job| now - job.updated_ago).min(),
            scheduled: look_aheads.keys().map(|&ahead| (ahead, due_within(&scheduled, ahead))).collect(),
            awaiting: look_aheads
                .iter()
                .filter(|(_, demand)| **demand)
                .map(|(&ahead, _)| (ahead, due_within(&awaiting, ahead)))
                .collect(),
            next_scheduled_at: look_aheads
                .iter()
                .filter_map(|(&ahead, &demand)| Some((ahead, next(ahead, demand)?)))
                .collect(),
        };
        queues.insert(filter.clone(), Ok(queue));
    }
    let recurring = questions.iter().any(|question| question.demand).then(|| Recurring {
        planning: Planning::AheadOfTime,
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
        notes: Vec::new(),
    }
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let state = prop::sample::select(vec!["ENQUEUED", "PROCESSING", "SCHEDULED", "SUCCEEDED", "AWAITING", "ODD"]);
    let due_in = prop::option::of(-200_i32..200);
    let queue = prop::option::of(prop::sample::select(vec!["a", "b"]));
    let tag = prop::sample::select(vec!["DEFAULT", "gpu"]);
    let job = (state, -5_i32..200, due_in, 0..3, tag, queue).prop_map(|(state, ago, due_in, priority, tag, queue)| {
        let mut job = job(state, ago.into()).priority(priority).tag(tag);
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
        prop::option::of(prop::sample::select(vec!["DEFAULT".to_owned(), "gpu".to_owned()])),
        prop::option::of(prop::sample::select(vec!["a".to_owned(), "c".to_owned()])),
    );
    let filter =
        filter.prop_map(|(priority, server_tag, dynamic_queue)| Filter { priority, server_tag, dynamic_queue });
    let one = (filter, 0_i64..150, prop::bool::ANY);
    let one = one.prop_map(|(filter, ahead, demand)| Question { demand, ..question(filter, ahead) });
    prop::collection::vec(one, 1..6)
}

#[test]
fn random_tables_read_like_counted_by_hand() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let layout = Layout { pro: true, ..Layout::default() };
    let mut databases = Vec::new();
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        databases.push(runtime.block_on(Database::with(kind, layout)));
    }
    for encoding in [Encoding::Text, Encoding::JulianDay] {
        let mut database = runtime.block_on(Database::with(Kind::Sqlite, layout));
        database.encoding = encoding;
        databases.push(database);
    }
    let databases = std::cell::RefCell::new(databases);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let rows = (jobs(), servers(), questions(), 1_u64..30);
    let result = runner.run(&rows, |(jobs, servers, questions, limit)| {
        for database in databases.borrow_mut().iter_mut() {
            let config = StorageConfig { count_limit: Some(limit), ..database.config() };
            let snapshot = runtime.block_on(async {
                database.clear().await;
                database.insert_jobs(&jobs).await;
                database.insert_servers(&servers).await;
                read(database, &config, questions.clone()).await.unwrap()
            });
            let expected = expected(&jobs, &servers, &questions, database.now, limit);
            let mut expected = expected;
            if database.kind == Kind::Sqlite {
                // It has no use for it.
                expected.queues.values_mut().flatten().for_each(|queue| queue.oldest_heartbeat_at = None);
            }
            prop_assert_eq!(&snapshot, &expected, "{:?} {:?}", database.kind, database.encoding);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
