//! Notifications of new jobs, by a trigger that the script of `notify-sql` installs.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, PgExecutor};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::connect::connected;
use super::super::errors::storage_error;
use super::super::schema::Table;
use crate::config::{StorageConfig, TablePrefix};
use crate::storage::{Listener, Notifications, StorageError, within};

/// The channel of all storages in a database. The payload names the table.
const CHANNEL: &str = "jobrunr_scaler";
/// The name of the trigger, and the end of its function's name.
const TRIGGER: &str = "jobrunr_scaler_notify";
/// How often a listener checks that its connection and the trigger still exist.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The script that installs the trigger for a table prefix, and how to remove it.
///
/// The trigger fires once per statement, not per row, and only for inserts: any other change of a job needs a live server, or
/// can wait for the next read. PostgreSQL itself drops repetitions within a transaction, and lets transactions that notify
/// commit one after another; so that writers do not wait for each other, only one of several concurrent ones notifies.
pub(super) fn notify_sql(prefix: &TablePrefix) -> String {
    let jobs = prefix.table(Table::Jobs.name());
    let schema = prefix.schema().map(|schema| format!("{schema}.")).unwrap_or_default();
    let function = format!("{schema}{}{TRIGGER}", prefix.index_prefix());
    format!(
        "-- Notifies jobrunr-scaler when jobs are created. Run it as the owner of {jobs}; PostgreSQL 11 or later.
-- The scaler detects the trigger within a minute. Without it, the scaler polls.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Transactions that notify commit one after another, so only one of several concurrent ones notifies. The jobs of the
  -- others are seen by polling at the latest.
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

/// Connects to check whether the trigger is installed.
pub(super) async fn connect_and_check(
    options: &PgConnectOptions,
    place: &str,
    config: &StorageConfig,
) -> Result<Notifications, StorageError> {
    Ok(state(installed_for(options, place, config).await?.as_ref()))
}

/// The state that [`triggered_table`] shows.
pub(super) fn state(table: Option<&String>) -> Notifications {
    if table.is_some() { Notifications::Installed } else { Notifications::NotInstalled }
}

/// The table of the trigger, queried on a separate connection.
async fn installed_for(
    options: &PgConnectOptions,
    place: &str,
    config: &StorageConfig,
) -> Result<Option<String>, StorageError> {
    let jobs = config.table_prefix.table(Table::Jobs.name());
    let limit = config.statement_timeout;
    let mut connection = connected(PgConnection::connect_with(options), config, place).await?;
    let table = within(limit, triggered_table(&mut connection, &jobs)).await?;
    // The answer is there, whether or not closing succeeds.
    let _ = timeout(limit, connection.close()).await;
    Ok(table)
}

/// Listens, if the trigger is installed.
///
/// The driver's listener takes its connection from a pool, which retries without end if it is refused. So a plain connection
/// comes first, which is attempted once.
pub(super) async fn listen(
    options: PgConnectOptions,
    place: &str,
    config: &StorageConfig,
) -> Result<Option<Box<dyn Listener>>, StorageError> {
    let Some(table) = installed_for(&options, place, config).await? else { return Ok(None) };
    let (jobs, limit) = (config.table_prefix.table(Table::Jobs.name()), config.statement_timeout);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(config.connect_timeout);
    let pool = pool.connect_lazy_with(options);
    let mut listener = connected(PgListener::connect_with(&pool), config, place).await?;
    // A lost connection is an error for the caller.
    listener.eager_reconnect(false);
    within(limit, async { listener.listen(CHANNEL).await.map_err(storage_error) }).await?;
    Ok(Some(Box::new(PostgresListener { listener, jobs, table, limit, check_at: next_check() })))
}

fn next_check() -> Instant {
    let now = Instant::now();
    now.checked_add(CHECK_EVERY).unwrap_or(now)
}

/// The table, with its schema, if it has the trigger; `None` if there is no such trigger or it is disabled.
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
    .persistent(false)
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
                received = self.listener.try_recv() => match received.map_err(storage_error)? {
                    Some(notification) if notification.payload() == self.table => return Ok(()),
                    Some(_) => {}
                    None => return Err(StorageError::Unreachable("the LISTEN connection is lost".to_owned())),
                },
                () = sleep_until(self.check_at) => {
                    self.check_at = next_check();
                    let table = within(self.limit, triggered_table(&mut self.listener, &self.jobs)).await?;
                    if table.as_ref() != Some(&self.table) {
                        return Err(StorageError::Rejected(format!("the trigger {TRIGGER} is gone")));
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
    fn notify_sql_names_the_configured_tables() {
        let sql = |prefix: &str| notify_sql(&prefix.parse().unwrap());
        insta::assert_snapshot!(sql("myschema.tbl_"));
    }
}
