//! Which server runs which job, on every database.

use std::collections::BTreeMap;

use ::mongodb::bson::{Binary, Uuid, UuidRepresentation, doc};
use jiff::Timestamp;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions, RunningJobs, Snapshot};
use jobrunr_scaler::storage::{FinishedState, HistoryPage, Storage};

use super::{counts, from_cursors, on_every_database, plain, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Job, ServerRow, job, seconds, server};

on_every_database!(
    running_jobs_are_read_with_their_servers,
    servers_have_ids_and_names,
    hostile_records_affect_no_other_job,
    restarted_job_is_found_on_its_new_server,
    list_ends_at_the_count_limit,
    question_without_running_jobs_reads_none;
    sql: list_that_cannot_be_read_affects_no_count,
    running_jobs_are_read_from_tables_made_by_hand,
    ids_of_jobrunr_pro_are_those_of_the_records,
    job_of_a_server_whose_clock_is_behind_is_in_the_list,
);

const A: &str = "3a364326-1111-4222-8333-444455556666";
const B: &str = "0b0b0b0b-1111-4222-8333-444455556666";
const GONE: &str = "99999999-1111-4222-8333-444455556666";

fn asks_for_running() -> Question {
    Question { running: true, ..plain() }
}

/// The state of a job that a server fetched.
fn state(server: &str, started_at: Timestamp) -> String {
    format!(
        r#"{{"@class":"org.jobrunr.jobs.states.ProcessingState","state":"PROCESSING","createdAt":"{started_at}","serverId":"{server}","serverName":"pod","updatedAt":"{started_at}"}}"#
    )
}

/// A record with these states, as Jackson writes it.
fn record(states: &[String], parameter: &str, metadata: &str) -> String {
    let states = states.join(",");
    format!(
        r#"{{"version":2,"jobDetails":{{"className":"a.B","jobParameters":[{{"object":{parameter}}}]}},"id":"x","jobHistory":[{{"state":"ENQUEUED","createdAt":"2026-11-23T11:00:00Z"}},{states}],"metadata":{metadata},"jobSignature":"a.B.c()","labels":[]}}"#
    )
}

/// A job that a server has been running for so many seconds.
fn run(database: &Database, server: &str, seconds: i64) -> Job {
    let started_at = database.now - jiff::SignedDuration::from_secs(seconds);
    job("PROCESSING", 1.0).json(record(&[state(server, started_at)], r#""x""#, "{}"))
}

fn two_servers() -> [ServerRow; 2] {
    [server(4, 15, 1.0).id(A).name(Some("workers-a")), server(4, 15, 2.0).id(B).name(Some("workers-b"))]
}

fn found(snapshot: &Snapshot) -> &RunningJobs {
    let running = snapshot.running.as_ref().unwrap();
    assert_eq!(running.unread, None);
    running
}

/// The servers of the jobs, with the seconds for which they have been running, by kind.
fn by_kind(snapshot: &Snapshot, now: Timestamp) -> BTreeMap<String, (Option<String>, Option<i64>)> {
    let jobs = found(snapshot).jobs.iter().map(|job| {
        let seconds = job.started_at.map(|at| now.duration_since(at).as_secs());
        (job.kind.to_string(), (job.server_id.as_deref().map(str::to_owned), seconds))
    });
    jobs.collect()
}

fn on(server: &str, seconds: i64) -> (Option<String>, Option<i64>) {
    (Some(server.to_owned()), Some(seconds))
}

async fn servers_have_ids_and_names(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    let long = "n".repeat(128);
    database
        .insert_servers(&[
            server(4, 15, 3.0).name(None),
            server(4, 15, 4.0).name(Some("a\nb\u{1}")),
            server(4, 15, 5.0).name(Some(&long)),
        ])
        .await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    let names: Vec<Option<&str>> = snapshot.servers.iter().map(|server| server.name.as_deref()).collect();
    assert_eq!(
        names,
        [Some("workers-a"), Some("workers-b"), None, Some("a\u{fffd}b\u{fffd}"), Some(&*long)],
        "{kind:?}"
    );
    assert_eq!((&*snapshot.servers[0].id, &*snapshot.servers[1].id), (A, B), "{kind:?}");
    assert_eq!(snapshot.servers[0].first_heartbeat, Some(snapshot.servers[0].last_heartbeat), "{kind:?}");
    assert_eq!(snapshot.servers[0].server_tags, None, "{kind:?}");
}

async fn running_jobs_are_read_with_their_servers(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    let now = database.now;
    let at = |seconds: i64| now - jiff::SignedDuration::from_secs(seconds);
    let failed = r#"{"state":"FAILED","createdAt":"2026-11-23T11:30:00Z","message":"it's \"bad\""}"#.to_owned();
    let retried = [state(B, at(900)), failed, state(A, at(30))];
    database
        .insert_jobs(&[
            run(&database, A, 10).kind("first"),
            run(&database, B, 20).kind("second"),
            job("PROCESSING", 1.0).json(record(&retried, r#""x""#, "{}")).kind("retried"),
            run(&database, GONE, 40).kind("orphan"),
            run(&database, A, 50).kind("longer than the text around the state").json(record(
                &[state(A, at(50))],
                &format!(r#""{}""#, "ä".repeat(20_000)),
                &format!(r#"{{"log":"{}"}}"#, "€".repeat(20_000)),
            )),
            // Not running.
            Job { state: "SUCCEEDED".to_owned(), ..run(&database, A, 60).kind("done") },
        ])
        .await;
    let snapshot = read(&database, &database.config(), [asks_for_running()]).await.unwrap();
    let expected = BTreeMap::from([
        ("first".to_owned(), on(A, 10)),
        ("second".to_owned(), on(B, 20)),
        ("retried".to_owned(), on(A, 30)),
        ("orphan".to_owned(), (None, Some(40))),
        ("longer than the text around the state".to_owned(), on(A, 50)),
    ]);
    assert_eq!(by_kind(&snapshot, now), expected, "{kind:?}");
    assert!(found(&snapshot).is_complete(), "{kind:?}");
    let by_server = found(&snapshot).by_server();
    assert_eq!(by_server.iter().map(|(id, jobs)| (*id, jobs.len())).collect::<Vec<_>>(), [(B, 1), (A, 3)], "{kind:?}");
}

async fn hostile_records_affect_no_other_job(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    let now = database.now;
    let user = format!(r#"{{"serverId":"{B}","state":"PROCESSING"}}"#);
    let escaped = state(B, now).replace('"', "\\\"");
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let jobs = [
        ("before", record(&[state(A, now)], &user, "{}"), Some(A)),
        // The excerpt shows the application's object, so that the whole record is read.
        ("after", record(&[state(A, now)], "1", &format!(r#"{{"x":{user},"y":1}}"#)), Some(A)),
        (
            "far after",
            record(&[state(A, now)], "1", &format!(r#"{{"z":"{}","x":{user},"y":1}}"#, "z".repeat(5_000))),
            Some(A),
        ),
        ("text", record(&[state(A, now)], "1", &format!(r#"{{"x":"{escaped}]"}}"#)), Some(A)),
        ("deep", record(&[state(A, now)], &nested, "{}"), None),
        ("not json", "serverId \" 'x' {[".to_owned(), None),
        ("no json", String::new(), None),
        ("unknown server", record(&[state("' OR 1=1 --", now)], "1", "{}"), None),
        ("spaces", record(&[state(A, now)], "1", "{}").replace("\":\"", "\" : \""), Some(A)),
    ];
    let rows: Vec<Job> = jobs.iter().map(|(name, json, _)| job("PROCESSING", 1.0).json(json).kind(name)).collect();
    database.insert_jobs(&rows).await;
    let snapshot = read(&database, &database.config(), [asks_for_running()]).await.unwrap();
    let found = by_kind(&snapshot, now);
    for (name, _, expected) in &jobs {
        let server = found[*name].0.as_deref();
        // A database that searches text instead of parsing JSON can tell more.
        let is_right = server == *expected || (*name == "deep" && server == Some(A));
        assert!(is_right, "{kind:?} {name}: {server:?}");
    }
    assert_eq!(counts(&snapshot)[1], 9, "{kind:?}");
}

async fn restarted_job_is_found_on_its_new_server(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    database.insert_jobs(&[run(&database, A, 10), run(&database, A, 20).kind("other")]).await;
    let questions = Questions::from_iter([asks_for_running()]);
    let mut session = database.config().connect().await.unwrap();
    let mut check = async |database: &Database, version: i32, expected: &str| {
        let snapshot = session.read(&questions, database.now).await.unwrap();
        let found = by_kind(&snapshot, database.now);
        assert_eq!(found["App.run()"].0.as_deref(), Some(expected), "{kind:?}: version {version}");
        assert_eq!(found["other"].0.as_deref(), Some(A), "{kind:?}: version {version}");
    };
    check(&database, 1, A).await;
    let json = record(&[state(A, database.now), state(B, database.now)], "1", "{}");
    // Two saves are heartbeats, so that the record is not read again; the third shows that the job was restarted.
    for (version, expected) in [(3, A), (6, B)] {
        match kind {
            Kind::MongoDb => {
                let set = doc! { "$set": { "jobAsJson": &json, "version": version } };
                database.mongodb().update("jobs", doc! { "jobSignature": "App.run()" }, set).await;
            }
            _ => {
                let (jobs, json) = (database.jobs(), database.text(&json));
                let set = format!("jobAsJson = {json}, version = {version}");
                database.execute(&format!("UPDATE {jobs} SET {set} WHERE jobSignature = 'App.run()'")).await;
            }
        }
        check(&database, version, expected).await;
    }
    session.close().await;
}

async fn list_ends_at_the_count_limit(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    let jobs = [1, 2, 3, 4].map(|seconds| run(&database, A, seconds));
    database.insert_jobs(&jobs).await;
    for (limit, n_jobs, is_truncated) in [(Some(3), 3, true), (Some(4), 4, true), (Some(5), 4, false), (None, 4, false)]
    {
        let config = StorageConfig { count_limit: limit, ..database.config() };
        let snapshot = read(&database, &config, [asks_for_running()]).await.unwrap();
        let running = found(&snapshot);
        assert_eq!((running.jobs.len(), running.is_truncated), (n_jobs, is_truncated), "{kind:?} {limit:?}");
    }
}

async fn question_without_running_jobs_reads_none(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_jobs(&[run(&database, A, 10)]).await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    assert_eq!(snapshot.running, None, "{kind:?}");
    assert!(!snapshot.answers(&asks_for_running()), "{kind:?}");
    // With a filter that selects no running job the list has them all the same.
    let later = Question { look_ahead: jiff::SignedDuration::from_mins(5), ..plain() };
    let snapshot = read(&database, &database.config(), [later, asks_for_running()]).await.unwrap();
    assert_eq!(found(&snapshot).jobs.len(), 1, "{kind:?}");
    // An idle storage needs no second query.
    database.move_jobs("PROCESSING", "SUCCEEDED").await;
    let snapshot = read(&database, &database.config(), [asks_for_running()]).await.unwrap();
    assert!(found(&snapshot).is_certainly_empty(), "{kind:?}");
}

async fn list_that_cannot_be_read_affects_no_count(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_servers(&two_servers()).await;
    database.insert_jobs(&[run(&database, A, 10), job("ENQUEUED", 5.0)]).await;
    let questions = Questions::from_iter([asks_for_running()]);
    let mut session = database.config().connect().await.unwrap();
    // The session has seen this column.
    let jobs = database.jobs();
    if kind == Kind::Sqlite {
        database.execute("DROP INDEX jobrunr_job_signature_idx").await;
    }
    database.execute(&format!("ALTER TABLE {jobs} DROP COLUMN jobSignature")).await;
    for _ in 0..2 {
        let snapshot = session.read(&questions, database.now).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 1, 1, 0], "{kind:?}");
        let running = snapshot.running.as_ref().unwrap();
        assert!(running.unread.is_some() && running.jobs.is_empty(), "{kind:?}: {running:?}");
        assert!(snapshot.answers(&asks_for_running()), "{kind:?}");
        let note = snapshot.notes.iter().find(|note| note.contains("which server runs which job cannot be read"));
        assert!(note.is_some(), "{kind:?}: {:?}", snapshot.notes);
    }
    session.close().await;
}

/// JobRunr considers the server alive; its first job has a time before the cursor that other jobs have set.
async fn job_of_a_server_whose_clock_is_behind_is_in_the_list(kind: Kind) {
    let mut database = Database::new(kind).await;
    let questions = Questions::from_iter([asks_for_running()]);
    database.insert_servers(&[server(4, 15, 1.0).id(A), server(4, 15, 57.0).id(B)]).await;
    database.insert_jobs(&[run(&database, A, 10).kind("first")]).await;
    let mut session = from_cursors(&database).connect().await.unwrap();
    session.read(&questions, database.now).await.unwrap();
    database.insert_jobs(&[Job { updated_ago: seconds(57.0), ..run(&database, B, 57).kind("behind") }]).await;
    let snapshot = session.read(&questions, database.now).await.unwrap();
    let expected = BTreeMap::from([("first".to_owned(), on(A, 10)), ("behind".to_owned(), on(B, 57))]);
    assert_eq!(by_kind(&snapshot, database.now), expected, "{kind:?}");
    session.close().await;
}

async fn running_jobs_are_read_from_tables_made_by_hand(kind: Kind) {
    let mut database = Database::with(kind, Layout { hand_made: true, ..Layout::default() }).await;
    database.insert_servers(&two_servers()).await;
    database.insert_jobs(&[run(&database, A, 10).kind("first"), run(&database, B, 20).kind("second")]).await;
    let snapshot = read(&database, &database.config(), [asks_for_running()]).await.unwrap();
    let expected = BTreeMap::from([("first".to_owned(), on(A, 10)), ("second".to_owned(), on(B, 20))]);
    assert_eq!(by_kind(&snapshot, database.now), expected, "{kind:?}");
    assert_eq!(&*snapshot.servers[0].id, A, "{kind:?}");
}

/// JobRunr Pro stores ids in other types than text.
async fn ids_of_jobrunr_pro_are_those_of_the_records(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    let (jobs, servers) = (database.jobs(), database.servers());
    database.insert_servers(&two_servers().map(|server| server.tags("DEFAULT,gpu"))).await;
    database
        .insert_jobs(&[run(&database, A, 10).kind("first"), run(&database, B, 20).kind("second").priority(1)])
        .await;
    let done = r#"{"jobHistory":[{"state":"PROCESSING"},{"state":"SUCCEEDED","processDuration":2.0}],"metadata":{}}"#;
    database.insert_jobs(&vec![job("SUCCEEDED", 30.0).json(done); 20]).await;
    for table in [&jobs, &servers] {
        match kind {
            Kind::Postgres => {
                database.execute(&format!("ALTER TABLE {table} ALTER COLUMN id TYPE uuid USING id::uuid")).await;
            }
            Kind::MariaDb | Kind::MySql => {
                let statement = format!(
                    "ALTER TABLE {table} DROP PRIMARY KEY, RENAME COLUMN id TO old; ALTER TABLE {table} ADD COLUMN id BINARY(16); \
                     UPDATE {table} SET id = UNHEX(REPLACE(old, '-', '')); ALTER TABLE {table} DROP COLUMN old, \
                     ADD PRIMARY KEY (id)"
                );
                database.execute(&statement).await;
            }
            Kind::Sqlite | Kind::MongoDb => {}
        }
    }
    let urgent = Filter { priority: Some(1), ..Filter::default() };
    let question = Question { filter: urgent, ..asks_for_running() };
    let work = Question { work: true, ..plain() };
    let snapshot = read(&database, &database.config(), [question, work]).await.unwrap();
    let expected = BTreeMap::from([("first".to_owned(), on(A, 10)), ("second".to_owned(), on(B, 20))]);
    assert_eq!(by_kind(&snapshot, database.now), expected, "{kind:?}");
    let newest = &snapshot.servers[0];
    let shown = (&*newest.id, newest.name.as_deref(), newest.server_tags.as_deref());
    assert_eq!(shown, (A, Some("workers-a"), Some("DEFAULT,gpu")), "{kind:?}");
    let times = snapshot.service_times.as_ref().and_then(|times| times.overall());
    assert_eq!(times.map(|time| (time.samples, time.mean)), Some((20, 2.0)), "{kind:?}");
    let (since, until) = (database.now - jiff::SignedDuration::from_mins(1), database.now);
    let page = HistoryPage { state: FinishedState::Succeeded, since, until, limit: 100, max_characters: 65_536 };
    let rows = database.config().connect().await.unwrap().history(&page).await.unwrap();
    assert!(rows.len() == 20 && rows.iter().all(|row| row.json.as_deref() == Some(done)), "{kind:?}: {rows:?}");
}

#[tokio::test]
async fn ids_in_the_order_of_bytes_of_older_drivers_are_those_of_the_records() {
    let mut database = Database::new(Kind::MongoDb).await;
    database.insert_jobs(&[job("PROCESSING", 1.0)]).await;
    let json = record(&[state(A, database.now)], "1", "{}");
    let legacy =
        |id: &str| Binary::from_uuid_with_representation(Uuid::parse_str(id).unwrap(), UuidRepresentation::JavaLegacy);
    let now = database.now.as_microsecond();
    let document = doc! { "_id": legacy(GONE), "version": 1, "jobAsJson": json, "jobSignature": "legacy", "state": "PROCESSING", "updatedAt": now };
    database.mongodb().insert("jobs", vec![document]).await;
    let heartbeat = ::mongodb::bson::DateTime::from_millis(database.now.as_millisecond());
    let document = doc! { "_id": legacy(A), "name": "old", "workerPoolSize": 4, "pollIntervalInSeconds": 15, "lastHeartbeat": heartbeat };
    database.mongodb().insert("background_job_servers", vec![document]).await;
    let snapshot = read(&database, &database.config(), [asks_for_running()]).await.unwrap();
    assert_eq!(&*snapshot.servers[0].id, A);
    let found = by_kind(&snapshot, database.now);
    assert_eq!(found["legacy"], on(A, 0));
    assert_eq!(found["App.run()"], (None, None));
}
