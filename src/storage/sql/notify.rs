//! PostgreSQL tells of new jobs by itself, where a trigger has been installed for it.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, PgExecutor};
use tokio::time::{Instant, sleep_until, timeout};

use super::errors::{before, connected, storage_error};
use super::schema::Table;
use crate::config::{StorageConfig, TablePrefix};
use crate::storage::{Listener, StorageError};

/// The channel of all storages in a database; what is sent on it names the table.
const CHANNEL: &str = "jobrunr_scaler";
/// The name of the trigger, and of its function.
const TRIGGER: &str = "jobrunr_scaler_notify";
/// How often to make sure that connection and trigger are still there.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The statements that install the trigger for a table prefix, and those that remove it.
///
/// The trigger fires once a statement and not once a row, and only for inserts: whatever else moves a job needs a live
/// server, or can wait for the next read. PostgreSQL itself drops repetitions within a transaction, and lets transactions
/// that notify commit one after the other; so that writers do not wait for one another, only one of those that run at once
/// notifies.
#[must_use]
pub fn notify_sql(prefix: &TablePrefix) -> String {
    let jobs = prefix.table(Table::Jobs.name());
    let schema = prefix.schema().map(|schema| format!("{schema}.")).unwrap_or_default();
    let function = format!("{schema}{}{TRIGGER}", prefix.index_prefix());
    format!(
        "-- Tells jobrunr-scaler at once when a job is created. Run it as the owner of {jobs}, PostgreSQL 11 or later.
-- The scaler finds it by itself within a minute, and goes on by polling wherever it is missing.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Transactions that notify commit one after the other. So of those that run at once only one does; what the others
  -- insert is seen by polling at the latest.
  IF pg_try_advisory_xact_lock(hashtext('{CHANNEL}'), hashtext(TG_RELID::text)) THEN
    PERFORM pg_notify('{CHANNEL}', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
  END IF;
  RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS {TRIGGER} ON {jobs};
CREATE TRIGGER {TRIGGER} AFTER INSERT ON {jobs}
  FOR EACH STATEMENT EXECUTE FUNCTION {function}();

-- To remove it:
-- DROP TRIGGER IF EXISTS {TRIGGER} ON {jobs};
-- DROP FUNCTION IF EXISTS {function}();
"
    )
}

/// Listens, where the trigger is installed.
///
/// The driver's listener takes its connection from a pool, and a pool tries again and again where one is refused. So a plain
/// connection goes first, which is tried once.
pub(super) async fn listen(
    options: PgConnectOptions,
    place: &str,
    config: &StorageConfig,
) -> Result<Option<Box<dyn Listener>>, StorageError> {
    let jobs = config.table_prefix.table(Table::Jobs.name());
    let limit = config.statement_timeout;
    let mut first = connected(PgConnection::connect_with(&options), config, place).await?;
    let table = before(limit, triggered_table(&mut first, &jobs)).await?;
    // Whatever comes of closing it, we have what we wanted to know.
    let _ = timeout(limit, first.close()).await;
    let Some(table) = table else { return Ok(None) };
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(config.connect_timeout);
    let pool = pool.connect_lazy_with(options);
    let mut listener = connected(PgListener::connect_with(&pool), config, place).await?;
    // A lost connection is for the caller to hear of.
    listener.eager_reconnect(false);
    before(limit, async { listener.listen(CHANNEL).await.map_err(storage_error) }).await?;
    Ok(Some(Box::new(PostgresListener { listener, jobs, table, limit, check_at: next_check() })))
}

fn next_check() -> Instant {
    let now = Instant::now();
    now.checked_add(CHECK_EVERY).unwrap_or(now)
}

/// The table as its trigger names it; `None` where there is no such trigger, or it is switched off.
pub(super) async fn triggered_table(
    connection: impl PgExecutor<'_>,
    jobs: &str,
) -> Result<Option<String>, StorageError> {
    sqlx::query_scalar(
        "SELECT nspname || '.' || relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid \
         JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE tgrelid = to_regclass($1) AND tgname = $2 AND tgenabled IN ('O', 'A')",
    )
    .bind(jobs)
    .bind(TRIGGER)
    .fetch_optional(connection)
    .await
    .map_err(storage_error)
}

struct PostgresListener {
    listener: PgListener,
    jobs: String,
    table: String,
    limit: Duration,
    check_at: Instant,
}

#[async_trait]
impl Listener for PostgresListener {
    async fn changed(&mut self) -> Result<(), StorageError> {
        loop {
            tokio::select! {
                told = self.listener.try_recv() => match told.map_err(storage_error)? {
                    Some(told) if told.payload() == self.table => return Ok(()),
                    Some(_) => {}
                    None => return Err(StorageError::Unreachable("the connection that listens is gone".to_owned())),
                },
                () = sleep_until(self.check_at) => {
                    self.check_at = next_check();
                    let table = before(self.limit, triggered_table(&mut self.listener, &self.jobs)).await?;
                    if table.as_ref() != Some(&self.table) {
                        return Err(StorageError::Refused(format!("the trigger {TRIGGER} is gone")));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_name_the_configured_tables() {
        let sql = |prefix: &str| notify_sql(&prefix.parse().unwrap());
        insta::assert_snapshot!(sql("myschema.tbl_"));
    }
}
