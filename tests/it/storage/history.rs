//! Finished jobs, page by page.

use std::collections::BTreeSet;

use ::mongodb::bson::doc;
use jiff::{SignedDuration, Timestamp};
use jobrunr_scaler::simulate::Workload;
use jobrunr_scaler::simulate::history::{HistoryBounds, HistoryOptions, read_history};
use jobrunr_scaler::storage::{FinishedState, HistoryPage, HistoryRow, Storage};

use super::on_every_database;
use crate::database::{Database, Kind, Layout};
use crate::rows::Encoding;

on_every_database!(history_is_paged_from_the_newest, history_becomes_a_workload, history_leaves_out_long_records);

/// Inserts jobs that ran for 2 s and ended so many seconds ago.
async fn insert(database: &mut Database, state: &str, ended_ago: impl IntoIterator<Item = i64>) {
    let now = database.now;
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for ago in ended_ago {
        let at = |more: i64| now - SignedDuration::from_secs(ago + more);
        let states = [("ENQUEUED", at(10)), ("PROCESSING", at(2)), (state, at(0))];
        let states = states.map(|(state, at)| format!(r#"{{"state":"{state}","createdAt":"{at}"}}"#)).join(",");
        let json = format!(r#"{{"jobSignature":"a.B.c()","jobHistory":[{states}]}}"#);
        let (id, updated) = (format!("{state}-{ago}-{}", rows.len()), database.instant(at(0)));
        documents.push(doc! { "_id": &id, "jobAsJson": &json, "state": state, "updatedAt": at(0).as_microsecond() });
        rows.push(format!("('{id}', 1, '{json}', 'a.B.c()', '{state}', {updated}, {updated})"));
    }
    if database.kind == Kind::MongoDb {
        return database.mongodb().insert("jobs", documents).await;
    }
    let jobs = database.jobs();
    let columns = "(id, version, jobAsJson, jobSignature, state, createdAt, updatedAt)";
    database.execute(&format!("INSERT INTO {jobs} {columns} VALUES {}", rows.join(", "))).await;
}

async fn page(database: &Database, since_ago: i64, until_ago: i64, limit: u64) -> Vec<HistoryRow> {
    let at = |ago: i64| database.now - SignedDuration::from_secs(ago);
    let (state, max_characters) = (FinishedState::Succeeded, 1000);
    let page = HistoryPage { state, since: at(since_ago), until: at(until_ago), limit, max_characters };
    let mut session = database.config().connect().await.unwrap();
    let rows = session.history(&page).await.unwrap();
    session.close().await;
    rows
}

fn seconds_ago(rows: &[HistoryRow], now: Timestamp) -> Vec<i64> {
    rows.iter().map(|row| now.duration_since(row.updated_at).as_secs()).collect()
}

async fn history_is_paged_from_the_newest(kind: Kind) {
    let mut database = Database::new(kind).await;
    insert(&mut database, "SUCCEEDED", [7, 3, 5, 1, 9]).await;
    insert(&mut database, "FAILED", [4]).await;
    let now = database.now;
    assert_eq!(seconds_ago(&page(&database, 100, 0, 3).await, now), [1, 3, 5]);
    // Both ends belong to the page.
    assert_eq!(seconds_ago(&page(&database, 7, 3, 10).await, now), [3, 5, 7]);
    let rows = page(&database, 100, 0, 1).await;
    assert_eq!(rows[0].id, "SUCCEEDED-1-3");
    assert!(rows[0].json.as_ref().unwrap().contains("PROCESSING"));
}

async fn workload(database: &Database, hours: i64) -> Workload {
    let since = SignedDuration::from_hours(hours);
    let options = HistoryOptions { since, names: true, bounds: HistoryBounds::default() };
    read_history("test", &database.config(), &options, database.now, &mut |_| {}).await.unwrap()
}

async fn history_becomes_a_workload(kind: Kind) {
    let mut database = Database::new(kind).await;
    insert(&mut database, "SUCCEEDED", 1..=1200).await;
    insert(&mut database, "FAILED", [50]).await;
    insert(&mut database, "SUCCEEDED", [7200]).await;
    let workload = workload(&database, 1).await;
    assert_eq!(workload.jobs.len(), 1201);
    assert_eq!(workload.kinds, ["a.B.c()"]);
    assert!(workload.jobs.iter().all(|job| job.duration == 2000 && !job.is_scheduled()));
    let arrivals: BTreeSet<i64> = workload.jobs.iter().map(|job| job.arrival).collect();
    assert_eq!(arrivals, (0..1200).map(|second| second * 1000).collect());
}

async fn history_leaves_out_long_records(kind: Kind) {
    let mut database = Database::new(kind).await;
    insert(&mut database, "SUCCEEDED", [1, 2]).await;
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(1000));
    if kind == Kind::MongoDb {
        let (filter, update) = (doc! { "_id": "SUCCEEDED-1-0" }, doc! { "$set": { "jobAsJson": long } });
        database.mongodb().update("jobs", filter, update).await;
    } else {
        let jobs = database.jobs();
        database.execute(&format!("UPDATE {jobs} SET jobAsJson = '{long}' WHERE id = 'SUCCEEDED-1-0'")).await;
    }
    let rows = page(&database, 100, 0, 10).await;
    let found: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.json.is_some())).collect();
    assert_eq!(found, [("SUCCEEDED-1-0", false), ("SUCCEEDED-2-1", true)]);
}

#[tokio::test]
async fn history_of_sqlite_is_read_in_every_form_of_times() {
    let mut database = Database::new(Kind::Sqlite).await;
    for (ago, encoding) in (1..).zip(Encoding::OF_SQLITE) {
        database.encoding = encoding;
        insert(&mut database, "SUCCEEDED", [ago, ago + 10]).await;
    }
    assert_eq!(seconds_ago(&page(&database, 100, 0, 5).await, database.now), [1, 2, 3, 4, 11]);
    assert_eq!(workload(&database, 1).await.jobs.len(), 8);
}

#[tokio::test]
async fn history_is_read_from_tables_made_by_hand() {
    for kind in [Kind::Postgres, Kind::MariaDb, Kind::Sqlite] {
        let mut database = Database::with(kind, Layout { hand_made: true, ..Layout::default() }).await;
        if kind == Kind::Postgres {
            let jobs = database.jobs();
            database.execute(&format!("ALTER TABLE {jobs} ALTER COLUMN id TYPE text")).await;
        }
        insert(&mut database, "SUCCEEDED", [3, 1, 2]).await;
        assert_eq!(seconds_ago(&page(&database, 100, 0, 2).await, database.now), [1, 2], "{kind:?}");
    }
}
