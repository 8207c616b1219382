//! Connections to MongoDB, through its driver.

use std::collections::BTreeSet;
use std::time::Duration;

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::error::{Error, ErrorKind};
use ::mongodb::options::{
    ClientOptions, Credential, ReadPreference, SelectionCriteria, ServerAddress, ServerMonitoringMode, Tls, TlsOptions,
};
use ::mongodb::{Client, Database};
use futures::TryStreamExt;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::schema::Index;
use crate::config::{MongoDbAddress, StorageConfig, TlsMode};
use crate::storage::{Inspection, StorageError, within};

/// Connections for reading. The driver opens one more to each host, to see which is the primary.
const MAX_CONNECTIONS: u32 = 2;
/// How long the driver may take to close connections that are not in use.
const MAX_CLOSE: Duration = Duration::from_secs(1);
/// Rights that are listed; an administrator has hundreds.
const MAX_RIGHTS: usize = 6;

/// What the scaler's user needs, or what every user may do.
const READING: [&str; 8] =
    ["find", "listIndexes", "listCollections", "collStats", "dbStats", "indexStats", "changeStream", "killCursors"];

/// The driver's connections to one deployment, and JobRunr's database there.
pub(super) struct Connections {
    client: Client,
    database: Database,
    /// The time limit of a command.
    pub(super) timeout: Duration,
}

impl Connections {
    /// Prepares connections. The first command opens one.
    pub(super) async fn prepare(address: &MongoDbAddress, config: &StorageConfig) -> Result<Self, StorageError> {
        let options = options(address, config).await?;
        let client = Client::with_options(options).map_err(storage_error)?;
        let database = client.database(&address.server.database);
        Ok(Self { client, database, timeout: config.statement_timeout })
    }

    fn limited(&self, mut command: Document) -> Document {
        command.insert("maxTimeMS", i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX));
        command
    }

    /// Runs a command on the primary. Its result is never retried, and never read from another member.
    pub(super) async fn run(&self, command: Document) -> Result<Document, StorageError> {
        let command = self.database.run_command(self.limited(command)).selection_criteria(primary());
        within(self.timeout, async { command.await.map_err(storage_error) }).await
    }

    /// Runs a command with a cursor. `each` returns whether to go on.
    pub(super) async fn stream(
        &self,
        command: Document,
        each: &mut (dyn FnMut(&Document) -> bool + Send),
    ) -> Result<(), StorageError> {
        let command = self.database.run_cursor_command(self.limited(command)).selection_criteria(primary());
        within(self.timeout, async {
            let mut cursor = command.await.map_err(storage_error)?;
            while let Some(document) = cursor.try_next().await.map_err(storage_error)? {
                if !each(&document) {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    /// The names of the collections that the user can read.
    pub(super) async fn collections(&self) -> Result<BTreeSet<String>, StorageError> {
        let command = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
        let mut names = BTreeSet::new();
        self.stream(command, &mut |document| {
            names.extend(document.get_str("name").ok().map(str::to_owned));
            true
        })
        .await?;
        Ok(names)
    }

    /// The indexes of a collection; `None` if the user may not list them.
    pub(super) async fn indexes(&self, collection: &str) -> Result<Option<Vec<Index>>, StorageError> {
        let mut indexes = Vec::new();
        let mut add = |document: &Document| {
            indexes.extend(Index::read(document));
            true
        };
        match self.stream(doc! { "listIndexes": collection, "cursor": {} }, &mut add).await {
            Ok(()) => Ok(Some(indexes)),
            Err(StorageError::Denied(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn inspect(&self) -> Result<Inspection, StorageError> {
        let build = self.run(doc! { "buildInfo": 1 }).await?;
        let hello = self.run(doc! { "hello": 1 }).await?;
        let status = self.run(doc! { "connectionStatus": 1, "showPrivileges": true }).await?;
        let version = build.get_str("version").unwrap_or("of an unknown version");
        let product = match build.get_str("ferretdbVersion") {
            Ok(ferretdb) => format!("FerretDB {}", ferretdb.trim_start_matches('v')),
            Err(_) => format!("MongoDB {version}"),
        };
        let auth = status.get_document("authInfo").ok();
        let users = auth.and_then(|auth| auth.get_array("authenticatedUsers").ok());
        let user = users.and_then(|users| users.first()?.as_document()?.get_str("user").ok()).map(str::to_owned);
        let now = hello.get_datetime("localTime").ok();
        Ok(Inspection {
            product,
            user,
            now: now.and_then(|now| Timestamp::from_millisecond(now.timestamp_millis()).ok()),
            excess_rights: auth.map(excess_rights).unwrap_or_default(),
            ..Inspection::default()
        })
    }

    pub(super) async fn close(self) {
        drop(timeout(MAX_CLOSE, self.client.shutdown().immediate(true)).await);
    }
}

fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::Primary)
}

/// The user's rights besides reading, by what they are for.
fn excess_rights(auth: &Document) -> Vec<String> {
    let privileges = auth.get_array("authenticatedUserPrivileges").map(Vec::as_slice).unwrap_or_default();
    let mut rights = Vec::new();
    for privilege in privileges.iter().filter_map(Bson::as_document) {
        let actions = privilege.get_array("actions").map(Vec::as_slice).unwrap_or_default();
        let excess: Vec<&str> =
            actions.iter().filter_map(Bson::as_str).filter(|action| !READING.contains(action)).collect();
        let place = privilege.get_document("resource").ok();
        let name = |field| place.and_then(|place| place.get_str(field).ok()).filter(|name| !name.is_empty());
        if let Some(database) = name("db").filter(|_| !excess.is_empty()) {
            let more = if MAX_RIGHTS < excess.len() { ", …" } else { "" };
            let listed = excess.iter().take(MAX_RIGHTS).copied().collect::<Vec<_>>().join(", ");
            rights.push(format!("{listed}{more} on {database}.{}", name("collection").unwrap_or("*")));
        }
    }
    rights.truncate(MAX_RIGHTS);
    rights
}

/// Translates the address into the driver's options. Looks up the hosts of `mongodb+srv://`.
async fn options(address: &MongoDbAddress, config: &StorageConfig) -> Result<ClientOptions, StorageError> {
    if let Some(error) = config.address.login_errors().into_iter().next() {
        return Err(error.into());
    }
    let server = &address.server;
    // The driver sees neither user nor password in an address, so that no error of it can show them.
    let mut options = if address.is_srv {
        let host = server.hosts.first().map_or("", |(host, _)| host.as_str());
        ClientOptions::parse(format!("mongodb+srv://{host}/")).await.map_err(storage_error)?
    } else {
        let mut options = ClientOptions::default();
        let host = |(host, port): &(String, u16)| ServerAddress::Tcp { host: host.clone(), port: Some(*port) };
        options.hosts = server.hosts.iter().map(host).collect();
        options
    };
    // What the TXT record says, which the address overrides.
    let listed_source = options.credential.take().and_then(|credential| credential.source);
    options.credential = credential(address, listed_source)?;
    options.repl_set_name = address.replica_set.clone().or(options.repl_set_name);
    options.direct_connection = address.direct_connection.then_some(true);
    options.app_name = Some("jobrunr-scaler".to_owned());
    options.connect_timeout = Some(config.connect_timeout);
    // Less than our own limit, so that the driver still says what it found at each host.
    options.server_selection_timeout = Some(config.connect_timeout.mul_f64(0.8));
    options.max_pool_size = Some(MAX_CONNECTIONS);
    options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
    options.retry_reads = Some(false);
    options.selection_criteria = Some(primary());
    options.tls = Some(tls(address));
    Ok(options)
}

fn tls(address: &MongoDbAddress) -> Tls {
    let given = &address.server.tls;
    if given.mode == TlsMode::Disable {
        return Tls::Disabled;
    }
    let mut tls = TlsOptions::default();
    tls.allow_invalid_certificates = (!given.mode.verifies()).then_some(true);
    tls.ca_file_path = given.root_cert.clone();
    tls.cert_key_file_path = given.client_cert.clone();
    Tls::Enabled(tls)
}

fn credential(address: &MongoDbAddress, listed_source: Option<String>) -> Result<Option<Credential>, StorageError> {
    let server = &address.server;
    if server.username.is_none() && address.auth_mechanism.is_none() {
        return Ok(None);
    }
    let mut credential = Credential::default();
    credential.username.clone_from(&server.username);
    let password = server.password.as_ref().map(crate::config::Secret::read).transpose()?;
    credential.password = password.map(|password| password.expose_secret().to_owned());
    credential.source = address.auth_source.clone().or(listed_source);
    credential.mechanism = address.auth_mechanism.and_then(|mechanism| mechanism.name().parse().ok());
    Ok(Some(credential))
}

/// Translates the driver's error. Codes are those of MongoDB's `error_codes.yml`.
pub(super) fn storage_error(error: Error) -> StorageError {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            let text = command.message.clone();
            match command.code {
                // Unauthorized, AuthenticationFailed, Atlas' own.
                13 | 18 | 8000 => StorageError::Denied(text),
                // MaxTimeMSExpired.
                50 => StorageError::TimedOut(format!("the statement timeout: {text}")),
                // ShutdownInProgress, PrimarySteppedDown, and others of a change of primary.
                91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436 => StorageError::Starting(text),
                _ => StorageError::Rejected(text),
            }
        }
        ErrorKind::Authentication { message, .. } => StorageError::Denied(message.clone()),
        ErrorKind::InvalidResponse { message, .. } => StorageError::InvalidAnswer(message.clone()),
        ErrorKind::Bson(error) => StorageError::InvalidAnswer(error.to_string()),
        kind => StorageError::Unreachable(kind.to_string()),
    }
}
