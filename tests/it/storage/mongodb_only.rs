//! MongoDB's protocol, where it differs from SQL.

use jiff::SignedDuration;
use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::grpc::proto::GetMetricsRequest;
use jobrunr_scaler::jobrunr::{Count, Filter, Question, Questions, RunScheduling, Snapshot};
use jobrunr_scaler::storage::{SchemaError, Storage, StorageError, check, grants_sql};
use mongodb::bson::{Bson, doc};

use super::{counts, demand, plain, queue, read};
use crate::database::{Database, Kind, Layout};
use crate::process::Process;
use crate::rows::{Job, job, scheduled, server};
use crate::scaler::{eventually, reference};
use crate::support::servers::OwnServer;
use crate::tls::ServerFiles;

async fn mongodb() -> Database {
    Database::new(Kind::MongoDb).await
}

#[tokio::test]
async fn collections_have_a_prefix() {
    for prefix in ["", "tbl_", "Mixed_Case_"] {
        let mut database = Database::with(Kind::MongoDb, Layout { prefix, ..Layout::default() }).await;
        let jobs = [
            job("ENQUEUED", 42.5),
            job("PROCESSING", 3.0),
            job("PROCESSING", 300.0),
            scheduled(10.0),
            scheduled(100.0),
        ];
        database.insert_jobs(&jobs).await;
        database.insert_servers(&[server(4, 5, 2.0)]).await;
        let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
        assert_eq!(counts(&snapshot), [1, 2, 1, 1], "{prefix}");
        let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
        assert_eq!(database.now.duration_since(oldest).as_secs_f64(), 42.5, "{prefix}");
    }
}

#[tokio::test]
async fn missing_collections_are_named() {
    let database = Database::empty(Kind::MongoDb, Layout::default()).await;
    let config = StorageConfig { table_prefix: "tbl_".parse().unwrap(), ..database.config() };
    let error = read(&database, &config, [plain()]).await.unwrap_err();
    let both = ["tbl_jobs", "tbl_background_job_servers"];
    assert!(
        matches!(&error, StorageError::Schema(SchemaError::CollectionsMissing { collections, .. }) if *collections == both),
        "{error:?}"
    );
    let text = error.to_string();
    for part in [&*database.name, "`tbl_`", "tablePrefix", "jobrunr.database.database-name"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn missing_indexes_are_named_with_the_command_that_creates_them() {
    let database = Database::with(Kind::MongoDb, Layout { hand_made: true, prefix: "tbl_", ..Layout::default() }).await;
    insta::assert_snapshot!(read(&database, &database.config(), [plain()]).await.unwrap().notes.join("\n"));
}

#[tokio::test]
async fn due_jobs_are_counted_in_the_order_of_the_index() {
    let mut database = mongodb().await;
    database.insert_jobs(&vec![scheduled(172_800.0); 300]).await;
    database.insert_jobs(&vec![job("SUCCEEDED", 1.0).due_in(-1.0); 100]).await;
    let mut config = StorageConfig { count_limit: Some(100), ..database.config() };
    config.bounds.due_jobs = 100;
    let mut session = config.connect().await.unwrap();
    let questions = Questions::from_iter([demand()]);
    let now = database.now;
    let mut check = async |n_jobs: u64, limited: bool| {
        let snapshot = session.read(&questions, now).await.unwrap();
        let due = queue(&snapshot, &Filter::default()).scheduled[&SignedDuration::from_mins(1)];
        assert_eq!(due, Count { n_jobs, limited });
        assert_eq!(snapshot.next_scheduled_at(&demand()), Some(now + SignedDuration::from_hours(48)));
    };
    check(0, false).await;
    database.insert_jobs(&vec![scheduled(-3_600.0); 50]).await;
    check(50, false).await;
    database.insert_jobs(&vec![scheduled(-3_600.0); 50]).await;
    check(100, true).await;
    session.close().await;
}

/// MongoDB's index on the due time is for state SCHEDULED only. Of AWAITING jobs some are scanned, in no order.
#[tokio::test]
async fn due_job_without_an_index_is_found_behind_others() {
    let mut database = Database::with(Kind::MongoDb, Layout { hand_made: true, ..Layout::default() }).await;
    let mut config = StorageConfig { count_limit: Some(5), ..database.config() };
    config.bounds.due_jobs = 5;
    database.insert_jobs(&vec![job("AWAITING", 5.0).due_in(9_999.0); 20]).await;
    let awaiting = async |database: &Database| {
        let snapshot = read(database, &config, [demand()]).await.unwrap();
        queue(&snapshot, &Filter::default()).awaiting[&SignedDuration::from_mins(1)]
    };
    assert_eq!(awaiting(&database).await, Count { n_jobs: 0, limited: false });
    database.insert_jobs(&[job("AWAITING", 1.0).due_in(-5.0)]).await;
    assert_eq!(awaiting(&database).await, Count { n_jobs: 1, limited: true });
}

#[tokio::test]
async fn jobrunr_version_is_read_from_the_newest_definitions() {
    let mut database = mongodb().await;
    let recurring = async |database: &Database, config: &StorageConfig| {
        read(database, config, [demand()]).await.unwrap().recurring.unwrap()
    };
    // Without a recurring job nothing depends on it.
    assert_eq!(recurring(&database, &database.config()).await.note, None);
    database.insert_recurring("a", "0 3 * * *").await;
    assert_eq!(recurring(&database, &database.config()).await.scheduling, RunScheduling::Ahead);
    database.forget_version_8().await;
    let version_7 = recurring(&database, &database.config()).await;
    assert_eq!((version_7.scheduling, version_7.note), (RunScheduling::JustInTime, None));
    // An argument of a job is no mark.
    let argument = r#"{"scheduleExpression":"0 3 * * *","zoneId":"UTC","jobDetails":{"createdBy":"me"}}"#;
    database.insert_recurring_json("b", argument).await;
    assert_eq!(recurring(&database, &database.config()).await.scheduling, RunScheduling::JustInTime);
    let configured = StorageConfig { jobrunr_version: Some(8), ..database.config() };
    assert_eq!(recurring(&database, &configured).await.scheduling, RunScheduling::Ahead);
}

#[tokio::test]
async fn damaged_documents_affect_no_others() {
    let values =
        [Bson::Int64(i64::MIN), Bson::Int64(i64::MAX), Bson::Double(1e300), Bson::Null, Bson::String("x".into())];
    for value in values {
        let mut database = mongodb().await;
        for state in ["ENQUEUED", "PROCESSING", "SCHEDULED", "AWAITING"] {
            let damaged = format!("{state}_");
            database.insert_jobs(&[job(state, 5.0).due_in(30.0), job(&damaged, 5.0).due_in(30.0)]).await;
            let damage = doc! { "$set": { "state": state, "updatedAt": value.clone(), "scheduledAt": value.clone() } };
            database.mongodb().update("jobs", doc! { "state": damaged }, damage).await;
        }
        database.insert_servers(&[server(4, 15, 1.0), server(8, 15, 1.0), server(16, 15, 1.0)]).await;
        let damage = doc! { "$set": { "lastHeartbeat": value.clone() } };
        database.mongodb().update("background_job_servers", doc! { "workerPoolSize": 8 }, damage).await;
        let damage = doc! { "$set": { "pollIntervalInSeconds": i64::MAX } };
        database.mongodb().update("background_job_servers", doc! { "workerPoolSize": 16 }, damage).await;
        let snapshot = read(&database, &database.config(), [demand()]).await.unwrap();
        // A time before the calendar is overdue, as for JobRunr.
        let n_due = if value == Bson::Int64(i64::MIN) { 2 } else { 1 };
        assert_eq!(counts(&snapshot)[..2], [2, 2], "{value}");
        assert_eq!(counts(&snapshot)[3], n_due, "{value}");
        let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
        assert_eq!(database.now.duration_since(oldest).as_secs(), 5, "{value}");
        assert_eq!(snapshot.servers.len(), 1, "{value}");
        let notes = snapshot.notes.join("\n");
        assert!(notes.contains("2 records of background job servers"), "{value}: {notes}");
        let is_number = !matches!(value, Bson::Null | Bson::String(_));
        assert_eq!(notes.contains("2 jobs that are enqueued"), is_number, "{value}: {notes}");
    }
}

#[tokio::test]
async fn inspection_names_product_and_clock() {
    let mut database = mongodb().await.at_present();
    database.insert_servers(&[server(8, 15, 1.0)]).await;
    database.insert_recurring("a", "0 3 * * *").await;
    let summary = check(&database.config(), jiff::Timestamp::now).await;
    let summary = summary.summary();
    for part in ["connected to FerretDB ", "JobRunr 8, 1 live server", "indexes complete"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

/// FerretDB has neither roles nor users, so that the script itself is not run.
#[test]
fn grants_create_a_role_that_finds() {
    let config = crate::database::config("mongodb://scaler@host/?authSource=accounts", "tbl_");
    insta::assert_snapshot!(grants_sql(&config, None));
}

#[tokio::test]
async fn wrong_password_and_missing_server_are_told_apart() {
    let database = mongodb().await;
    let url = crate::database::server_url(Kind::MongoDb);
    let place = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let wrong = crate::database::config(&format!("mongodb://scaler:hunter2@{place}/"), "");
    let error = read(&database, &wrong, [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let mut nowhere = crate::database::config("mongodb://scaler:hunter2@127.0.0.1:1,127.0.0.1:2/", "");
    nowhere.connect_timeout = std::time::Duration::from_millis(1_500);
    let error = read(&database, &nowhere, [plain()]).await.unwrap_err();
    assert!(matches!(error, StorageError::Unreachable(_)), "{error:?}");
    let text = error.to_string();
    for part in ["127.0.0.1:1", "127.0.0.1:2", "refused"] {
        assert!(text.contains(part) && !text.contains("hunter2"), "{part}: {text}");
    }
}

/// One job that never rests: forward from SCHEDULED to PROCESSING, and back by a retry. A read is several commands, and none
/// of them need find it; yet no read says that there is nothing to do.
#[tokio::test]
async fn moving_job_is_never_missed() {
    // Alone, and beside a job that only the longer look-ahead sees.
    moving_job_is_seen(&[]).await;
    moving_job_is_seen(&[job("AWAITING", 1.0).due_in(1_800.0)]).await;
}

async fn moving_job_is_seen(beside: &[Job]) {
    let mut database = mongodb().await;
    database.insert_jobs(&[scheduled(-1.0)]).await;
    database.insert_jobs(beside).await;
    let config = database.config();
    let (now, stop) = (database.now, tokio_util::sync::CancellationToken::new());
    let mover = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut n_moves = 0;
            while !stop.is_cancelled() {
                for (from, to) in [("SCHEDULED", "ENQUEUED"), ("ENQUEUED", "PROCESSING"), ("PROCESSING", "SCHEDULED")] {
                    database.move_jobs(from, to).await;
                    n_moves += 1;
                }
            }
            n_moves
        }
    });
    let within_a_minute = Questions::from_iter([demand()]);
    let an_hour = SignedDuration::from_hours(1);
    let questions = Questions::from_iter([demand(), Question { look_ahead: an_hour, ..demand() }]);
    let mut session = config.connect().await.unwrap();
    let idle = Snapshot::empty(now, 4);
    for n_read in 0..150 {
        let snapshot = session.read(&questions, now).await.unwrap();
        assert!(!snapshot.is_idle(&within_a_minute), "read {n_read}: {snapshot:?}");
        assert!(!session.is_unchanged(&questions, &idle).await.unwrap(), "read {n_read}");
    }
    session.close().await;
    stop.cancel();
    let n_moves = mover.await.unwrap();
    assert!(50 < n_moves, "without moves this shows nothing: {n_moves}");
}

#[tokio::test]
async fn failure_of_mongodb_affects_no_other_storage() {
    let mut sqlite = Database::new(Kind::Sqlite).await.at_present();
    sqlite.insert_jobs(&[job("ENQUEUED", 1.0)]).await;
    let mut jobs = mongodb().await.at_present();
    jobs.insert_jobs(&[job("ENQUEUED", 1.0), job("ENQUEUED", 1.0)]).await;
    let env = [
        ("JOBRUNR_SCALER_URL", &*sqlite.url),
        ("JOBRUNR_SCALER_STORAGES_MONGO_URL", &jobs.url),
        ("JOBRUNR_SCALER_STORAGES_MONGO_DATABASE", &jobs.name),
        ("JOBRUNR_SCALER_STORAGES_GONE_URL", "mongodb://127.0.0.1:1/"),
    ];
    let process = Process::start(&env, &[]);
    let client = process.client().await;
    let value = async |storage: &str| {
        let metadata = reference(&format!("metric=enqueued-count targetValue=1 storage={storage}"));
        let metric_name = format!("jobrunr-{storage}-enqueued-count");
        let request = GetMetricsRequest { scaled_object_ref: Some(metadata), metric_name };
        let response = client.clone().get_metrics(request).await?.into_inner();
        Ok::<_, tonic::Status>(response.metric_values[0].metric_value_float)
    };
    eventually("MongoDB's answer", async || value("mongo").await.ok()).await;
    for _ in 0..10 {
        assert_eq!((value("mongo").await.unwrap(), value("default").await.unwrap()), (2.0, 1.0));
        assert_eq!(value("gone").await.unwrap_err().code(), tonic::Code::Unavailable);
    }
    process.stop();
}

#[tokio::test]
async fn tls_verifies_the_server() {
    let ServerFiles { directory, right, wrong, .. } = ServerFiles::new();
    let own = OwnServer::start(Kind::MongoDb, directory.path(), "DATABASE_TLS", directory.path());
    let check = async |host: &str, parameters: &str, expected: &str| {
        let url = format!("mongodb://{host}:{}/?{parameters}", own.port());
        let mut config = crate::database::config(&url, "");
        config.connect_timeout = std::time::Duration::from_secs(3);
        let error = config.connect().await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{host} {parameters}: {error}");
    };
    let logged_in = "no collection jobs";
    check("localhost", &format!("tls=true&tlsCAFile={right}"), logged_in).await;
    check("localhost", &format!("sslmode=verify-full&sslrootcert={right}"), logged_in).await;
    check("127.0.0.1", "tls=true&tlsInsecure=true", logged_in).await;
    check("localhost", &format!("tls=true&tlsCAFile={wrong}"), "certificate").await;
    check("localhost", "tls=true", "certificate").await;
    check("127.0.0.1", &format!("tls=true&tlsCAFile={right}"), "certificate").await;
    check("localhost", "tls=true&tlsCAFile=/nowhere.pem", "`tlsCAFile` of the address: cannot read").await;
}
