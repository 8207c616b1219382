//! What tests and benchmarks share: JobRunr's tables on real databases, rows for them, and the scaler, in this process or as a
//! program. A module, to be included by its path.

pub(crate) mod database;
pub(crate) mod mongodb;
pub(crate) mod process;
pub(crate) mod rows;
pub(crate) mod scaler;
pub(crate) mod schema;
pub(crate) mod servers;
