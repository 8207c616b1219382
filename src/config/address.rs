//! Addresses of databases: as sqlx takes them, and as JobRunr's users have them (`jdbc:`).
mod login;
mod parameters;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

pub use self::login::LoginError;
use super::secret::Secret;

/// Where a database is. `Display` and `Debug` never show a password.
#[derive(Debug, Clone, PartialEq)]
pub enum Address {
    /// PostgreSQL, and what speaks its protocol.
    Postgres(ServerAddress),
    /// MySQL or MariaDB.
    Mysql(ServerAddress),
    /// The file of a SQLite database.
    Sqlite(PathBuf),
}

/// The address of a database server, and how to log in.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerAddress {
    /// Host and port, at least one; several are to be tried in this order. An IPv6 address stands without brackets. For
    /// PostgreSQL, a host that starts with `/` is the directory of a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The database to connect to.
    pub database: String,
    /// The user, if one was given.
    pub username: Option<String>,
    /// The password, if one was given.
    pub password: Option<Secret>,
    /// How to encrypt, and whom to trust.
    pub tls: Tls,
    /// PostgreSQL's `search_path`, from pgjdbc's `currentSchema`: identifiers separated by commas, without spaces.
    pub search_path: Option<String>,
    /// With several hosts: only a primary will do (pgjdbc's `targetServerType=primary`), a standby is to be passed over.
    pub primary_only: bool,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether to encrypt, and what to verify.
    pub mode: TlsMode,
    /// The certificates of the authorities to trust (PEM), beside the public ones.
    pub root_cert: Option<PathBuf>,
    /// The certificate by which to log in (PEM).
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate (PEM).
    pub client_key: Option<PathBuf>,
}

/// Whether a connection is encrypted, and what is verified. The names are PostgreSQL's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypt.
    Disable,
    /// Encrypt when the server can; verify nothing.
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
    /// Whether the server has to show a certificate of a trusted authority.
    pub fn verifies(self) -> bool {
        matches!(self, TlsMode::VerifyCa | TlsMode::VerifyFull)
    }

    /// PostgreSQL's name for it.
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
    /// Reads an address. Also returns warnings: what in it has no meaning here and was ignored.
    ///
    /// # Errors
    /// The text is no address, or of a database that is not supported. No error quotes the address, because it may hold
    /// a password.
    pub fn parse(text: &str) -> Result<(Address, Vec<String>), AddressError> {
        parse::parse(text)
    }

    /// The address of the server; `None` for SQLite.
    pub fn server(&self) -> Option<&ServerAddress> {
        match self {
            Address::Postgres(server) | Address::Mysql(server) => Some(server),
            Address::Sqlite(_) => None,
        }
    }

    pub(super) fn server_mut(&mut self) -> Option<&mut ServerAddress> {
        match self {
            Address::Postgres(server) | Address::Mysql(server) => Some(server),
            Address::Sqlite(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Postgres(server) => write!(f, "postgres://{server}"),
            Address::Mysql(server) => write!(f, "mysql://{server}"),
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
            write!(f, "{comma}{}", place(host, *port))?;
        }
        write!(f, "/{}", self.database)
    }
}

/// Host and port as one text, an IPv6 address in brackets.
pub fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The databases that can be read, for texts.
const SUPPORTED: &str = "PostgreSQL, MySQL, MariaDB and SQLite";

/// Why a text is no address of a database. No text in it comes from the address: any part may be a password's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// JobRunr knows the database, we do not yet.
    #[error("{0} is not supported yet; {SUPPORTED} are")]
    Unsupported(&'static str),
    /// The address starts with nothing known; a name that is close, if there is one.
    #[error(
        "this is no address of a database, which starts with postgres://, mysql://, mariadb:// or \
         sqlite:, or with one of them in JDBC's form, as in jdbc:postgresql://host:5432/database{}",
        .nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
    )]
    Scheme {
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// Nothing after the scheme, or no `//`.
    #[error("the address has no `//host` after the scheme; write for example {0}")]
    NoHost(&'static str),
    /// A JDBC mode that spreads reads over replicas.
    #[error(
        "this kind of address may lead to a replica, which lags behind; give the primary alone, or \
         several hosts to try in turn as in jdbc:mysql://host1:3306,host2:3306/database"
    )]
    Mode,
    /// MariaDB's and MySQL's `address=(host=…)`.
    #[error("the form `address=(host=…)(port=…)` is not supported; write host:port, several separated by commas")]
    AddressBlock,
    /// Something that is no host name.
    #[error(
        "the address has no valid host name; if the user or the password has a special character, \
         percent-encode it (`@` is %40, `:` is %3A, `/` is %2F, `?` is %3F, `#` is %23, `%` is %25) or give both \
         as `username` and `password`"
    )]
    Host,
    /// A wrong or unbracketed IPv6 address.
    #[error("the address has no valid IPv6 address; one stands in brackets, as in [2001:db8::1]:5432")]
    Ipv6,
    /// Something that is no port.
    #[error(
        "the port of the address is no number from 1 to 65535; if the user or the password has a \
         special character, percent-encode it (`/` is %2F, `?` is %3F, `#` is %23) or give both \
         as `username` and `password`"
    )]
    Port,
    /// No database.
    #[error("the address has no name of a database; that follows the host, as in {0}")]
    NoDatabase(&'static str),
    /// An `@` or `/` after the first `/`, which only a password explains.
    #[error(
        "the address has an `@` or a second `/` after the host; if the user or the password has a \
         special character, percent-encode it (`@` is %40, `/` is %2F, `?` is %3F, `#` is %23) or give both \
         as `username` and `password`"
    )]
    Path,
    /// A special character in the database's name, behind which a password may follow.
    #[error(
        "the database's name in the address has a special character; parameters start with `?` and are separated by \
         `&`, as in {0}?user=scaler&sslmode=require; what does belong to the name is percent-encoded (`;` is %3B, \
         `#` is %23, `&` is %26, `=` is %3D, a space is %20)"
    )]
    Database(&'static str),
    /// A `;` or `#` where a parameter or a user ends.
    #[error(
        "the address has a `;` or a `#` in the user or in a parameter; separate parameters by `&`, and write %3B for a \
         `;` and %23 for a `#` that do belong there"
    )]
    Separator,
    /// A special character in the path of a SQLite database, behind which a password may follow.
    #[error(
        "the path of the SQLite database has a `;`, `#` or `@`, as an address with a user or a password has; SQLite \
         knows neither. Where it does belong to the path, write sqlite:/data/jobrunr.db with %3B, %23 or %40 for it"
    )]
    SqlitePath,
    /// Percent-encoding of something that is not UTF-8.
    #[error("the address is percent-encoded, but not from UTF-8")]
    Encoding,
    /// A line break or the like, which would be printed.
    #[error("the address has a control character in it, such as %0A for a line break; only a password may")]
    Control,
    /// A parameter without a value.
    #[error(
        "the address has a parameter without `=` and a value; if a password has an `&` or a `?` in it, write %26 or %3F"
    )]
    BareParameter,
    /// A parameter with a wrong value.
    #[error("the parameter `{parameter}` of the address must be {allowed}")]
    Parameter {
        /// The parameter's name, as we write it.
        parameter: &'static str,
        /// What may be given.
        allowed: &'static str,
    },
    /// Two users or two passwords in one address.
    #[error("the address gives the {0} twice, before the host and as a parameter, and they differ; give it once")]
    Twice(&'static str),
    /// One of the two files to log in with.
    #[error(
        "the address names `{given}` without `{missing}`; a login by certificate needs both, as files in PEM; for a \
         login by password leave both out"
    )]
    HalfIdentity {
        /// The parameter that is there.
        given: &'static str,
        /// The parameter that is not.
        missing: &'static str,
    },
    /// A key in a format that only Java reads.
    #[error("the client key (`sslkey`) is in a format that only Java reads; convert it to PEM")]
    ClientKey,
    /// A MySQL socket.
    #[error("Unix sockets are supported for PostgreSQL only; give a host and a port")]
    Socket,
    /// No file.
    #[error("the address has no file; write for example sqlite:/data/jobrunr.db")]
    NoFile,
    /// A database in the memory of another process.
    #[error(
        "a SQLite database in memory cannot be read by another process; give a file, as in sqlite:/data/jobrunr.db"
    )]
    InMemory,
}
