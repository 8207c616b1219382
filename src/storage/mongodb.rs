//! MongoDB, and databases with its protocol.
//!
//! A read is several commands, side by side on two connections, so it is no snapshot: a job that moves between two commands
//! may be seen in both of its states, or in none. Where that matters, which is when nothing at all was found, one more command
//! looks for a job in every state at once (see [`MongoDbBackend::look_again`]).

mod client;
mod command;
mod decode;
mod grants;
mod id;
mod schema;
mod work;

use std::collections::BTreeSet;
use std::time::Duration;

use ::mongodb::bson::{Bson, Document, doc};
use async_trait::async_trait;
use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use self::client::Connections;
use self::command::{RUN_STATES, Writer};
use self::decode::DueCounter;
use self::schema::Schema;
use super::backend::{Backend, Driver, Probe, SchemaFindings};
use super::plan::DueState;
use super::plan::{QueuePlan, ReadPlan};
use super::rows::{
    ActiveRuns, CALENDAR_MICROS, DefinitionRow, DefinitionsVersion, DueScans, ExcerptKind, Excerpts, KindRows,
    QueueRow, Rows, RunningRow, calendar_instant,
};
use super::{Grants, HistoryPage, HistoryRow, Inspection, StorageError, within};
use crate::config::{MongoDbAddress, ReadBounds, StorageConfig};
use crate::jobrunr::{Filter, FinishedRun, Server, UnsupportedFilter};

/// Bytes of records that are read at a time to see which server runs which job.
const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of records of finished jobs that are read at a time.
const MAX_FINISHED_BYTES: usize = 1024 * 1024;

/// A storage on MongoDB.
pub(super) struct MongoDb<'a> {
    pub(super) address: &'a MongoDbAddress,
    pub(super) config: &'a StorageConfig,
}

#[async_trait]
impl Driver for MongoDb<'_> {
    async fn connect(&self) -> Result<Box<dyn Backend>, StorageError> {
        let limit = self.config.connect_timeout;
        match timeout(limit, self.open()).await {
            Ok(backend) => Ok(Box::new(backend?)),
            Err(_) => {
                Err(StorageError::Unreachable(format!("{}: no connection within {limit:?}", self.config.address)))
            }
        }
    }

    fn grants_sql(&self, role: &str) -> Grants {
        grants::grants(self.address, &self.config.table_prefix, role)
    }
}

impl MongoDb<'_> {
    async fn open(&self) -> Result<MongoDbBackend, StorageError> {
        let connections = Connections::prepare(self.address, self.config).await?;
        let mut schema = Schema::named(&self.config.table_prefix);
        let collections = connections.collections().await?;
        schema.check(self.config, &self.address.server.database, &collections)?;
        let indexes = connections.indexes(&schema.jobs).await?;
        schema.set_indexes(indexes.as_deref());
        let is_missing = !collections.contains(&schema.recurring);
        let recurring_unavailable = is_missing.then(|| {
            let name = &schema.recurring;
            format!("recurring jobs are not counted: the collection {name} does not exist, or the user has no right to `find` on it")
        });
        let findings = SchemaFindings { notes: schema.notes.clone(), recurring_unavailable };
        Ok(MongoDbBackend { connections, schema, findings, config: self.config.clone() })
    }
}

struct MongoDbBackend {
    connections: Connections,
    schema: Schema,
    findings: SchemaFindings,
    config: StorageConfig,
}

/// The jobs that are enqueued or being processed, of one filter.
struct Enqueued {
    n_jobs: u64,
    oldest: Option<Timestamp>,
}

/// The servers, and the jobs that they process.
struct Processing {
    servers: Vec<Server>,
    n_invalid_servers: u64,
    n_jobs: u64,
    n_alive: u64,
}

impl MongoDbBackend {
    fn writer(&self) -> Writer<'_> {
        Writer { schema: &self.schema }
    }

    async fn run(&self, command: Document) -> Result<Document, StorageError> {
        self.connections.run(command).await
    }

    async fn count(&self, command: Document) -> Result<u64, StorageError> {
        decode::count(&self.run(command).await?)
    }

    async fn enqueued(&self, plan: &ReadPlan<'_>) -> Result<Enqueued, StorageError> {
        let n_jobs = self.count(self.writer().count("ENQUEUED", plan.enqueued_limit)).await?;
        let oldest = match n_jobs {
            0 => None,
            _ => decode::first_instant(&self.run(self.writer().oldest("ENQUEUED")).await?, "updatedAt")?,
        };
        Ok(Enqueued { n_jobs, oldest })
    }

    async fn processing(&self, plan: &ReadPlan<'_>) -> Result<Processing, StorageError> {
        let (servers, n_invalid_servers) =
            decode::servers(&self.run(self.writer().servers(plan.bounds.servers)).await?)?;
        let n_jobs = self.count(self.writer().count("PROCESSING", plan.count_limit)).await?;
        let since = decode::fresh_since(&servers, plan.now, self.config.heartbeat_multiplicand);
        let n_alive = match n_jobs {
            0 => 0,
            _ => self.count(self.writer().count_alive(since, plan.count_limit)).await?,
        };
        Ok(Processing { servers, n_invalid_servers, n_jobs, n_alive })
    }

    async fn due(
        &self,
        state: DueState,
        queue: &QueuePlan<'_>,
        is_wanted: bool,
        plan: &ReadPlan<'_>,
    ) -> Result<DueScans, StorageError> {
        let is_in_order = self.schema.due_index(state).is_some();
        let mut counter = DueCounter::new(queue, is_in_order);
        if let Some(last) = queue.last_until().filter(|_| is_wanted) {
            let command = self.writer().due_times(state, last, plan.scan_limit());
            self.connections
                .stream(command, &mut |document| {
                    counter.add(document);
                    true
                })
                .await?;
            if is_in_order {
                let next = self.run(self.writer().next_due(state, last)).await?;
                let next =
                    decode::documents(&next)?.first().and_then(|document| decode::integer(document, "scheduledAt"));
                counter.add_later(next);
            }
        }
        Ok(counter.finish(plan))
    }

    /// Groups jobs by kind if the plan asks for it.
    async fn kinds(&self, queue: &QueuePlan<'_>) -> Result<Option<KindRows>, StorageError> {
        if !queue.work {
            return Ok(None);
        }
        let find = async |state, time: &str, sort, until| {
            work::groups(&self.run(self.writer().kinds(state, time, sort)).await?, time, until)
        };
        let (oldest, newest, due) = try_join!(
            find("ENQUEUED", "updatedAt", Some(doc! { "updatedAt": 1 }), None),
            find("ENQUEUED", "updatedAt", Some(doc! { "updatedAt": -1 }), None),
            find("SCHEDULED", "scheduledAt", None, queue.last_until()),
        )?;
        Ok(Some(KindRows { oldest, newest, due }))
    }

    async fn recurring(&self, plan: &ReadPlan<'_>) -> Result<(ActiveRuns, Option<DefinitionsVersion>), StorageError> {
        if !plan.recurring {
            return Ok((ActiveRuns::default(), None));
        }
        let answer = self.run(self.writer().runs(plan.bounds.runs)).await?;
        let runs = decode::documents(&answer)?;
        let is_truncated = plan.bounds.runs <= runs.len() as u64;
        let ids = runs.iter().filter_map(|run| run.get_str("recurringJobId").ok()).map(str::to_owned);
        let truncated_states = if is_truncated { RUN_STATES.to_vec() } else { Vec::new() };
        let runs = ActiveRuns { ids: ids.collect(), truncated_states };
        Ok((runs, Some(self.definitions_version().await?)))
    }

    async fn definitions_version(&self) -> Result<DefinitionsVersion, StorageError> {
        decode::definitions_version(&self.run(self.writer().definitions_version()).await?)
    }

    /// Ensures that a job that moved during the read is not missed, if the read found none up to `until`. The counts are of several
    /// instants; this is one command about every state, after all of them.
    ///
    /// A job that is left to do is ENQUEUED, PROCESSING or SCHEDULED at the instant of this command, and found by it, whichever
    /// way it moved: forward, or back to SCHEDULED by a retry. Or it is AWAITING: no job returns to that state, so that it was
    /// AWAITING when that state was read as well, and was counted.
    ///
    /// The command is atomic: it passes a few index entries in one snapshot of the storage. MongoDB gives up a snapshot only
    /// after 10 ms or many documents.
    async fn look_again(
        &self,
        row: &mut QueueRow,
        queue: &QueuePlan<'_>,
        until: Timestamp,
        since: i64,
    ) -> Result<(), StorageError> {
        let answer = self.run(self.writer().any_work(Some(until))).await?;
        let Some(job) = decode::documents(&answer)?.first().copied() else { return Ok(()) };
        let updated_at = decode::integer(job, "updatedAt");
        match job.get_str("state").unwrap_or_default() {
            "ENQUEUED" => {
                row.n_enqueued = 1;
                row.oldest_enqueued_at = updated_at.and_then(calendar_instant);
            }
            "PROCESSING" => {
                row.n_processing = 1;
                row.n_processing_alive = u64::from(updated_at.is_some_and(|at| since <= at));
            }
            _ => {
                let mut counter = DueCounter { until: &queue.until, scan: std::mem::take(&mut row.scheduled.of_state) };
                counter.add(job);
                row.scheduled.of_state = counter.scan;
            }
        }
        Ok(())
    }

    async fn read_all(&self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError> {
        // Other filters are not supported, so there is one queue or none.
        let Some(queue) = plan.queues.first() else {
            let (processing, (runs, definitions_version)) = try_join!(self.processing(plan), self.recurring(plan))?;
            let Processing { servers, n_invalid_servers, .. } = processing;
            return Ok(Rows { servers, n_invalid_servers, runs, definitions_version, ..Rows::default() });
        };
        let (processing, enqueued, scheduled, awaiting, kinds, (runs, definitions_version)) = try_join!(
            self.processing(plan),
            self.enqueued(plan),
            self.due(DueState::Scheduled, queue, true, plan),
            self.due(DueState::Awaiting, queue, queue.awaiting.is_some(), plan),
            self.kinds(queue),
            self.recurring(plan),
        )?;
        let mut row = QueueRow {
            n_enqueued: enqueued.n_jobs,
            oldest_enqueued_at: enqueued.oldest,
            n_processing: processing.n_jobs,
            n_processing_alive: processing.n_alive,
            scheduled,
            awaiting,
            kinds,
            ..QueueRow::default()
        };
        let mut n_invalid_jobs = 0;
        if 0 < row.n_enqueued.saturating_add(row.n_processing) {
            n_invalid_jobs = self.count(self.writer().count_invalid()).await?;
        } else if let Some(until) = last_without_due(queue, &row) {
            let since = decode::fresh_since(&processing.servers, plan.now, self.config.heartbeat_multiplicand);
            self.look_again(&mut row, queue, until, since).await?;
        }
        let Processing { servers, n_invalid_servers, .. } = processing;
        Ok(Rows { queues: vec![row], servers, n_invalid_servers, n_invalid_jobs, runs, definitions_version })
    }
}

/// Returns the end of the longest look-ahead within which no job is due.
fn last_without_due(queue: &QueuePlan<'_>, row: &QueueRow) -> Option<Timestamp> {
    let scans = [&row.scheduled.of_state, &row.awaiting.of_state];
    if scans.iter().any(|scan| 0 < scan.n_before_calendar) {
        return None;
    }
    let is_empty = |n: usize| scans.iter().all(|scan| scan.intervals.get(n).is_none_or(|jobs| jobs.n_jobs == 0));
    queue.until.iter().enumerate().take_while(|(n, _)| is_empty(*n)).map(|(_, until)| *until).last()
}

#[async_trait]
impl Backend for MongoDbBackend {
    fn findings(&self) -> &SchemaFindings {
        &self.findings
    }

    /// JobRunr Pro's fields on MongoDB are not public.
    fn unsupported_filter(&self, filter: &Filter) -> Option<UnsupportedFilter> {
        let key = filter.keys().next()?;
        Some(UnsupportedFilter { key, missing: format!("the field {}.{key}", self.schema.jobs) })
    }

    async fn set_time_limit(&mut self, limit: Duration) -> Result<(), StorageError> {
        self.config.statement_timeout = limit;
        self.connections.timeout = limit;
        Ok(())
    }

    async fn read(&mut self, plan: &ReadPlan<'_>) -> Result<Rows, StorageError> {
        within(self.config.statement_timeout, self.read_all(plan)).await
    }

    async fn earliest_due(
        &mut self,
        _filter: &Filter,
        state: DueState,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError> {
        let answer = self.run(self.writer().earliest_due(state, until)).await?;
        let earliest =
            decode::documents(&answer)?.first().and_then(|document| decode::integer(document, "scheduledAt"));
        // A time before the calendar counts as its first instant.
        Ok(earliest.map(|micros| micros.max(*CALENDAR_MICROS.start())).and_then(calendar_instant))
    }

    async fn probe(&mut self, next: Option<Timestamp>, recurring: bool) -> Result<Probe, StorageError> {
        let before = next.and_then(|next| next.checked_sub(SignedDuration::from_micros(1)).ok());
        let find = async |command| Ok::<_, StorageError>(!decode::documents(&self.run(command).await?)?.is_empty());
        let version = async { if recurring { self.definitions_version().await.map(Some) } else { Ok(None) } };
        let awaiting_then_work = async {
            // In this order no job is missed: AWAITING is a job's first state.
            Ok::<_, StorageError>(
                find(self.writer().any_awaiting(before)).await? || find(self.writer().any_work(before)).await?,
            )
        };
        let probe = async { try_join!(awaiting_then_work, find(self.writer().servers(1)), version) };
        let (has_work, has_server, definitions_version) = within(self.config.statement_timeout, probe).await?;
        Ok(Probe { has_work, has_server, definitions_version })
    }

    async fn definitions(&mut self, bounds: &ReadBounds) -> Result<Vec<DefinitionRow>, StorageError> {
        let (mut rows, mut n_bytes) = (Vec::new(), 0_usize);
        self.connections
            .stream(self.writer().definitions(bounds.definitions), &mut |document| {
                n_bytes = n_bytes.saturating_add(document.get_str("jobAsJson").map_or(0, str::len));
                rows.extend(decode::definition(document));
                n_bytes <= bounds.definition_bytes
            })
            .await?;
        Ok(rows)
    }

    async fn active_runs_of(&mut self, ids: &[&str], states: &[&str]) -> Result<BTreeSet<String>, StorageError> {
        let answer = self.run(self.writer().active_runs_of(ids, states)).await?;
        let values = answer.get_array("values").map_err(|error| StorageError::InvalidAnswer(error.to_string()))?;
        Ok(values.iter().filter_map(Bson::as_str).map(str::to_owned).collect())
    }

    /// An index on the state has no entries of jobs that have moved on.
    async fn running(&mut self, limit: u64, _since: Option<Timestamp>) -> Result<Vec<RunningRow>, StorageError> {
        let answer = within(self.config.statement_timeout, self.run(self.writer().running(limit))).await?;
        decode::running(&answer)
    }

    async fn excerpts(&mut self, ids: &[&str], kind: ExcerptKind) -> Result<Excerpts, StorageError> {
        // The records come whole, so that a second look at them shows nothing more.
        if kind == ExcerptKind::Whole {
            return Ok(Excerpts::default());
        }
        let (mut jobs, mut n_bytes) = (Vec::new(), 0_usize);
        let command = self.writer().records(ids.iter().map(|id| id::bson(id)).collect());
        let each = &mut |document: &Document| {
            n_bytes = n_bytes.saturating_add(document.get_str("jobAsJson").map_or(0, str::len));
            jobs.extend(decode::excerpt(document));
            n_bytes <= MAX_RECORD_BYTES
        };
        within(self.config.statement_timeout, self.connections.stream(command, each)).await?;
        Ok(Excerpts { jobs, is_partial: MAX_RECORD_BYTES < n_bytes })
    }

    async fn major_version(&mut self) -> Result<Option<u32>, StorageError> {
        if self.findings.recurring_unavailable.is_some() {
            return Ok(None);
        }
        decode::major_version(&self.run(self.writer().newest_definitions()).await?)
    }

    async fn history(&mut self, page: &HistoryPage) -> Result<Vec<HistoryRow>, StorageError> {
        let mut rows = Vec::new();
        self.connections
            .stream(self.writer().history(page), &mut |document| {
                rows.extend(decode::finished(document, page.max_characters));
                true
            })
            .await?;
        Ok(rows)
    }

    async fn finished_runs(&mut self, since: Option<Timestamp>, limit: u64) -> Result<Vec<FinishedRun>, StorageError> {
        // Nothing that every server of this protocol has can cut a duration out of a record, so records are read whole.
        let (mut runs, mut n_bytes) = (Vec::new(), 0_usize);
        let each = &mut |document: &Document| {
            n_bytes = n_bytes.saturating_add(document.get_str("jobAsJson").map_or(0, str::len));
            runs.extend(work::finished_run(document));
            n_bytes <= MAX_FINISHED_BYTES
        };
        let command = self.writer().finished_records(since, limit);
        within(self.config.statement_timeout, self.connections.stream(command, each)).await?;
        Ok(runs)
    }

    async fn inspect(&mut self) -> Result<Inspection, StorageError> {
        self.connections.inspect().await
    }

    async fn close(self: Box<Self>) {
        self.connections.close().await;
    }
}
