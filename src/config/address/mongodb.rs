//! Addresses of MongoDB, and of databases with its protocol.
//!
//! Parsed here rather than by the driver, whose errors quote the address, and because an address is checked without a network.

use std::path::PathBuf;

use super::decode::decode_name;
use super::host::split_hosts;
use super::login::LoginError;
use super::parameters::Parameters;
use super::parse::{pairs, split_user_info};
use super::scheme::Scheme;
use super::{Address, AddressError, Secret, ServerAddress, TlsMode};

/// JobRunr's database, whatever an address names.
const DEFAULT_DATABASE: &str = "jobrunr";

/// The address of a MongoDB deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct MongoDbAddress {
    /// The hosts to begin with, JobRunr's database, the login and TLS.
    pub server: ServerAddress,
    /// `mongodb+srv://`: the host is a name whose SRV and TXT records list the hosts and further parameters.
    pub is_srv: bool,
    /// The database that knows the user.
    pub auth_source: Option<String>,
    /// How to log in.
    pub auth_mechanism: Option<AuthMechanism>,
    /// The name of the replica set, so that hosts of another are left out.
    pub replica_set: Option<String>,
    /// Whether to speak to the one host only, without asking it for the others.
    pub direct_connection: bool,
}

/// How to log in to MongoDB. Without one, the best of the SCRAM mechanisms that the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMechanism {
    /// SCRAM-SHA-1.
    ScramSha1,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// MONGODB-X509: by the client certificate.
    X509,
    /// PLAIN: LDAP.
    Plain,
}

impl AuthMechanism {
    /// MongoDB's name of the mechanism.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::X509 => "MONGODB-X509",
            Self::Plain => "PLAIN",
        }
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        let all = [Self::ScramSha1, Self::ScramSha256, Self::X509, Self::Plain];
        all.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(text)).ok_or(AddressError::Parameter {
            parameter: "authMechanism",
            allowed: "SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 or PLAIN",
        })
    }
}

impl MongoDbAddress {
    /// Returns what is missing or wrong for a login. Reads the TLS files. A server without users needs none.
    pub(super) fn login_errors(&self) -> Vec<LoginError> {
        let is_half = self.server.username.is_none() && self.server.password.is_some();
        let no_user = is_half.then_some(LoginError::NoUser { is_socket: false });
        let names = ["tlsCAFile", "tlsCertificateKeyFile", "tlsCertificateKeyFile"];
        no_user.into_iter().chain(self.server.tls_errors(names)).collect()
    }
}

/// The parameters that only MongoDB has.
#[derive(Default)]
pub(super) struct MongoDbParameters {
    tls: Option<bool>,
    is_insecure: bool,
    auth_source: Option<String>,
    auth_mechanism: Option<AuthMechanism>,
    replica_set: Option<String>,
    direct_connection: bool,
}

/// Parameters of the drivers without a meaning for reading from the primary: retries, pools, writes.
const WITHOUT_MEANING: [&str; 14] = [
    "appname",
    "compressors",
    "journal",
    "maxidletimems",
    "maxpoolsize",
    "minpoolsize",
    "readconcernlevel",
    "retryreads",
    "retrywrites",
    "uuidrepresentation",
    "w",
    "waitqueuetimeoutms",
    "wtimeoutms",
    "zlibcompressionlevel",
];

impl Parameters {
    /// Reads a parameter of MongoDB's connection strings. Returns whether it is one.
    pub(super) fn mongodb(&mut self, name: &str, value: &str) -> Result<bool, AddressError> {
        match name {
            "tls" | "ssl" => self.mongodb.tls = Some(flag("tls", value)?),
            "tlsinsecure" | "tlsallowinvalidcertificates" => {
                self.mongodb.is_insecure = flag("tlsAllowInvalidCertificates", value)?;
            }
            "tlscafile" | "sslrootcert" => {
                self.tls.root_cert = Some(PathBuf::from(value)).filter(|_| value != "system");
            }
            "tlscertificatekeyfile" => {
                self.tls.client_cert = Some(PathBuf::from(value));
                self.tls.client_key = Some(PathBuf::from(value));
            }
            "sslmode" => match value.to_ascii_lowercase().as_str() {
                "disable" => self.mongodb.tls = Some(false),
                "require" => (self.mongodb.tls, self.mongodb.is_insecure) = (Some(true), true),
                "verify-full" => self.mongodb.tls = Some(true),
                _ => {
                    let allowed = "disable, require or verify-full for MongoDB";
                    return Err(AddressError::Parameter { parameter: "sslmode", allowed });
                }
            },
            "authsource" => self.mongodb.auth_source = Some(value.to_owned()).filter(|source| !source.is_empty()),
            "authmechanism" => self.mongodb.auth_mechanism = Some(AuthMechanism::parse(value)?),
            "replicaset" => self.mongodb.replica_set = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "directconnection" => self.mongodb.direct_connection = flag("directConnection", value)?,
            "readpreference" if value.eq_ignore_ascii_case("primary") => {}
            "readpreference" => self.warnings.push(
                "`readPreference` of the address is ignored: reads go to the primary, because others lag behind"
                    .to_owned(),
            ),
            name => return Ok(WITHOUT_MEANING.contains(&name)),
        }
        Ok(true)
    }

    /// The rule of MongoDB's drivers: no TLS unless the address asks for it, and then everything is verified. A certificate
    /// in the address asks for it, too.
    fn mongodb_tls(&mut self, is_srv: bool) {
        let has_files = self.tls.root_cert.is_some() || self.tls.client_cert.is_some();
        let insecure = self.mongodb.is_insecure;
        self.tls.mode = match self.mongodb.tls {
            Some(false) => TlsMode::Disable,
            None if !is_srv && !has_files => TlsMode::Disable,
            _ if insecure => TlsMode::Require,
            _ => TlsMode::VerifyFull,
        };
        if self.tls.mode == TlsMode::Require {
            self.warnings.push(
                "the address asks for TLS without verifying the server's certificate, so anybody in between can impersonate the \
                 database; use tls=true and tlsCAFile=FILE"
                    .to_owned(),
            );
        }
    }
}

fn flag(parameter: &'static str, value: &str) -> Result<bool, AddressError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(AddressError::Parameter { parameter, allowed: "true or false" }),
    }
}

/// `rest` is what follows `mongodb:` or `mongodb+srv:`.
pub(super) fn parse(scheme: Scheme, rest: &str) -> Result<(Address, Vec<String>), AddressError> {
    let is_srv = scheme == Scheme::MongoDbSrv;
    let rest = rest.strip_prefix("//").ok_or(AddressError::NoHost(scheme.example()))?;
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
    let (user_info, hosts) = match authority.rsplit_once('@') {
        Some((user_info, hosts)) => (Some(user_info), hosts),
        None => (None, authority),
    };
    if path.contains(['@', '/']) {
        return Err(AddressError::Path);
    }
    if !path.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '%')) {
        return Err(AddressError::Database(scheme.example()));
    }
    let mut parameters = Parameters::read(scheme, pairs(query)?)?;
    parameters.mongodb_tls(is_srv);
    if is_srv && (hosts.is_empty() || hosts.contains([',', ':'])) {
        return Err(AddressError::Srv);
    }
    let hosts = split_hosts(scheme, hosts, None)?;
    let (username, password) = user_info.map(split_user_info).transpose()?.unwrap_or_default();
    let (path, given) = (decode_name(path)?, parameters.mongodb);
    let server = ServerAddress {
        hosts,
        database: DEFAULT_DATABASE.to_owned(),
        username,
        password: password.map(Secret::Value),
        tls: parameters.tls,
        search_path: None,
        primary_only: true,
        is_pooled: false,
    };
    let address = MongoDbAddress {
        server,
        is_srv,
        // The database of the path is where the user is looked up.
        auth_source: given.auth_source.or(Some(path).filter(|path| !path.is_empty())),
        auth_mechanism: given.auth_mechanism,
        replica_set: given.replica_set,
        direct_connection: given.direct_connection,
    };
    Ok((Address::MongoDb(address), parameters.warnings))
}
