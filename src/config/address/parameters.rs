//! What follows the `?` of an address: libpq's, sqlx's and the JDBC drivers' names for the same things.
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::parse::parse_port;
use super::{AddressError, Tls, TlsMode};

/// Parameters that are often met and mean nothing to us, in lower case: they can be named in a warning without fear that
/// they are the end of a password.
const OF_DRIVERS: [&str; 16] = [
    "allowpublickeyretrieval",
    "application_name",
    "applicationname",
    "autoreconnect",
    "cacheprepstmts",
    "characterencoding",
    "preparethreshold",
    "rewritebatchedinserts",
    "rewritebatchedstatements",
    "servertimezone",
    "stringtype",
    "tcpkeepalive",
    "usecursorfetch",
    "useserverprepstmts",
    "useunicode",
    "zerodatetimebehavior",
];

/// Name and value, decoded.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Whose parameters they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postgres,
    Mysql,
    Sqlite,
}

impl Kind {
    pub(super) fn default_port(self) -> u16 {
        match self {
            Kind::Postgres => 5432,
            Kind::Mysql => 3306,
            Kind::Sqlite => 0,
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Kind::Postgres => "jdbc:postgresql://host:5432/database",
            Kind::Mysql => "jdbc:mysql://host:3306/database",
            Kind::Sqlite => "jdbc:sqlite:/data/jobrunr.db",
        }
    }
}

/// What was found. Nothing here is printed: `Debug` is left out because of the password.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) database: Option<String>,
    pub(super) tls: Tls,
    pub(super) search_path: Option<String>,
    pub(super) primary_only: bool,
    pub(super) warnings: Vec<String>,
    tls_mode: Option<TlsMode>,
    /// pgjdbc's `ssl=true`.
    ssl: bool,
    /// pgjdbc's `sslfactory=….NonValidatingFactory`.
    trusts_all: bool,
    /// libpq's `sslrootcert=system`: the public authorities.
    trusts_public: bool,
}

impl Parameters {
    pub(super) fn read(kind: Kind, pairs: Vec<Pair<'_>>) -> Result<Self, AddressError> {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            // The drivers do not agree on upper and lower case, and no two parameters differ in case only.
            let lower = name.to_ascii_lowercase();
            if name.contains(char::is_control) || (lower != "password" && value.contains(char::is_control)) {
                return Err(AddressError::Control);
            }
            let known = match kind {
                Kind::Postgres => parameters.common(&lower, &value)? || parameters.postgres(&lower, &value)?,
                Kind::Mysql => parameters.common(&lower, &value)? || parameters.mysql(&lower, &value)?,
                Kind::Sqlite => false,
            };
            if !known {
                parameters.ignore(&name, &lower);
            }
        }
        parameters.tls.mode = parameters.resolve_tls();
        parameters.check_tls()?;
        Ok(parameters)
    }

    /// Parameters that mean the same for both servers. Returns whether it was one.
    fn common(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        match name {
            "user" => self.username = Some(value.to_owned()).filter(|user| !user.is_empty()),
            "password" => self.password = Some(value.into()),
            "sslmode" | "ssl-mode" => self.tls_mode = Some(tls_mode(value)?),
            "sslrootcert" | "ssl-root-cert" | "sslca" | "ssl-ca" | "serversslcert" => {
                self.trusts_public = value == "system";
                self.tls.root_cert = Some(PathBuf::from(value)).filter(|_| !self.trusts_public);
            }
            "sslcert" | "ssl-cert" => self.tls.client_cert = Some(PathBuf::from(value)),
            "sslkey" | "ssl-key" => self.tls.client_key = Some(client_key(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn postgres(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        match name {
            "ssl" => self.ssl = value.is_empty() || value.eq_ignore_ascii_case("true"),
            "sslfactory" => match value.rsplit('.').next() {
                Some("NonValidatingFactory") => self.trusts_all = true,
                Some("LibPQFactory") => {}
                _ => return Ok(false),
            },
            "currentschema" => self.search_path = Some(search_path(value)?),
            "targetservertype" | "target_session_attrs" => self.primary_only = primary_only(value)?,
            "host" | "hostaddr" | "pghost" => self.host = Some(value.to_owned()),
            "port" | "pgport" => self.port = Some(parse_port(value)?),
            "dbname" | "pgdbname" => self.database = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn mysql(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        match name {
            "socket" | "localsocket" => Err(AddressError::Socket),
            // It is always allowed.
            "allowpublickeyretrieval" => Ok(value.eq_ignore_ascii_case("true")),
            _ => Ok(false),
        }
    }

    fn ignore(&mut self, name: &str, lower: &str) {
        let hint = match lower {
            "connecttimeout" | "connect_timeout" | "logintimeout" => "; the storage's `connectTimeout` says it",
            "sockettimeout" => "; the storage's `statementTimeout` says it",
            "usessl" | "requiressl" | "verifyservercertificate" | "trustservercertificate" => {
                "; `sslMode` says whether to encrypt"
            }
            "options" => "; `currentSchema` sets the search path",
            "sslfactory" => "; `sslmode` says what to verify, and `sslrootcert` whom to trust",
            _ => "",
        };
        // After a password with an `&` that is not encoded, the rest of the password looks like a parameter.
        let may_be_password = self.password.is_some() && hint.is_empty() && !OF_DRIVERS.contains(&lower);
        self.warnings.push(if may_be_password || !is_word(name) {
            "a parameter of the address has no meaning here and is ignored; if it is a part of the \
             password, write `&` as %26"
                .to_owned()
        } else {
            format!("the parameter `{name}` of the address has no meaning here and is ignored{hint}")
        });
    }

    /// pgjdbc's rule: `sslmode` wins; `ssl=true` alone verifies everything, unless a factory that trusts all is named.
    fn resolve_tls(&self) -> TlsMode {
        match (self.tls_mode, self.ssl, self.trusts_all) {
            (Some(mode), _, _) => mode,
            (None, true, false) => TlsMode::VerifyFull,
            (None, true, true) => TlsMode::Require,
            (None, false, _) => TlsMode::Prefer,
        }
    }

    /// Refuses half of a login by certificate, and warns where less is verified than seems.
    fn check_tls(&mut self) -> Result<(), AddressError> {
        match (&self.tls.client_cert, &self.tls.client_key) {
            (Some(_), None) => return Err(AddressError::HalfIdentity { given: "sslcert", missing: "sslkey" }),
            (None, Some(_)) => return Err(AddressError::HalfIdentity { given: "sslkey", missing: "sslcert" }),
            _ => {}
        }
        let mode = self.tls.mode;
        let has_authority = self.tls.root_cert.is_some() || self.trusts_public;
        let name = mode.name();
        let warning = match mode {
            // The public authorities are trusted beside one's own, which nothing can change.
            TlsMode::VerifyCa => {
                "with sslmode=verify-ca the name in the certificate is not checked, so everybody who has \
                 a certificate of a public authority can pretend to be the database; write sslmode=verify-full"
                    .to_owned()
            }
            TlsMode::VerifyFull if !has_authority => {
                "the address has sslmode=verify-full and no `sslrootcert`, so only certificates of public authorities \
                 are trusted; name the file of your own authority's certificate, or write sslrootcert=system if public \
                 ones are meant"
                    .to_owned()
            }
            TlsMode::Prefer | TlsMode::Require if self.trusts_all => {
                "`sslfactory` of the address names a class that trusts every certificate, so anybody in between can \
                 pretend to be the database; write sslmode=verify-full and sslrootcert=FILE"
                    .to_owned()
            }
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require if has_authority => format!(
                "the address has `sslrootcert`, but with sslmode={name} no certificate is verified; write \
                 sslmode=verify-full"
            ),
            _ => return Ok(()),
        };
        self.warnings.push(warning);
        Ok(())
    }
}

/// PostgreSQL's, MySQL's and MariaDB's names. `allow` asks for plain text first; we rather encrypt when we can.
fn tls_mode(value: &str) -> Result<TlsMode, AddressError> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(TlsMode::Disable),
        "allow" | "prefer" | "preferred" => Ok(TlsMode::Prefer),
        "require" | "required" | "trust" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" | "verify-identity" => Ok(TlsMode::VerifyFull),
        _ => Err(AddressError::Parameter {
            parameter: "sslmode",
            allowed: "disable, prefer, require, verify-ca or verify-full",
        }),
    }
}

fn client_key(value: &str) -> Result<PathBuf, AddressError> {
    let path = PathBuf::from(value);
    match path.extension().and_then(|extension| Path::new(extension).to_str()) {
        Some("pk8" | "der" | "p12" | "pfx" | "jks") => Err(AddressError::ClientKey),
        _ => Ok(path),
    }
}

/// The schemas to search. Checked like a table prefix, because it goes into the start-up options of a connection.
fn search_path(value: &str) -> Result<String, AddressError> {
    let schemas: Vec<&str> = value.split(',').map(|schema| schema.trim().trim_matches('"')).collect();
    if schemas.iter().all(|schema| is_word(schema) && schema.len() <= 63) {
        return Ok(schemas.join(","));
    }
    Err(AddressError::Parameter {
        parameter: "currentSchema",
        allowed: "names of letters, digits, `_` and `$`, separated by commas",
    })
}

fn primary_only(value: &str) -> Result<bool, AddressError> {
    match value.to_ascii_lowercase().as_str() {
        "primary" | "master" | "read-write" => Ok(true),
        "any" | "preferprimary" => Ok(false),
        _ => Err(AddressError::Parameter {
            parameter: "targetServerType",
            allowed: "primary or any, because a standby lags behind and would give old numbers",
        }),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
}
