//! What a storage answers, on every database.

mod damaged_rows;
mod encodings;
mod encryption;
mod history;
mod large_tables;
mod model;
mod mongodb_only;
mod mysql_only;
mod plans;
mod pooler;
mod recurring;
mod rights;
mod running;
mod tables;
mod work;

use std::time::Duration;

use jiff::SignedDuration;
use jobrunr_scaler::config::{ReadBounds, StorageConfig};
use jobrunr_scaler::jobrunr::{Filter, Question, Questions, Queue, Snapshot};
use jobrunr_scaler::storage::{Storage, StorageError};

use crate::database::{Database, Kind, Layout};
use crate::rows::{Job, ServerRow, job, scheduled, server};

/// Creates a test of each function for each database: of those before `;` for every one, of those after it for SQL only.
macro_rules! on_every_database {
    ($($test:ident),* $(,)? $(; sql: $($sql:ident),* $(,)?)?) => {
        mod postgres { crate::storage::on_database!(Postgres: $($test,)* $($($sql,)*)?); }
        mod mariadb { crate::storage::on_database!(MariaDb: $($test,)* $($($sql,)*)?); }
        mod mysql { crate::storage::on_database!(MySql: $($test,)* $($($sql,)*)?); }
        mod sqlite { crate::storage::on_database!(Sqlite: $($test,)* $($($sql,)*)?); }
        mod mongodb { crate::storage::on_database!(MongoDb: $($test,)*); }
    };
}
macro_rules! on_database {
    ($kind:ident: $($test:ident,)*) => {
        $(#[tokio::test] async fn $test() { super::$test(crate::database::Kind::$kind).await; })*
    };
}
pub(crate) use on_database;
pub(crate) use on_every_database;

on_every_database!(
    empty_schema_is_all_zeros,
    enqueued_jobs_are_counted_and_the_oldest_found,
    scheduled_jobs_are_counted_within_each_look_ahead,
    jobs_without_a_fresh_heartbeat_are_orphans,
    servers_are_read_newest_first_dead_ones_included,
    count_limit_stops_counting_and_zero_means_no_limit,
    unsupported_filter_is_named_and_affects_no_others;
    sql: filters_compare_with_their_columns, questions_are_answered_by_one_read, servers_of_jobrunr_pro_report_more,
);

pub(crate) fn question(filter: Filter, look_ahead_seconds: i64) -> Question {
    Question { filter, look_ahead: SignedDuration::from_secs(look_ahead_seconds), ..Question::default() }
}

/// Everything that needs a server, now or within a minute.
pub(crate) fn demand() -> Question {
    Question { demand: true, ..plain() }
}

/// Every job, and those scheduled within a minute.
pub(crate) fn plain() -> Question {
    question(Filter::default(), 60)
}

/// With these bounds every read of a session begins at the cursors of the first, and repeats its counts of long queues.
pub(crate) fn no_further_full_scan() -> ReadBounds {
    let full_scan_interval = Duration::from_secs(3_600);
    ReadBounds { full_scan_share: u32::MAX, full_scan_interval, ..ReadBounds::default() }
}

pub(crate) fn from_cursors(database: &Database) -> StorageConfig {
    StorageConfig { bounds: no_further_full_scan(), ..database.config() }
}

pub(crate) async fn read(
    database: &Database,
    config: &StorageConfig,
    questions: impl IntoIterator<Item = Question>,
) -> Result<Snapshot, StorageError> {
    let mut session = config.connect().await?;
    let snapshot = session.read(&Questions::from_iter(questions), database.now).await;
    session.close().await;
    snapshot
}

pub(crate) fn queue<'a>(snapshot: &'a Snapshot, filter: &Filter) -> &'a Queue {
    snapshot.queues[filter].as_ref().unwrap()
}

/// The counts of a queue: enqueued, processing, processing with a fresh heartbeat, due within a minute.
pub(crate) fn counts(snapshot: &Snapshot) -> [u64; 4] {
    let queue = queue(snapshot, &Filter::default());
    let due = queue.scheduled[&SignedDuration::from_mins(1)];
    [queue.enqueued, queue.processing, queue.processing_alive, due].map(|count| count.n_jobs)
}

async fn empty_schema_is_all_zeros(kind: Kind) {
    let database = Database::new(kind).await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    assert_eq!(counts(&snapshot), [0, 0, 0, 0]);
    assert_eq!(queue(&snapshot, &Filter::default()).oldest_enqueued_at, None);
    assert!(snapshot.servers.is_empty());
    assert_eq!((snapshot.read_at, snapshot.heartbeat_multiplicand), (database.now, 4));
}

async fn enqueued_jobs_are_counted_and_the_oldest_found(kind: Kind) {
    let mut database = Database::new(kind).await;
    let mut check = async |jobs: &[Job], n_enqueued: u64, oldest_ago: Option<f64>| {
        database.clear().await;
        database.insert_jobs(jobs).await;
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        let queue = queue(&snapshot, &Filter::default());
        let oldest = queue.oldest_enqueued_at.map(|at| database.now.duration_since(at).as_secs_f64());
        assert_eq!((queue.enqueued.n_jobs, oldest), (n_enqueued, oldest_ago), "{kind:?} {jobs:?}");
    };
    check(&[job("ENQUEUED", 10.0)], 1, Some(10.0)).await;
    check(&[job("ENQUEUED", 10.0), job("ENQUEUED", 300.125), job("ENQUEUED", 20.0)], 3, Some(300.125)).await;
    // The application's clock may be ahead of ours.
    check(&[job("ENQUEUED", -5.0)], 1, Some(-5.0)).await;
    let other_states = ["AWAITING", "SCHEDULED", "PROCESSING", "FAILED", "SUCCEEDED", "DELETED"];
    // PROCESSED is JobRunr Pro's; the last may be a later version's.
    let unknown_states = ["PROCESSED", "NOT_APPLICABLE", "WONDERFUL", "enqueued_", ""];
    let others: Vec<Job> = other_states.iter().chain(&unknown_states).map(|state| job(state, 500.0)).collect();
    check(&others, 0, None).await;
}

async fn scheduled_jobs_are_counted_within_each_look_ahead(kind: Kind) {
    let mut database = Database::new(kind).await;
    database
        .insert_jobs(&[
            // Overdue: no server was alive to enqueue them.
            scheduled(-7200.0),
            scheduled(-0.001),
            scheduled(0.0),
            scheduled(30.0),
            scheduled(60.0),
            scheduled(60.001),
            scheduled(119.0),
            scheduled(86_400.0),
            // JobRunr 8 leaves scheduledAt in the states that follow.
            job("ENQUEUED", 1.0).due_in(-1.0),
            job("SUCCEEDED", 60.0).due_in(-60.0),
            job("FAILED", 60.0).due_in(10.0),
            job("AWAITING", 60.0).due_in(10.0),
            // Without a due time.
            job("SCHEDULED", 60.0),
        ])
        .await;
    let expected = [(0, 3), (60, 5), (120, 7), (90_000, 8)];
    let questions = expected.map(|(look_ahead, _)| question(Filter::default(), look_ahead));
    let snapshot = read(&database, &database.config(), questions).await.unwrap();
    let scheduled = &queue(&snapshot, &Filter::default()).scheduled;
    let scheduled: Vec<(i64, u64)> = scheduled.iter().map(|(ahead, count)| (ahead.as_secs(), count.n_jobs)).collect();
    assert_eq!(scheduled, expected, "{kind:?}");
}

async fn jobs_without_a_fresh_heartbeat_are_orphans(kind: Kind) {
    let mut database = Database::new(kind).await;
    let mut check = async |what: &str, servers: &[ServerRow], limit: f64| {
        database.clear().await;
        database.insert_servers(servers).await;
        let ages = [-5.0, 0.0, limit - 0.001, limit, limit + 0.001, limit + 500.0];
        database.insert_jobs(&ages.map(|age| job("PROCESSING", age))).await;
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        assert_eq!(counts(&snapshot), [0, 6, 4, 0], "{kind:?} {what}");
        assert_eq!(queue(&snapshot, &Filter::default()).n_orphans(), 2, "{kind:?} {what}");
    };
    check("no server: JobRunr's default", &[], 60.0).await;
    check("one server", &[server(4, 5, 1.0)], 20.0).await;
    check("the slowest of the live ones", &[server(4, 5, 1.0), server(4, 30, 119.0), server(4, 10, 2.0)], 120.0).await;
    check("a slow one is dead", &[server(4, 5, 1.0), server(4, 30, 121.0)], 20.0).await;
    check("a slow one at its limit still lives", &[server(4, 5, 1.0), server(4, 30, 120.0)], 120.0).await;
    check("all dead: the last one seen", &[server(4, 60, 9000.0), server(4, 7, 400.0)], 28.0).await;
    check("a server's clock is ahead", &[server(4, 10, -30.0)], 40.0).await;
}

async fn servers_are_read_newest_first_dead_ones_included(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&[server(4, 15, 61.0), server(8, 15, 60.0), server(16, 5, 0.5)]).await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    let workers = |servers: &mut dyn Iterator<Item = &jobrunr_scaler::jobrunr::Server>| -> Vec<u64> {
        servers.map(|server| server.worker_pool_size).collect()
    };
    assert_eq!(workers(&mut snapshot.servers.iter()), [16, 8, 4], "{kind:?}");
    assert_eq!(workers(&mut snapshot.live_servers()), [16, 8], "{kind:?}");
    let newest = &snapshot.servers[0];
    assert_eq!(newest.poll_interval, SignedDuration::from_secs(5));
    assert_eq!(database.now.duration_since(newest.last_heartbeat), SignedDuration::from_millis(500));
}

async fn servers_of_jobrunr_pro_report_more(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    let servers = [server(4, 15, 61.0), server(16, 5, 0.5).occupied(9).tags("SERVER=0a,DEFAULT")];
    database.insert_servers(&servers).await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    let newest = &snapshot.servers[0];
    assert_eq!((newest.occupied_workers, newest.server_tags.as_deref()), (Some(9), Some("SERVER=0a,DEFAULT")));
    assert_eq!((snapshot.servers[1].occupied_workers, &snapshot.servers[1].server_tags), (None, &None));
}

async fn count_limit_stops_counting_and_zero_means_no_limit(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jobs = ["ENQUEUED", "PROCESSING", "SCHEDULED"].map(|state| vec![job(state, 1.0).due_in(1.0); 4]).concat();
    database.insert_jobs(&jobs).await;
    for (limit, n_jobs, limited) in [(Some(3), 3, true), (Some(4), 4, true), (Some(5), 4, false), (None, 4, false)] {
        let config = StorageConfig { count_limit: limit, ..database.config() };
        let snapshot = read(&database, &config, [plain()]).await.unwrap();
        assert_eq!(counts(&snapshot), [n_jobs; 4], "{kind:?} {limit:?}");
        assert_eq!(queue(&snapshot, &Filter::default()).enqueued.limited, limited, "{kind:?} {limit:?}");
    }
}

fn priority(priority: i32) -> Filter {
    Filter { priority: Some(priority), ..Filter::default() }
}

async fn filters_compare_with_their_columns(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    for state in ["ENQUEUED", "PROCESSING", "SCHEDULED"] {
        let job = || job(state, 5.0).due_in(5.0);
        database
            .insert_jobs(&[
                job(),
                job().priority(1),
                job().priority(1).tag("gpu"),
                job().tag("gpu").queue("tenant-a"),
                job().tag("o'neill %_").queue("Tenant-B"),
            ])
            .await;
    }
    let tag = |tag: &str| Filter { server_tag: Some(tag.into()), ..Filter::default() };
    let dynamic_queue = |queue: &str| Filter { dynamic_queue: Some(queue.into()), ..Filter::default() };
    let expected = [
        (Filter::default(), 5),
        (priority(0), 3),
        (priority(1), 2),
        (priority(2), 0),
        (tag("DEFAULT"), 2),
        (tag("gpu"), 2),
        (tag("gp"), 0),
        (tag("o'neill %_"), 1),
        (tag("' OR 1=1 --"), 0),
        (dynamic_queue("tenant-a"), 1),
        (Filter { priority: Some(1), ..tag("gpu") }, 1),
        (Filter { server_tag: Some("gpu".into()), ..dynamic_queue("tenant-a") }, 1),
    ];
    let questions = expected.clone().map(|(filter, _)| question(filter, 60));
    let snapshot = read(&database, &database.config(), questions).await.unwrap();
    for (filter, n_jobs) in expected {
        let queue = queue(&snapshot, &filter);
        let due = queue.scheduled[&SignedDuration::from_mins(1)];
        let counts = [queue.enqueued, queue.processing, queue.processing_alive, due].map(|count| count.n_jobs);
        assert_eq!(counts, [n_jobs; 4], "{kind:?} {filter:?}");
    }
}

async fn unsupported_filter_is_named_and_affects_no_others(kind: Kind) {
    let mut database = Database::with(kind, Layout { prefix: "tbl_", ..Layout::default() }).await;
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let filters = [
        priority(1),
        Filter { server_tag: Some("gpu".into()), ..Filter::default() },
        Filter { dynamic_queue: Some("a".into()), ..Filter::default() },
    ];
    let questions = filters.iter().cloned().chain([Filter::default()]).map(|filter| question(filter, 60));
    let snapshot = read(&database, &database.config(), questions).await.unwrap();
    let texts = filters.map(|filter| snapshot.queues[&filter].as_ref().unwrap_err().to_string());
    for (text, column) in texts.iter().zip(["priority", "serverTag", "dynamicQueue"]) {
        assert!(text.contains(&format!("{}.{column}", database.jobs())), "{text}");
        assert!(text.contains("JobRunr Pro"), "{text}");
    }
    assert_eq!(counts(&snapshot), [1, 0, 0, 0], "{kind:?}");
}

async fn questions_are_answered_by_one_read(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    database.insert_jobs(&[job("ENQUEUED", 9.0).priority(1), scheduled(90.0), scheduled(5.0).priority(1)]).await;
    let questions: Vec<Question> = (0..40).map(|n| question(priority(n % 5), 30 * i64::from(n % 4))).collect();
    let snapshot = read(&database, &database.config(), questions.clone()).await.unwrap();
    for question in &questions {
        assert!(snapshot.answers(question), "{kind:?} {question:?}");
    }
    let due = |filter: &Filter| -> Vec<u64> {
        queue(&snapshot, filter).scheduled.values().map(|count| count.n_jobs).collect()
    };
    assert_eq!(due(&priority(0)), [0, 0, 0, 1], "{kind:?}");
    assert_eq!(due(&priority(1)), [0, 1, 1, 1], "{kind:?}");
    assert_eq!(queue(&snapshot, &priority(1)).enqueued.n_jobs, 1);
    assert_eq!(queue(&snapshot, &priority(2)).enqueued.n_jobs, 0);
}
