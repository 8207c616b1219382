//! The variables of libpq, which the PostgreSQL driver reads by itself.
//!
//! The scaler uses only what its configuration names. For each connection `storage::sql::postgres` overwrites what the driver
//! reads from `PGHOST`, `PGUSER`, `PGPASSWORD` and most others. Three variables cannot be overwritten, so they are rejected.

use super::problem::{Diagnostics, Origin};
use super::{Address, ServerAddress, StorageConfig, TlsMode};

/// Returns whether a variable would affect connections.
pub(super) fn is_used(variable: &str, value: &str) -> bool {
    match variable {
        "PGOPTIONS" => !value.is_empty(),
        // The driver reads an empty one as a file without a name.
        "PGSSLCERT" | "PGSSLKEY" => true,
        _ => false,
    }
}

/// Reports the variables if they would affect a storage.
pub(super) fn reject<'a>(
    variables: &[String],
    storages: impl Iterator<Item = &'a StorageConfig> + Clone,
    diagnostics: &mut Diagnostics,
) {
    for variable in variables {
        let is_options = variable == "PGOPTIONS";
        let is_affected = |server: &ServerAddress| {
            is_options || (server.tls.mode != TlsMode::Disable && server.tls.client_cert.is_none())
        };
        let is_affected =
            |storage: &StorageConfig| matches!(&storage.address, Address::Postgres(server) if is_affected(server));
        if storages.clone().any(is_affected) {
            let instead = if is_options {
                "`currentSchema` in the address sets the search path"
            } else {
                "`sslcert` and `sslkey` in the address name the client certificate and its key"
            };
            let text = format!(
                "the PostgreSQL driver would use this variable, although the configuration does not name it; unset it. \
                 {instead}"
            );
            diagnostics.problem(&Origin::Variable(variable.clone()), text);
        }
    }
}
