//! JobRunr's collections on MongoDB, with its documents.

use jiff::Timestamp;
use mongodb::bson::{Bson, DateTime, Document, Uuid, doc};
use mongodb::{Client, Database};
use url::Url;

use super::database::Layout;
use super::rows::{Job, ServerRow};

/// A database, and the names of JobRunr's collections in it.
pub(crate) struct Collections {
    database: Database,
    prefix: &'static str,
}

impl Collections {
    pub(crate) async fn connect(server: &Url, name: &str, layout: Layout) -> Self {
        let client = Client::with_uri_str(server.as_str()).await.unwrap();
        Self { database: client.database(name), prefix: layout.prefix }
    }

    pub(crate) fn name(&self, collection: &str) -> String {
        format!("{}{collection}", self.prefix)
    }

    pub(crate) async fn run(&self, command: Document) {
        self.database.run_command(command).await.unwrap();
    }

    /// Creates collections as JobRunr does with its provider for Amazon DocumentDB, whose indexes FerretDB knows.
    pub(crate) async fn create(&self, layout: Layout) {
        for name in ["jobs", "recurring_jobs", "background_job_servers", "metadata", "migrations"] {
            self.database.create_collection(self.name(name)).await.unwrap();
        }
        if layout.hand_made {
            return;
        }
        let indexes = [
            ("jobsByStateUpdatedAtAscIdx", doc! { "state": 1, "updatedAt": 1 }),
            ("jobsByStateUpdatedAtDescIdx", doc! { "state": 1, "updatedAt": -1 }),
            ("recurringJobPartialIdx", doc! { "state": 1, "recurringJobId": 1 }),
            ("scheduledPartialIdx", doc! { "state": 1, "scheduledAt": 1 }),
        ];
        let indexes: Vec<Document> = indexes.into_iter().map(|(name, key)| doc! { "name": name, "key": key }).collect();
        self.run(doc! { "createIndexes": self.name("jobs"), "indexes": indexes }).await;
    }

    pub(crate) async fn insert(&self, collection: &str, documents: Vec<Document>) {
        for documents in documents.chunks(5_000) {
            self.database.collection::<Document>(&self.name(collection)).insert_many(documents).await.unwrap();
        }
    }

    pub(crate) async fn update(&self, collection: &str, filter: Document, update: Document) {
        self.database.collection::<Document>(&self.name(collection)).update_many(filter, update).await.unwrap();
    }

    pub(crate) async fn delete(&self, collection: &str, filter: Document) {
        self.database.collection::<Document>(&self.name(collection)).delete_many(filter).await.unwrap();
    }
}

/// A job as JobRunr's mapper writes it: instants in µs, and fields that are absent rather than null.
pub(crate) fn job_document(job: &Job, now: Timestamp) -> Document {
    let updated_at = (now - job.updated_ago).as_microsecond();
    let mut document = doc! {
        "_id": Uuid::new(),
        "version": job.version,
        "jobAsJson": &job.json,
        "jobSignature": &job.kind,
        "state": &job.state,
        "createdAt": updated_at,
        "updatedAt": updated_at,
    };
    if let Some(due_in) = job.scheduled_in {
        document.insert("scheduledAt", (now + due_in).as_microsecond());
    }
    if let Some(id) = &job.recurring_job {
        document.insert("recurringJobId", id);
    }
    document
}

pub(crate) fn server_document(server: &ServerRow, now: Timestamp) -> Document {
    let heartbeat = DateTime::from_millis((now - server.heartbeat_ago).as_millisecond());
    let id = server.id.as_ref().map_or_else(Uuid::new, |id| Uuid::parse_str(id).unwrap());
    doc! {
        "_id": id,
        "name": &server.name,
        "workerPoolSize": server.workers,
        "pollIntervalInSeconds": server.poll_seconds,
        "firstHeartbeat": heartbeat,
        "lastHeartbeat": heartbeat,
        "running": false,
        "deleteSucceededJobsAfter": "PT36H",
        "permanentlyDeleteDeletedJobsAfter": "PT72H",
        "systemTotalMemory": Bson::Int64(1),
        "systemCpuLoad": 0.5,
    }
}

pub(crate) fn recurring_document(id: &str, json: &str, created_at: i64) -> Document {
    doc! { "_id": id, "version": 0, "jobAsJson": json, "createdAt": created_at }
}
