//! JobRunr's rules. Pure: no I/O and no clock.

pub mod schedule;
