//! Recurring jobs: which of them need a server.

use jiff::SignedDuration;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::{Filter, Question, Questions, Recurring, RunScheduling};
use jobrunr_scaler::storage::Storage;

use super::{demand, from_cursors, on_every_database, plain, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{job, scheduled, server};

on_every_database!(
    recurring_jobs_without_a_run_are_found,
    runs_are_found_behind_a_thousand_other_jobs,
    definitions_are_read_again_when_they_change,
    malformed_definitions_affect_no_others,
    recurring_table_can_be_missing;
    sql: jobrunr_version_is_read_or_configured, recurring_jobs_are_read_in_every_layout,
    runs_are_found_whatever_the_filters_of_the_triggers,
);

async fn recurring(database: &Database) -> Recurring {
    recurring_with(database, &database.config()).await
}

async fn recurring_with(database: &Database, config: &StorageConfig) -> Recurring {
    read(database, config, [demand()]).await.unwrap().recurring.expect("demand was asked for")
}

/// The ids of the jobs without a run.
fn without_run(recurring: &Recurring) -> Vec<&str> {
    recurring.jobs.iter().filter(|job| !job.has_run).map(|job| &*job.id).collect()
}

async fn recurring_jobs_without_a_run_are_found(kind: Kind) {
    let mut database = Database::new(kind).await;
    for id in ["awaiting", "deleted", "enqueued", "failed", "nothing", "processing", "scheduled", "succeeded"] {
        database.insert_recurring(id, "0 3 * * *").await;
        if id != "nothing" {
            database.insert_jobs(&[job(&id.to_uppercase(), 5.0).due_in(3600.0).run_of(id)]).await;
        }
    }
    let recurring = recurring(&database).await;
    assert_eq!(without_run(&recurring), ["deleted", "failed", "nothing", "succeeded"], "{kind:?}");
    assert_eq!((recurring.scheduling, &recurring.note), (RunScheduling::Ahead, &None), "{kind:?}");
    // Without a question about demand they are not read.
    assert_eq!(read(&database, &database.config(), [plain()]).await.unwrap().recurring, None);
}

async fn runs_are_found_behind_a_thousand_other_jobs(kind: Kind) {
    let mut database = Database::new(kind).await;
    for id in ["enqueued", "nothing", "scheduled", "succeeded"] {
        database.insert_recurring(id, "0 3 * * *").await;
    }
    database.insert_jobs(&vec![job("ENQUEUED", 50.0); 1_500]).await;
    database.insert_jobs(&vec![scheduled(50.0); 1_500]).await;
    for state in ["ENQUEUED", "SCHEDULED", "SUCCEEDED"] {
        database.insert_jobs(&[job(state, 1.0).due_in(9999.0).run_of(&state.to_lowercase())]).await;
    }
    assert_eq!(without_run(&recurring(&database).await), ["nothing", "succeeded"], "{kind:?}");
}

/// A run with another tag is before the cursor of a filter whose queue is empty.
async fn runs_are_found_whatever_the_filters_of_the_triggers(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    database.insert_recurring("enqueued", "0 3 * * *").await;
    database.insert_jobs(&[job("ENQUEUED", 300.0).run_of("enqueued")]).await;
    let mut session = from_cursors(&database).connect().await.unwrap();
    let gpu = Filter { server_tag: Some("gpu".into()), ..Filter::default() };
    let questions = Questions::from_iter([Question { filter: gpu, ..demand() }]);
    for n_read in 1..=2 {
        let recurring = session.read(&questions, database.now).await.unwrap().recurring.unwrap();
        assert_eq!(without_run(&recurring), [""; 0], "{kind:?}, read {n_read}");
    }
    session.close().await;
}

async fn definitions_are_read_again_when_they_change(kind: Kind) {
    let mut database = Database::new(kind).await;
    let mut session = database.config().connect().await.unwrap();
    let questions = Questions::from_iter([demand()]);
    let mut expected = Vec::new();
    for (id, expression, next) in [("a", "0 3 * * *", "2026-11-24T03:00:00Z"), ("b", "PT2H", "2026-11-23T14:00:00Z")] {
        database.insert_recurring(id, expression).await;
        let snapshot = session.read(&questions, database.now).await.unwrap();
        expected.push((id.into(), next.parse().unwrap()));
        let jobs = snapshot.recurring.unwrap().jobs;
        let seen: Vec<_> = jobs.into_iter().map(|job| (job.id, job.next_at.unwrap())).collect();
        assert_eq!(seen, expected, "{kind:?}");
    }
    database.delete_recurring("a").await;
    database.insert_recurring("a", "0 4 * * *").await;
    database.delete_recurring("b").await;
    let jobs = session.read(&questions, database.now).await.unwrap().recurring.unwrap().jobs;
    assert_eq!(jobs.len(), 1, "{kind:?}");
    assert_eq!(jobs[0].next_at.as_ref().unwrap().to_string(), "2026-11-24T04:00:00Z", "{kind:?}");
    session.close().await;
}

async fn malformed_definitions_affect_no_others(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_recurring("a", "0 3 * * *").await;
    database.insert_recurring("empty-item", ", * * * *").await;
    database.insert_recurring("pro", "com.example.MySchedule(1)").await;
    database.insert_recurring_json("half", r#"{"id":"half","schedul"#).await;
    database.insert_recurring_json("nothing", "").await;
    database.insert_recurring_json("zone", r#"{"scheduleExpression":"0 3 * * *","zoneId":"Mars/Olympus"}"#).await;
    let recurring = recurring(&database).await;
    let unknown: Vec<&str> = recurring.unknown().map(|(id, _)| &**id).collect();
    assert_eq!(unknown, ["empty-item", "half", "nothing", "pro", "zone"], "{kind:?}");
    let due = recurring.due(database.now, SignedDuration::from_mins(1));
    assert_eq!(due.map(|job| &*job.id).collect::<Vec<_>>(), ["a"], "{kind:?}");
}

async fn jobrunr_version_is_read_or_configured(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_recurring("a", "0 3 * * *").await;
    database.insert_servers(&[server(4, 30, 1.0)]).await;
    assert_eq!(recurring(&database).await.scheduling, RunScheduling::Ahead, "{kind:?}");
    database.forget_version_8().await;
    let version_7 = recurring(&database).await;
    assert_eq!((version_7.scheduling, version_7.note), (RunScheduling::JustInTime, None), "{kind:?}");
    let configured = StorageConfig { jobrunr_version: Some(8), ..database.config() };
    assert_eq!(recurring_with(&database, &configured).await.scheduling, RunScheduling::Ahead, "{kind:?}");

    // Without the migrations the view shows it; without both nothing does.
    database.execute("DROP TABLE jobrunr_migrations").await;
    let unknown = recurring(&database).await;
    assert_eq!(unknown.scheduling, RunScheduling::JustInTime, "{kind:?}");
    assert!(unknown.note.unwrap().contains("jobrunrVersion"), "{kind:?}");
    database.execute("CREATE VIEW jobrunr_jobs_stats AS SELECT count(*) AS total FROM jobrunr_jobs").await;
    let view_7 = recurring(&database).await;
    assert_eq!((view_7.scheduling, view_7.note), (RunScheduling::JustInTime, None), "{kind:?}");
    database.execute("DROP VIEW jobrunr_jobs_stats").await;
    database.execute("CREATE VIEW jobrunr_jobs_stats AS SELECT count(*) AS processed FROM jobrunr_jobs").await;
    let view_8 = recurring(&database).await;
    assert_eq!((view_8.scheduling, view_8.note), (RunScheduling::Ahead, None), "{kind:?}");
}

async fn recurring_jobs_are_read_in_every_layout(kind: Kind) {
    let schemas: &[bool] = if kind == Kind::Sqlite { &[false] } else { &[false, true] };
    for &schema in schemas {
        for hand_made in [false, true] {
            let layout = Layout { schema, prefix: "tbl_", hand_made, pro: false };
            let mut database = Database::with(kind, layout).await;
            database.insert_recurring("a.b-c_(x)", "0 3 * * *").await;
            database.insert_recurring("with-run", "0 3 * * *").await;
            database.insert_jobs(&[scheduled(9999.0).run_of("with-run")]).await;
            let recurring = recurring(&database).await;
            assert_eq!(without_run(&recurring), ["a.b-c_(x)"], "{kind:?} {layout:?}");
            assert_eq!(recurring.note.is_some(), hand_made, "{kind:?} {layout:?}");
            // A table made by hand has no indexes here, which leads to warnings.
            let notes = read(&database, &database.config(), [demand()]).await.unwrap().notes;
            assert_eq!(notes.len(), if hand_made { 2 } else { 0 }, "{kind:?} {layout:?}: {notes:?}");
            assert!(notes.iter().all(|note| note.contains("tbl_jobrunr_jobs (s")), "{notes:?}");
        }
    }
}

async fn recurring_table_can_be_missing(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let table = database.recurring_jobs();
    database.drop_table(&table).await;
    let recurring = recurring(&database).await;
    assert!(recurring.jobs.is_empty(), "{kind:?}");
    assert!(recurring.note.unwrap().contains(&table), "{kind:?}");
}
