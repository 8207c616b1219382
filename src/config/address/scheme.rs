//! The scheme of an address, which says what kind of database it is.

use super::AddressError;
use crate::text::suggest::closest;

/// The schemes to suggest for a misspelled one.
const SCHEMES: [&str; 6] = ["postgres", "postgresql", "mysql", "mariadb", "mongodb", "sqlite"];

/// The kind of database that an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Postgres,
    Mysql,
    MongoDb,
    /// `mongodb+srv`: the hosts are in the DNS.
    MongoDbSrv,
    Sqlite,
}

impl Scheme {
    /// Reads the part before the first `:`, ignoring case.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        match text.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            "mongodb" => Ok(Self::MongoDb),
            "mongodb+srv" => Ok(Self::MongoDbSrv),
            "sqlite" => Ok(Self::Sqlite),
            other => Err(unsupported(other)),
        }
    }

    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Mysql => 3306,
            Self::MongoDb | Self::MongoDbSrv => 27017,
            Self::Sqlite => 0,
        }
    }

    /// An address to show in a message.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Postgres => "jdbc:postgresql://host:5432/database",
            Self::Mysql => "jdbc:mysql://host:3306/database",
            Self::MongoDb => "mongodb://host:27017/",
            Self::MongoDbSrv => "mongodb+srv://cluster.example.net/",
            Self::Sqlite => "jdbc:sqlite:/data/jobrunr.db",
        }
    }
}

fn unsupported(scheme: &str) -> AddressError {
    match scheme {
        "oracle" => AddressError::Unsupported("Oracle"),
        "sqlserver" | "mssql" => AddressError::Unsupported("SQL Server"),
        "db2" => AddressError::Unsupported("Db2"),
        "h2" => AddressError::Unsupported("H2"),
        "cockroachdb" => AddressError::Unsupported("CockroachDB"),
        other => AddressError::Scheme { likely: closest(other, SCHEMES) },
    }
}
