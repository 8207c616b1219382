//! Why a text is not the address of a database.

use thiserror::Error;

use crate::text::suggest::hint;

/// The supported databases, for messages.
const SUPPORTED: &str = "PostgreSQL, MySQL, MariaDB, MongoDB and SQLite";

/// Why a text is not the address of a database. No message quotes the address: any part of it may belong to a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// JobRunr supports the database, this scaler does not yet.
    #[error("{0} is not supported yet; {SUPPORTED} are")]
    Unsupported(&'static str),
    /// The address has no known scheme.
    #[error(
        "this is not the address of a database, which starts with postgres://, mysql://, mariadb://, mongodb:// or \
         sqlite:, or with the same in JDBC's form, such as jdbc:postgresql://host:5432/database{}",
        hint(*.likely)
    )]
    Scheme {
        /// A known scheme that is close.
        likely: Option<&'static str>,
    },
    /// There is nothing after the scheme, or no `//`.
    #[error("the address has no `//host` after the scheme; use for example {0}")]
    NoHost(&'static str),
    /// A JDBC mode that spreads reads over replicas.
    #[error(
        "this kind of address may lead to a replica, which lags behind; give only the primary, or several hosts to try in \
         turn, such as jdbc:mysql://host1:3306,host2:3306/database"
    )]
    Mode,
    /// The form `address=(host=…)` of MariaDB and MySQL.
    #[error("the form `address=(host=…)(port=…)` is not supported; use host:port, several separated by commas")]
    AddressBlock,
    /// An invalid host name.
    #[error(
        "the host name in the address is invalid; if the user or the password has a special character, percent-encode it \
         (`@` is %40, `:` is %3A, `/` is %2F, `?` is %3F, `#` is %23, `%` is %25), or set both as `username` and `password`"
    )]
    Host,
    /// An invalid IPv6 address, or one without brackets.
    #[error("the IPv6 host in the address is invalid; write it in brackets, such as [2001:db8::1]:5432")]
    Ipv6,
    /// An invalid port.
    #[error(
        "the port in the address is not a number from 1 to 65535; if the user or the password has a special character, \
         percent-encode it (`/` is %2F, `?` is %3F, `#` is %23), or set both as `username` and `password`"
    )]
    Port,
    /// Several hosts, or a port, after `mongodb+srv://`.
    #[error(
        "an address that starts with mongodb+srv:// has one host and no port, because the DNS lists hosts and ports; use \
         mongodb+srv://cluster.example.net/, or mongodb://host1:27017,host2:27017/ to list them here"
    )]
    Srv,
    /// There is no database.
    #[error("the address does not name a database; write it after the host, such as {0}")]
    NoDatabase(&'static str),
    /// There is an `@` or `/` after the first `/`, which is probably part of a password.
    #[error(
        "the address has an `@` or a second `/` after the host; if the user or the password has a special character, \
         percent-encode it (`@` is %40, `/` is %2F, `?` is %3F, `#` is %23), or set both as `username` and `password`"
    )]
    Path,
    /// There is a special character in the database's name; a password may follow it.
    #[error(
        "the database's name in the address has a special character; if parameters follow, start them with `?` and separate \
         them by `&`, such as {0}?user=scaler&sslmode=require; if it belongs to the name, percent-encode it (`;` is %3B, \
         `#` is %23, `&` is %26, `=` is %3D, a space is %20)"
    )]
    Database(&'static str),
    /// There is a `;` or `#` in a parameter or in the user.
    #[error(
        "the address has a `;` or a `#` in the user or in a parameter; separate parameters by `&`; if the character belongs \
         there, percent-encode it (`;` is %3B, `#` is %23)"
    )]
    Separator,
    /// There is a special character in the path of a SQLite database; a password may follow it.
    #[error(
        "the path of the SQLite database has a `;`, `#` or `@`; SQLite has no users and no passwords. If the character belongs \
         to the path, use the form sqlite:/data/jobrunr.db and percent-encode it (`;` is %3B, `#` is %23, `@` is %40)"
    )]
    SqlitePath,
    /// The percent-encoded bytes are not UTF-8.
    #[error("the percent-encoded bytes in the address are not UTF-8")]
    Encoding,
    /// There is a control character where it would be printed.
    #[error("the address has a control character, such as %0A for a line break; only a password may have one")]
    Control,
    /// A parameter has no value.
    #[error(
        "the address has a parameter without `=` and a value; if the password has an `&` or a `?`, percent-encode it (`&` is \
         %26, `?` is %3F)"
    )]
    BareParameter,
    /// A parameter has an invalid value.
    #[error("the parameter `{parameter}` of the address must be {allowed}")]
    Parameter {
        /// The parameter's name, as we write it.
        parameter: &'static str,
        /// The values that are allowed.
        allowed: &'static str,
    },
    /// There are two users or two passwords.
    #[error("the address has the {0} twice, before the host and as a parameter, with different values; give it once")]
    Twice(&'static str),
    /// Only one of the two files of a client certificate is named.
    #[error(
        "the address has `{given}` without `{missing}`; a login by certificate needs both, as PEM files; for a login by \
         password leave both out"
    )]
    HalfIdentity {
        /// The parameter that is there.
        given: &'static str,
        /// The parameter that is not.
        missing: &'static str,
    },
    /// The key is in a format that only Java reads.
    #[error("the client key (`sslkey`) is in a format that only Java reads; convert it to PEM")]
    ClientKey,
    /// A Unix socket of MySQL.
    #[error("Unix sockets are supported for PostgreSQL only; give a host and a port")]
    Socket,
    /// There is no file.
    #[error("the address has no file; use for example sqlite:/data/jobrunr.db")]
    NoFile,
    /// A database in the memory of another process.
    #[error(
        "a SQLite database in memory cannot be read by another process; use a file, such as sqlite:/data/jobrunr.db"
    )]
    InMemory,
}
