//! The database servers: the shared ones that `scripts/test.sh` starts, and those of one test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use url::Url;

use super::database::Kind;

/// Returns a superuser's address of the shared server. No test changes its settings.
pub(crate) fn server_url(kind: Kind) -> Url {
    url_of(match kind {
        Kind::Postgres => "TEST_POSTGRES_URL",
        Kind::MariaDb => "TEST_MARIADB_URL",
        Kind::MySql => "TEST_MYSQL_URL",
        Kind::MongoDb => "TEST_MONGODB_URL",
        Kind::Sqlite => panic!("SQLite has no server"),
    })
}

/// Returns a superuser's address of PgBouncer, before the shared PostgreSQL.
pub(crate) fn pooler_url() -> Url {
    url_of("TEST_PGBOUNCER_URL")
}

fn url_of(variable: &str) -> Url {
    let url = std::env::var(variable);
    let url = url.unwrap_or_else(|_| panic!("{variable} is not set: run scripts/test.sh, which starts the servers"));
    Url::parse(&url).unwrap_or_else(|error| panic!("{variable}: {error}"))
}

/// A server of one test. It stops when its standard input ends.
pub(crate) struct OwnServer {
    child: Child,
    /// A superuser's address.
    pub(crate) url: Url,
}

impl OwnServer {
    /// Starts a server in a directory, with a variable for `scripts/database.sh`.
    pub(crate) fn start(kind: Kind, directory: &Path, variable: &str, value: impl AsRef<OsStr>) -> Self {
        let name = match kind {
            Kind::Postgres => "postgres",
            Kind::MariaDb => "mariadb",
            Kind::MySql => "mysql",
            Kind::MongoDb => "ferretdb",
            Kind::Sqlite => panic!("SQLite has no server"),
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/database.sh");
        let mut command = Command::new(script);
        command.arg(name).arg(directory).env(variable, value);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().next().and_then(|url| Url::parse(url).ok());
        Self { child, url: url.unwrap_or_else(|| panic!("the server did not start: {line}")) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port().unwrap()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
