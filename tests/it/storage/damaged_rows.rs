//! Rows and questions that a database or the calendar cannot represent: they affect no others.

use ::mongodb::bson::doc;
use jobrunr_scaler::jobrunr::{Filter, QuestionError, Snapshot};

use super::{counts, demand, on_every_database, plain, question, queue, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Encoding, job, scheduled, server};
use crate::scaler::{answered, start};

on_every_database!(
    definitions_with_the_largest_created_at_are_read,
    long_definitions_are_read_from_their_ends;
    sql: servers_with_impossible_numbers_are_ignored,
);

fn note<'a>(snapshot: &'a Snapshot, text: &str) -> Option<&'a String> {
    snapshot.notes.iter().find(|note| note.contains(text))
}

#[tokio::test]
async fn rows_outside_the_calendar_affect_no_others_on_postgres() {
    for instant in ["294276-12-31", "4713-01-01 BC", "infinity", "-infinity"] {
        let mut database = Database::new(Kind::Postgres).await;
        let damage = |state: &str| {
            format!(
                "UPDATE jobrunr_jobs SET updatedAt = '{instant}', scheduledAt = '{instant}' WHERE state = '{state}_'"
            )
        };
        for state in ["ENQUEUED", "PROCESSING", "SCHEDULED", "AWAITING"] {
            database.insert_jobs(&[job(state, 5.0).due_in(30.0), job(&format!("{state}_"), 5.0)]).await;
            database.execute(&damage(state)).await;
            database.execute(&format!("UPDATE jobrunr_jobs SET state = '{state}' WHERE state = '{state}_'")).await;
        }
        database.insert_servers(&[server(4, 15, 1.0), server(8, 15, 1.0)]).await;
        database
            .execute(&format!(
                "UPDATE jobrunr_backgroundjobservers SET lastHeartbeat = '{instant}' WHERE workerPoolSize = 8"
            ))
            .await;
        let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
        // A time before the calendar is overdue, as for JobRunr; one after it is never due.
        let n_due = if instant.starts_with("294") || instant == "infinity" { 1 } else { 2 };
        assert_eq!(counts(&snapshot)[..2], [2, 2], "{instant}");
        assert_eq!(counts(&snapshot)[3], n_due, "{instant}");
        let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
        assert_eq!(database.now.duration_since(oldest).as_secs(), 5, "{instant}");
        assert_eq!(snapshot.servers.len(), 1, "{instant}");
        assert!(note(&snapshot, "1 record of a background job server").is_some(), "{:?}", snapshot.notes);
        assert!(note(&snapshot, "2 jobs that are enqueued").is_some(), "{:?}", snapshot.notes);
        assert!(note(&snapshot, "1 scheduled job").is_some(), "{:?}", snapshot.notes);
    }
}

#[tokio::test]
async fn rows_outside_the_calendar_affect_no_others_on_sqlite() {
    for (instant, n_due) in
        [("-9000000000000000000", 2), ("9000000000000000000", 1), ("99999999", 1), ("-1e300", 2), ("'x'", 1)]
    {
        let mut database = Database::new(Kind::Sqlite).await;
        for state in ["ENQUEUED", "PROCESSING", "SCHEDULED"] {
            database.insert_jobs(&[job(state, 5.0).due_in(30.0), job(&format!("{state}_"), 5.0)]).await;
            let damage =
                format!("UPDATE jobrunr_jobs SET updatedAt = {instant}, scheduledAt = {instant}, state = '{state}'");
            database.execute(&format!("{damage} WHERE state = '{state}_'")).await;
        }
        database.insert_servers(&[server(4, 15, 1.0), server(8, 15, 1.0)]).await;
        database
            .execute(&format!(
                "UPDATE jobrunr_backgroundjobservers SET lastHeartbeat = {instant} WHERE workerPoolSize = 8"
            ))
            .await;
        let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
        assert_eq!(counts(&snapshot)[..2], [2, 2], "{instant}");
        assert_eq!(counts(&snapshot)[3], n_due, "{instant}");
        let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
        assert_eq!(database.now.duration_since(oldest).as_secs(), 5, "{instant}");
        assert_eq!(snapshot.servers.len(), 1, "{instant}");
    }
}

async fn definitions_with_the_largest_created_at_are_read(kind: Kind) {
    let mut database = Database::new(kind).await;
    for id in ["a", "b"] {
        database.insert_recurring(id, "0 3 * * *").await;
    }
    match kind {
        Kind::MongoDb => {
            let largest = doc! { "$set": { "createdAt": i64::MAX } };
            database.mongodb().update("recurring_jobs", doc! {}, largest).await;
        }
        _ => database.execute(&format!("UPDATE jobrunr_recurring_jobs SET createdAt = {}", i64::MAX)).await,
    }
    let recurring = read(&database, &database.config(), [demand()]).await.unwrap().recurring.unwrap();
    assert_eq!(recurring.jobs.len(), 2, "{kind:?}");
}

async fn long_definitions_are_read_from_their_ends(kind: Kind) {
    let mut database = Database::new(kind).await;
    let argument = "é\u{2028}".repeat(100_000);
    let timing = r#""scheduleExpression":"0 3 * * *","zoneId":"UTC""#;
    let created = r#""createdAt":"2026-11-23T20:00:00Z""#;
    let arguments = format!(r#""jobDetails":{{"jobParameters":[{{"object":"{argument}"}}]}}"#);
    database.insert_recurring_json("first", &format!("{{{timing},{created},{arguments}}}")).await;
    database.insert_recurring_json("last", &format!("{{{arguments},{timing},{created}}}")).await;
    database.insert_recurring_json("middle", &format!("{{{arguments},{timing},\"more\":\"{argument}\"}}")).await;
    let recurring = read(&database, &database.config(), [demand()]).await.unwrap().recurring.unwrap();
    let known: Vec<(&str, bool)> = recurring.jobs.iter().map(|job| (&*job.id, job.next_at.is_ok())).collect();
    assert_eq!(known, [("first", true), ("last", true), ("middle", false)], "{kind:?}");
}

async fn servers_with_impossible_numbers_are_ignored(kind: Kind) {
    let mut database = Database::new(kind).await;
    let servers = database.servers();
    let widen = |column: &str| match kind {
        Kind::Postgres => Some(format!("ALTER TABLE {servers} ALTER COLUMN {column} TYPE bigint")),
        Kind::MariaDb | Kind::MySql => Some(format!("ALTER TABLE {servers} MODIFY COLUMN {column} BIGINT")),
        Kind::Sqlite | Kind::MongoDb => None,
    };
    for column in ["pollIntervalInSeconds", "workerPoolSize"] {
        if let Some(statement) = widen(column) {
            database.execute(&statement).await;
        }
    }
    database.insert_jobs(&[job("PROCESSING", 50.0)]).await;
    for (column, number) in [("pollIntervalInSeconds", i64::MAX), ("workerPoolSize", i64::MAX - 1)] {
        database.execute(&format!("DELETE FROM {servers}")).await;
        database.insert_servers(&[server(4, 15, 1.0), server(8, 5, 0.5)]).await;
        database.execute(&format!("UPDATE {servers} SET {column} = {number} WHERE workerPoolSize = 8")).await;
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        assert_eq!(snapshot.servers.len(), 1, "{kind:?} {column}");
        assert_eq!(counts(&snapshot), [0, 1, 1, 0], "{kind:?} {column}");
        assert!(note(&snapshot, "1 record of a background job server").is_some(), "{kind:?} {:?}", snapshot.notes);
    }
}

/// A filter with characters that the database's encoding does not have.
#[tokio::test]
async fn rejected_question_affects_no_others() {
    let encodings = [
        (Kind::Postgres, "LATIN1"),
        (Kind::MariaDb, "latin1"),
        (Kind::MariaDb, "utf8mb3"),
        (Kind::MySql, "latin1"),
        (Kind::MySql, "utf8"),
    ];
    for (kind, encoding) in encodings {
        let mut database = Database::with_encoding(kind, Layout { pro: true, ..Layout::default() }, encoding).await;
        database.insert_jobs(&[job("ENQUEUED", 5.0), scheduled(5.0).tag("gpu")]).await;
        let tag = |tag: &str| question(Filter { server_tag: Some(tag.into()), ..Filter::default() }, 60);
        let unusual = tag("\u{1f600}漢字");
        let snapshot = read(&database, &database.config(), [plain(), unusual.clone(), tag("gpu")]).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 0, 0, 1], "{kind:?} {encoding}");
        let gpu = queue(&snapshot, &tag("gpu").filter);
        assert_eq!(gpu.scheduled.values().map(|count| count.n_jobs).sum::<u64>(), 1, "{kind:?} {encoding}");
        match &snapshot.queues[&unusual.filter] {
            Err(QuestionError::Rejected { cause, .. }) => assert!(!cause.is_empty()),
            // A server that replaces such characters finds no job.
            Ok(queue) => assert_eq!(queue.enqueued.n_jobs, 0, "{kind:?} {encoding}"),
            other => panic!("{kind:?} {encoding}: {other:?}"),
        }

        // The same over the wire, repeatedly.
        let scaler = start(database.config()).await;
        for _ in 0..3 {
            assert_eq!(answered(&scaler, "metric=enqueued-count targetValue=1").await, 1.0, "{kind:?} {encoding}");
            if let Err(status) = scaler.value("metric=enqueued-count targetValue=1 serverTag=漢字\u{1f600}").await {
                assert_eq!(status.code(), tonic::Code::InvalidArgument, "{kind:?} {encoding}: {status}");
                assert!(status.message().contains("serverTag 漢字"), "{status}");
            }
        }
    }
}

#[tokio::test]
async fn text_without_a_date_affects_no_other_rows_on_sqlite() {
    let mut database = Database::new(Kind::Sqlite).await;
    database.encoding = Encoding::Text;
    database.insert_jobs(&[job("ENQUEUED", 5.0), scheduled(5.0)]).await;
    database.execute("INSERT INTO jobrunr_jobs SELECT 'x', version, jobAsJson, jobSignature, state, createdAt, 'soon', 'soon', recurringJobId FROM jobrunr_jobs WHERE state = 'SCHEDULED'").await;
    assert_eq!(counts(&read(&database, &database.config(), [plain()]).await.unwrap()), [1, 0, 0, 1]);
}
