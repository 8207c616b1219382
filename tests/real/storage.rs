//! Every storage, against a real database.

use jiff::SignedDuration;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{Count, Filter, Question, Questions, Queue, Snapshot};
use jobrunr_scaler::storage::{Storage, StorageError};

use crate::fixture::{ALL, Database, Kind, Shape};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn question(filter: Filter, look_ahead: SignedDuration) -> Question {
    Question { filter, look_ahead }
}

async fn read_with(database: &Database, config: StorageConfig, questions: Vec<Question>) -> Snapshot {
    let mut session = config.connect().await.unwrap();
    let questions: Questions = questions.into_iter().collect();
    let snapshot = session.read(&questions, database.now).await.unwrap();
    session.close().await;
    snapshot
}

async fn read(database: &Database) -> (Snapshot, Queue) {
    let snapshot = read_with(database, database.config(), vec![question(Filter::default(), MINUTE)]).await;
    let queue = snapshot.queues[&Filter::default()].clone().unwrap();
    (snapshot, queue)
}

fn exactly(n_jobs: u64) -> Count {
    Count { n_jobs, limited: false }
}

#[tokio::test]
async fn an_empty_schema_is_no_error_and_no_job() {
    for kind in ALL {
        let database = Database::new(kind, Shape::default()).await;
        let (snapshot, queue) = read(&database).await;
        let nothing = Queue { scheduled: [(MINUTE, exactly(0))].into(), ..Queue::default() };
        assert_eq!((snapshot.servers.len(), queue), (0, nothing), "{kind:?}");
    }
}

/// What JobRunr 8 leaves behind, in every schema that we know of.
#[tokio::test]
async fn jobs_are_counted_in_every_schema_and_behind_every_prefix() {
    let shapes = [
        Shape::default(),
        Shape { prefix: "tbl_", ..Shape::default() },
        Shape { prefix: "myschema.", ..Shape::default() },
        Shape { prefix: "myschema.tbl_", ..Shape::default() },
        Shape { hand_made: true, ..Shape::default() },
        Shape { pro: true, ..Shape::default() },
    ];
    for kind in ALL {
        for shape in shapes {
            if kind == Kind::Sqlite && shape.prefix.contains('.') {
                continue; // JobRunr itself refuses it.
            }
            let mut database = Database::new(kind, shape).await;
            database.job("ENQUEUED", 12.5, Some(14.0)).await;
            database.job("ENQUEUED", 3.0, None).await;
            database.job("SCHEDULED", 100.0, Some(-30.0)).await; // due within a minute
            database.job("SCHEDULED", 100.0, Some(50.0)).await; // overdue
            database.job("SCHEDULED", 100.0, Some(-61.0)).await; // later
            database.job("SCHEDULED", 100.0, None).await; // hand-written: no instant
            database.job("PROCESSING", 1.0, Some(5.0)).await;
            database.job("SUCCEEDED", 1.0, Some(5.0)).await; // version 8 keeps scheduledAt
            database.job("FAILED", 1.0, None).await;
            database.job("NOT_APPLICABLE", 1.0, Some(1.0)).await; // a state that we do not know
            database.server(4, 15, 5.0).await;
            let (snapshot, queue) = read(&database).await;
            let context = format!("{kind:?} {shape:?}");
            assert_eq!(queue.enqueued, exactly(2), "{context}");
            let waited = database.now.duration_since(queue.oldest_enqueued_at.unwrap());
            assert_eq!(waited, SignedDuration::from_millis(12_500), "{context}");
            assert_eq!(queue.scheduled[&MINUTE], exactly(2), "{context}");
            assert_eq!((queue.processing, queue.processing_alive), (exactly(1), exactly(1)), "{context}");
            assert_eq!(snapshot.live_servers().map(|server| server.worker_pool_size).sum::<u64>(), 4, "{context}");
        }
    }
}

#[tokio::test]
async fn a_job_without_heartbeat_for_four_poll_intervals_is_an_orphan() {
    /// Servers as (poll interval, heartbeat ago), jobs' heartbeats ago, how many of these are fresh.
    type Case = (&'static [(u32, f64)], &'static [f64], u64);
    let cases: [Case; 6] = [
        (&[(15, 1.0)], &[59.0, 60.0, 60.5], 2),
        (&[(5, 1.0)], &[19.0, 21.0], 1),
        (&[(5, 1.0), (15, 1.0)], &[21.0, 59.0, 61.0], 2), // the slowest live server decides
        (&[(5, 1.0), (600, 5000.0)], &[21.0], 0),         // a dead one does not
        (&[(30, 5000.0)], &[119.0, 121.0], 1),            // only dead ones: the last seen
        (&[], &[59.0, 61.0], 1),                          // none: JobRunr's default
    ];
    for kind in ALL {
        for (servers, heartbeats, alive) in cases {
            let mut database = Database::new(kind, Shape::default()).await;
            for &(poll, ago) in servers {
                database.server(4, poll, ago).await;
            }
            for &ago in heartbeats {
                database.job("PROCESSING", ago, None).await;
            }
            let (_, queue) = read(&database).await;
            let n_jobs = heartbeats.len() as u64;
            assert_eq!(
                (queue.processing, queue.processing_alive),
                (exactly(n_jobs), exactly(alive)),
                "{kind:?} {servers:?}"
            );
        }
    }
}

#[tokio::test]
async fn counts_end_at_the_limit_unless_it_is_zero() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape::default()).await;
        for n in 0..5 {
            database.job("ENQUEUED", f64::from(n), None).await;
        }
        let check = async |limit: &str, expected: Count| {
            let config = database.config_with(&[("COUNT_LIMIT", limit)]);
            let snapshot = read_with(&database, config, vec![question(Filter::default(), MINUTE)]).await;
            assert_eq!(snapshot.queues[&Filter::default()].as_ref().unwrap().enqueued, expected, "{kind:?} {limit}");
        };
        check("3", Count { n_jobs: 3, limited: true }).await;
        check("6", exactly(5)).await;
        check("0", exactly(5)).await;
    }
}

#[tokio::test]
async fn several_questions_go_into_one_read() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape { pro: true, ..Shape::default() }).await;
        let more = ", priority, serverTag, dynamicQueue";
        database.job_with("ENQUEUED", 9.0, None, more, ", 0, 'gpu', 'a'").await;
        database.job_with("ENQUEUED", 5.0, None, more, ", 1, 'DEFAULT', 'b'").await;
        database.job_with("SCHEDULED", 5.0, Some(-90.0), more, ", 1, 'gpu', 'b'").await;
        let server = ", occupiedWorkers, serverTags";
        database.server_with(8, 15, 1.0, server, ", 3, 'SERVER=x,DEFAULT'").await;
        let priority = Filter { priority: Some(1), ..Filter::default() };
        let tag = Filter { server_tag: Some("gpu".to_owned()), ..Filter::default() };
        let hostile = Filter { dynamic_queue: Some("b' OR '1'='1".to_owned()), ..Filter::default() };
        let questions = vec![
            question(Filter::default(), MINUTE),
            question(priority.clone(), MINUTE),
            question(priority.clone(), MINUTE * 2),
            question(tag.clone(), MINUTE * 2),
            question(hostile.clone(), MINUTE),
        ];
        let snapshot = read_with(&database, database.config(), questions).await;
        let n = |filter: &Filter| snapshot.queues[filter].as_ref().unwrap().enqueued.n_jobs;
        assert_eq!((n(&Filter::default()), n(&priority), n(&tag), n(&hostile)), (2, 1, 1, 0), "{kind:?}");
        let due = |filter: &Filter, ahead| snapshot.queues[filter].as_ref().unwrap().scheduled[&ahead].n_jobs;
        assert_eq!((due(&priority, MINUTE), due(&priority, MINUTE * 2), due(&tag, MINUTE * 2)), (0, 1, 1), "{kind:?}");
        let server = &snapshot.servers[0];
        assert_eq!((server.occupied_workers, server.server_tags.as_deref()), (Some(3), Some("SERVER=x,DEFAULT")));
    }
}

#[tokio::test]
async fn as_many_questions_as_a_monitor_takes_fit_into_one_statement() {
    for kind in ALL {
        let database = Database::new(kind, Shape { pro: true, ..Shape::default() }).await;
        let filter = |n| Filter { priority: Some(n), ..Filter::default() };
        let questions = (0..80).map(|n| question(filter(n), MINUTE)).collect();
        assert_eq!(read_with(&database, database.config(), questions).await.queues.len(), 80, "{kind:?}");
    }
}

#[tokio::test]
async fn a_filter_without_its_column_is_an_error_of_that_question_alone() {
    for kind in ALL {
        let database = Database::new(kind, Shape::default()).await;
        let filter = Filter { server_tag: Some("gpu".to_owned()), ..Filter::default() };
        let questions = vec![question(Filter::default(), MINUTE), question(filter.clone(), MINUTE)];
        let snapshot = read_with(&database, database.config(), questions).await;
        assert!(snapshot.queues[&Filter::default()].is_ok());
        let error = snapshot.queues[&filter].as_ref().unwrap_err().to_string();
        assert_eq!(
            error,
            "serverTag needs the column jobrunr_jobs.serverTag, which this storage does not have: JobRunr Pro brings it, \
             open-source JobRunr does not; remove serverTag from the trigger"
        );
    }
}

#[tokio::test]
async fn missing_tables_are_named_with_the_prefix_that_was_tried() {
    for kind in ALL {
        let database = Database::new(kind, Shape { prefix: "tbl_", ..Shape::default() }).await;
        let error = database.config_with(&[("TABLE_PREFIX", "other_")]).connect().await.err().unwrap();
        let StorageError::Schema(schema) = &error else { panic!("{kind:?}: {error}") };
        let text = schema.to_string();
        assert!(text.contains("other_jobrunr_jobs, other_jobrunr_backgroundjobservers"), "{text}");
        assert!(text.contains("`other_`"), "{text}");
    }
}

#[tokio::test]
async fn missing_columns_are_named() {
    for kind in ALL {
        let mut database = Database::new(kind, Shape::default()).await;
        database
            .run(
                "DROP INDEX jobrunr_job_scheduled_at_idx".to_owned()
                    + if kind == Kind::MariaDb { " ON jobrunr_jobs" } else { "" },
            )
            .await;
        database.run("ALTER TABLE jobrunr_jobs DROP COLUMN scheduledAt".to_owned()).await;
        let error = database.config().connect().await.err().unwrap().to_string();
        assert!(error.starts_with("the table jobrunr_jobs lacks scheduledAt"), "{error}");
    }
}

#[tokio::test]
async fn a_session_in_another_time_zone_reads_the_same() {
    for hand_made in [false, true] {
        let mut database = Database::new(Kind::Postgres, Shape { hand_made, ..Shape::default() }).await;
        database.job("ENQUEUED", 7.0, None).await;
        database.job("SCHEDULED", 7.0, Some(-59.0)).await;
        database.server(4, 15, 59.0).await;
        let name = database.url.rsplit('/').next().unwrap().to_owned();
        database.run(format!("ALTER DATABASE {name} SET timezone = 'America/New_York'")).await;
        let (snapshot, queue) = read(&database).await;
        let waited = database.now.duration_since(queue.oldest_enqueued_at.unwrap());
        assert_eq!(waited, SignedDuration::from_secs(7), "hand made: {hand_made}");
        assert_eq!(queue.scheduled[&MINUTE], exactly(1));
        assert_eq!(snapshot.live_servers().count(), 1);
    }
}

#[tokio::test]
async fn sqlite_is_read_in_all_four_forms_of_an_instant() {
    let mut database = Database::new(Kind::Sqlite, Shape::default()).await;
    let at = |seconds_ago: i64| database.now.checked_sub(SignedDuration::from_secs(seconds_ago)).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a Julian day is a double")]
    let julian = |seconds_ago: i64| at(seconds_ago).as_millisecond() as f64 / 86_400_000.0 + 2_440_587.5;
    let forms: Vec<[String; 3]> = vec![
        [10, -30, -90].map(|ago| at(ago).as_millisecond().to_string()),
        [11, -30, -90].map(|ago| at(ago).as_second().to_string()),
        [12, -30, -90].map(|ago| at(ago).strftime("'%Y-%m-%d %H:%M:%S%.3f'").to_string()),
        [13, -30, -90].map(|ago| julian(ago).to_string()),
    ];
    let mut oldest = 9;
    for [enqueued, due, later] in forms {
        database.raw_job("ENQUEUED", &enqueued, "NULL", "", "").await;
        database.raw_job("SCHEDULED", &enqueued, &due, "", "").await;
        database.raw_job("SCHEDULED", &enqueued, &later, "", "").await;
        database.raw_job("PROCESSING", &enqueued, "NULL", "", "").await;
        oldest += 1;
        let (_, queue) = read(&database).await;
        let n = u64::try_from(oldest - 9).unwrap();
        assert_eq!(queue.enqueued, exactly(n));
        let waited = database.now.duration_since(queue.oldest_enqueued_at.unwrap()).as_secs_f64();
        // Seconds have lost their fraction, and a Julian day is a double.
        let expected = f64::from(oldest);
        assert!((waited - expected).abs() <= 1.0, "{enqueued}: {waited}");
        assert_eq!((queue.scheduled[&MINUTE], queue.processing_alive), (exactly(n), exactly(n)), "{enqueued}");
    }
    // At noon a Julian day is a whole number, which SQLite stores as an integer.
    database.raw_job("ENQUEUED", "2451545", "NULL", "", "").await;
    let (_, queue) = read(&database).await;
    assert_eq!(queue.oldest_enqueued_at.unwrap().to_string(), "2000-01-01T12:00:00Z");
}

#[tokio::test]
async fn a_role_that_may_only_select_is_enough() {
    let mut database = Database::new(Kind::Postgres, Shape::default()).await;
    database.job("ENQUEUED", 7.0, None).await;
    let name = database.url.rsplit('/').next().unwrap().to_owned();
    database.run(format!("CREATE ROLE {name} LOGIN PASSWORD 'only'")).await;
    database.run(format!("GRANT SELECT ON jobrunr_jobs, jobrunr_backgroundjobservers TO {name}")).await;
    let mut config = database.config_with(&[]);
    let url = database.url.replace("jobrunr:jobrunr@", &format!("{name}:only@"));
    config.address = jobrunr_scaler::config::Address::parse(&url).unwrap().0;
    let snapshot = read_with(&database, config, vec![question(Filter::default(), MINUTE)]).await;
    assert_eq!(snapshot.queues[&Filter::default()].as_ref().unwrap().enqueued, exactly(1));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let database = Database::new(kind, Shape::default()).await;
        let mut config = database.config();
        let url = database.url.replace(":jobrunr@", ":s3cret-wrong@");
        config.address = jobrunr_scaler::config::Address::parse(&url).unwrap().0;
        let error = config.connect().await.err().unwrap();
        assert!(matches!(error, StorageError::Denied(_)), "{error}");
        assert!(!format!("{error} {error:?} {config:?}").contains("s3cret"), "{error}");
    }
}
