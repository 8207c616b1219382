//! Tables as JobRunr creates them, as people create them, and missing ones.

use jobrunr_scaler::config::StorageConfig;
use jobrunr_scaler::jobrunr::Filter;
use jobrunr_scaler::storage::{SchemaError, StorageError};

use super::{counts, on_every_database, plain, queue, read};
use crate::database::{Database, Kind, Layout, SERVERS};
use crate::rows::{job, scheduled, server};

on_every_database!(
    ; sql: layouts_read_the_same,
    missing_tables_are_named_with_the_prefix,
    wrong_prefix_is_named,
    missing_columns_are_named,
);

async fn layouts_read_the_same(kind: Kind) {
    let schemas: &[bool] = if kind == Kind::Sqlite { &[false] } else { &[false, true] };
    for &schema in schemas {
        for prefix in ["", "tbl_", "Mixed_Case_"] {
            for hand_made in [false, true] {
                let layout = Layout { schema, prefix, hand_made, pro: false };
                let mut database = Database::with(kind, layout).await;
                database
                    .insert_jobs(&[
                        job("ENQUEUED", 42.5),
                        job("PROCESSING", 3.0),
                        job("PROCESSING", 300.0),
                        scheduled(10.0),
                        scheduled(100.0),
                    ])
                    .await;
                database.insert_servers(&[server(4, 5, 2.0)]).await;
                let snapshot = read(&database, &database.config(), [plain()]).await;
                let snapshot = snapshot.unwrap_or_else(|error| panic!("{kind:?} {layout:?}: {error}"));
                assert_eq!(counts(&snapshot), [1, 2, 1, 1], "{kind:?} {layout:?}");
                let oldest = queue(&snapshot, &Filter::default()).oldest_enqueued_at.unwrap();
                assert_eq!(database.now.duration_since(oldest).as_secs_f64(), 42.5, "{kind:?} {layout:?}");
                assert_eq!(snapshot.live_servers().count(), 1, "{kind:?} {layout:?}");
            }
        }
    }
}

async fn schema_error(database: &Database, config: &StorageConfig) -> SchemaError {
    match read(database, config, [plain()]).await {
        Err(StorageError::Schema(error)) => error,
        other => panic!("{:?}: {other:?}", database.kind),
    }
}

async fn missing_tables_are_named_with_the_prefix(kind: Kind) {
    let mut database = Database::empty(kind, Layout { prefix: "tbl_", ..Layout::default() }).await;
    let both = ["tbl_jobrunr_jobs", "tbl_jobrunr_backgroundjobservers"];
    let error = schema_error(&database, &database.config()).await;
    assert!(
        matches!(&error, SchemaError::TablesMissing { tables, prefix, .. } if *tables == both && prefix == "tbl_"),
        "{error:?}"
    );
    let text = error.to_string();
    for part in ["tbl_jobrunr_jobs, tbl_jobrunr_backgroundjobservers", "`tbl_`", "tablePrefix"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    database.create_tables().await;
    database.execute("DROP TABLE tbl_jobrunr_backgroundjobservers").await;
    let error = schema_error(&database, &database.config()).await;
    assert!(matches!(&error, SchemaError::TablesMissing { tables, .. } if *tables == both[1..]), "{error:?}");
}

async fn wrong_prefix_is_named(kind: Kind) {
    let database = Database::new(kind).await;
    let config = StorageConfig { table_prefix: "wrong_".parse().unwrap(), ..database.config() };
    let text = schema_error(&database, &config).await.to_string();
    assert!(text.contains("wrong_jobrunr_jobs") && text.contains("`wrong_`"), "{text}");
    if SERVERS.contains(&kind) {
        let config = StorageConfig { table_prefix: "nowhere.".parse().unwrap(), ..database.config() };
        let text = schema_error(&database, &config).await.to_string();
        assert!(text.contains("nowhere.jobrunr_jobs") && text.contains("`nowhere.`"), "{text}");
    }
}

async fn missing_columns_are_named(kind: Kind) {
    for (table, column) in [
        ("jobrunr_jobs", "updatedAt"),
        ("jobrunr_jobs", "scheduledAt"),
        ("jobrunr_backgroundjobservers", "pollIntervalInSeconds"),
        ("jobrunr_backgroundjobservers", "lastHeartbeat"),
    ] {
        let mut database = Database::with(kind, Layout { hand_made: true, ..Layout::default() }).await;
        database.execute(&format!("ALTER TABLE {table} DROP COLUMN {column}")).await;
        let error = schema_error(&database, &database.config()).await;
        assert_eq!(error, SchemaError::ColumnsMissing { table: table.to_owned(), columns: vec![column] }, "{kind:?}");
    }
}
