//! libpq's variables, which the PostgreSQL driver takes by itself.
//!
//! Nothing is taken that the configuration does not name. What the driver takes from `PGHOST`, `PGUSER`, `PGPASSWORD` and most
//! others is overwritten with each connection (`storage::postgres`). For three variables it offers no way to do that, so they
//! are refused.

use super::mistake::{Place, Report};
use super::{Address, ServerAddress, StorageConfig, TlsMode};

/// Whether a variable is one that would have an effect on connections.
pub(super) fn is_taken(variable: &str, value: &str) -> bool {
    match variable {
        "PGOPTIONS" => !value.is_empty(),
        // The driver takes an empty one for a file without a name.
        "PGSSLCERT" | "PGSSLKEY" => true,
        _ => false,
    }
}

/// Reports the variables, where a storage would be affected.
pub(super) fn refuse<'a>(
    variables: &[String],
    storages: impl Iterator<Item = &'a StorageConfig> + Clone,
    report: &mut Report,
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
                "`sslcert` and `sslkey` in the address name the files to log in with"
            };
            let text = format!(
                "the PostgreSQL driver takes this variable over, although the configuration does not name it; unset it. \
                 {instead}"
            );
            report.mistake(&Place::Variable(variable.clone()), text);
        }
    }
}
