//! Addresses of databases: URLs, and the `jdbc:` addresses of applications.
mod decode;
mod error;
mod host;
mod login;
mod mongodb;
mod parameters;
mod parse;
mod scheme;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use self::error::AddressError;
pub use self::login::LoginError;
pub use self::mongodb::{AuthMechanism, MongoDbAddress};
use super::secret::Secret;

/// The address of a database. `Display` and `Debug` never show a password.
#[derive(Debug, Clone, PartialEq)]
pub enum Address {
    /// PostgreSQL, or a database with its protocol.
    Postgres(ServerAddress),
    /// MySQL or MariaDB.
    Mysql(ServerAddress),
    /// MongoDB, or a database with its protocol.
    MongoDb(MongoDbAddress),
    /// The file of a SQLite database.
    Sqlite(PathBuf),
}

/// The address of a database server, and the login.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerAddress {
    /// Hosts and ports, at least one, to be tried in this order. An IPv6 address has no brackets. For PostgreSQL, a host that
    /// starts with `/` is the directory of a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The database to connect to.
    pub database: String,
    /// The user, if one was given.
    pub username: Option<String>,
    /// The password, if one was given.
    pub password: Option<Secret>,
    /// How to encrypt, and which certificates to trust.
    pub tls: Tls,
    /// PostgreSQL's `search_path`, from pgjdbc's `currentSchema`: identifiers separated by commas, without spaces.
    pub search_path: Option<String>,
    /// With several hosts: skip standbys (`targetServerType=primary` of pgjdbc).
    pub primary_only: bool,
    /// PostgreSQL: the address is that of a pooler in transaction mode.
    pub is_pooled: bool,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether to encrypt, and what to verify.
    pub mode: TlsMode,
    /// The certificates of authorities to trust (PEM), in addition to the public ones.
    pub root_cert: Option<PathBuf>,
    /// The client certificate to log in with (PEM).
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate (PEM).
    pub client_key: Option<PathBuf>,
}

/// Whether a connection is encrypted, and what is verified. The names are those of PostgreSQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypt.
    Disable,
    /// Encrypt if the server can; verify nothing.
    #[default]
    Prefer,
    /// Encrypt or fail; verify nothing.
    Require,
    /// Encrypt, and verify that a trusted authority signed the server's certificate.
    VerifyCa,
    /// Also verify that the certificate is for the host of the address.
    VerifyFull,
}

impl TlsMode {
    /// Returns whether the server must present a certificate of a trusted authority.
    pub fn verifies(self) -> bool {
        matches!(self, TlsMode::VerifyCa | TlsMode::VerifyFull)
    }

    /// Returns PostgreSQL's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        }
    }
}

impl Address {
    /// Reads an address. Also returns warnings, for example about parameters that are ignored.
    ///
    /// # Errors
    /// The text is not an address, or the database is not supported. No error quotes the address, because it may contain a
    /// password.
    pub fn parse(text: &str) -> Result<(Address, Vec<String>), AddressError> {
        parse::parse(text)
    }

    /// Returns the address of the server; `None` for SQLite.
    pub fn server(&self) -> Option<&ServerAddress> {
        match self {
            Address::Postgres(server) | Address::Mysql(server) => Some(server),
            Address::MongoDb(address) => Some(&address.server),
            Address::Sqlite(_) => None,
        }
    }

    /// Returns what is missing or wrong for a login. Reads the TLS files that the address names.
    pub fn login_errors(&self) -> Vec<LoginError> {
        match self {
            Address::Postgres(server) | Address::Mysql(server) => server.login_errors(),
            Address::MongoDb(address) => address.login_errors(),
            Address::Sqlite(_) => Vec::new(),
        }
    }

    pub(super) fn server_mut(&mut self) -> Option<&mut ServerAddress> {
        match self {
            Address::Postgres(server) | Address::Mysql(server) => Some(server),
            Address::MongoDb(address) => Some(&mut address.server),
            Address::Sqlite(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Postgres(server) => write!(f, "postgres://{server}"),
            Address::Mysql(server) => write!(f, "mysql://{server}"),
            Address::MongoDb(address) if address.is_srv => {
                let user = address.server.username.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let hosts: Vec<&str> = address.server.hosts.iter().map(|(host, _)| host.as_str()).collect();
                write!(f, "mongodb+srv://{user}{}/{}", hosts.join(","), address.server.database)
            }
            Address::MongoDb(address) => write!(f, "mongodb://{}", address.server),
            Address::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(username) = &self.username {
            write!(f, "{username}@")?;
        }
        for (i, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}", host_and_port(host, *port))?;
        }
        write!(f, "/{}", self.database)
    }
}

/// Returns `host:port`, with an IPv6 address in brackets.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
