//! The parameters of an address, under the names that libpq, sqlx and the JDBC drivers use.
use std::borrow::Cow;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::host::parse_port;
use super::mongodb::MongoDbParameters;
use super::scheme::Scheme;
use super::{AddressError, Tls, TlsMode};

/// Common parameters of the drivers that the scaler ignores, in lower case. A warning may name them: they are not the end of a
/// password.
const DRIVER_PARAMETERS: [&str; 16] = [
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

/// The parameters that the scaler uses. No `Debug`, because of the password.
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
    pub(super) is_pooled: bool,
    pub(super) warnings: Vec<String>,
    pub(super) mongodb: MongoDbParameters,
    tls_mode: Option<TlsMode>,
    /// `ssl=true` of pgjdbc.
    ssl: bool,
    /// `sslfactory=….NonValidatingFactory` of pgjdbc.
    trusts_all: bool,
    /// `sslrootcert=system` of libpq: the public authorities.
    trusts_public: bool,
}

impl Parameters {
    pub(super) fn read(scheme: Scheme, pairs: Vec<Pair<'_>>) -> Result<Self, AddressError> {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            // The drivers disagree on upper and lower case, and no two parameters differ only in case.
            let lower = name.to_ascii_lowercase();
            if name.contains(char::is_control) || (lower != "password" && value.contains(char::is_control)) {
                return Err(AddressError::Control);
            }
            let known = match scheme {
                Scheme::Postgres => parameters.common(&lower, &value)? || parameters.postgres(&lower, &value)?,
                Scheme::Mysql => parameters.common(&lower, &value)? || parameters.mysql(&lower, &value)?,
                Scheme::MongoDb | Scheme::MongoDbSrv => parameters.mongodb(&lower, &value)?,
                Scheme::Sqlite => false,
            };
            if !known {
                parameters.ignore(&name, &lower);
            }
        }
        if !matches!(scheme, Scheme::MongoDb | Scheme::MongoDbSrv) {
            parameters.tls.mode = parameters.resolve_tls();
            parameters.check_tls()?;
        }
        Ok(parameters)
    }

    /// Reads a parameter that has the same meaning for both servers. Returns whether it is one.
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
            "pooler" => self.is_pooled = pooler(value)?,
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
            // The scaler always allows it.
            "allowpublickeyretrieval" => Ok(value.eq_ignore_ascii_case("true")),
            _ => Ok(false),
        }
    }

    fn ignore(&mut self, name: &str, lower: &str) {
        let hint = match lower {
            "connecttimeout" | "connect_timeout" | "logintimeout" | "connecttimeoutms" | "serverselectiontimeoutms" => {
                "; use `connectTimeout` of the storage"
            }
            "sockettimeout" | "sockettimeoutms" | "timeoutms" => "; use `statementTimeout` of the storage",
            "usessl" | "requiressl" | "verifyservercertificate" | "trustservercertificate" => "; use `sslMode`",
            "options" => "; use `currentSchema` to set the search path",
            "sslfactory" => "; use `sslmode` and `sslrootcert`",
            _ => "",
        };
        // If a password has an `&` that is not encoded, the rest of it looks like a parameter.
        let may_be_password = self.password.is_some() && hint.is_empty() && !DRIVER_PARAMETERS.contains(&lower);
        self.warnings.push(if may_be_password || !is_word(name) {
            "a parameter of the address is ignored; if it is part of the password, write `&` as %26".to_owned()
        } else {
            format!("the parameter `{name}` of the address is ignored{hint}")
        });
    }

    /// The rule of pgjdbc: `sslmode` wins; `ssl=true` alone verifies everything, unless a factory that trusts all is named.
    fn resolve_tls(&self) -> TlsMode {
        match (self.tls_mode, self.ssl, self.trusts_all) {
            (Some(mode), _, _) => mode,
            (None, true, false) => TlsMode::VerifyFull,
            (None, true, true) => TlsMode::Require,
            (None, false, _) => TlsMode::Prefer,
        }
    }

    /// Rejects a certificate without its key, and warns if less is verified than the address suggests.
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
            // sqlx always trusts the public authorities too.
            TlsMode::VerifyCa => {
                "with sslmode=verify-ca the name in the certificate is not checked, so anybody with a certificate of a public \
                 authority can impersonate the database; use sslmode=verify-full"
                    .to_owned()
            }
            TlsMode::VerifyFull if !has_authority => {
                "the address has sslmode=verify-full without `sslrootcert`, so only certificates of public authorities are \
                 trusted; name your authority's certificate, or use sslrootcert=system if it is a public one"
                    .to_owned()
            }
            TlsMode::Prefer | TlsMode::Require if self.trusts_all => {
                "`sslfactory` of the address names a class that trusts every certificate, so anybody in between can \
                 impersonate the database; use sslmode=verify-full and sslrootcert=FILE"
                    .to_owned()
            }
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require if has_authority => format!(
                "the address has `sslrootcert`, but with sslmode={name} no certificate is verified; use sslmode=verify-full"
            ),
            _ => return Ok(()),
        };
        self.warnings.push(warning);
        Ok(())
    }
}

/// Reads the names of PostgreSQL, MySQL and MariaDB. `allow` prefers plain text; the scaler encrypts if the server can.
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

/// Reads the schemas to search. Checked like a table prefix, because they become startup options of a connection.
fn search_path(value: &str) -> Result<String, AddressError> {
    let schemas: Option<Vec<&str>> = value.split(',').map(|schema| schema_name(schema.trim())).collect();
    schemas.map(|schemas| schemas.join(",")).ok_or(AddressError::Parameter {
        parameter: "currentSchema",
        allowed: "names of letters, digits, `_` and `$`, separated by commas, each alone or in double quotes",
    })
}

/// Returns a schema as PostgreSQL reads it: only in quotes do capital letters count.
fn schema_name(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let name = quoted.unwrap_or(text);
    let has_capitals = name.contains(|c: char| c.is_ascii_uppercase());
    (is_word(name) && name.len() <= 63).then_some(if has_capitals { text } else { name })
}

fn primary_only(value: &str) -> Result<bool, AddressError> {
    match value.to_ascii_lowercase().as_str() {
        "primary" | "master" | "read-write" => Ok(true),
        "any" | "preferprimary" => Ok(false),
        _ => Err(AddressError::Parameter {
            parameter: "targetServerType",
            allowed: "primary or any, because a standby lags behind",
        }),
    }
}

/// Our own parameter: no driver has one for this.
fn pooler(value: &str) -> Result<bool, AddressError> {
    match value.to_ascii_lowercase().as_str() {
        "transaction" => Ok(true),
        "session" | "none" => Ok(false),
        _ => Err(AddressError::Parameter { parameter: "pooler", allowed: "transaction, session or none" }),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
}
