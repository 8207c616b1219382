//! The commands, one file each.

pub mod next_run;
