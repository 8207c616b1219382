//! Clients that are broken or mean harm.

mod connections;
