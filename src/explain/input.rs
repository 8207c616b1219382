//! From files to the ScaledObjects in them.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::kubernetes::manifest::{self, Manifests, ScaledJob, ScaledObject};

/// All errors in the manifests, one per line.
#[derive(Debug, Error)]
pub struct InputErrors(Vec<String>);

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Reads the ScaledObjects of all files, in their order. ScaledJobs are reported on standard error.
///
/// # Errors
/// All errors in any of the files, or that there is no ScaledObject in them.
pub(super) fn scaled_objects(files: &[PathBuf]) -> Result<Vec<ScaledObject>, InputErrors> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    let mut others = Vec::new();
    for file in files {
        match read(file) {
            Ok(manifests) => {
                objects.extend(manifests.scaled_objects);
                manifests.scaled_jobs.iter().for_each(report_skipped);
                others.extend(manifests.scaled_jobs.iter().map(|_| "ScaledJob".to_owned()));
                others.extend(manifests.skipped);
            }
            Err(error) => errors.push(error),
        }
    }
    if objects.is_empty() && errors.is_empty() {
        errors.push(no_scaled_object(&others));
    }
    if errors.is_empty() { Ok(objects) } else { Err(InputErrors(errors)) }
}

#[expect(clippy::disallowed_methods, reason = "a command reads its input before its runtime starts")]
fn read(file: &Path) -> Result<Manifests, String> {
    let (name, text) = if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text).map(|_| text);
        ("standard input".to_owned(), read)
    } else {
        (file.display().to_string(), std::fs::read_to_string(file))
    };
    let text = text.map_err(|error| format!("{name}: cannot read the file: {error}"))?;
    manifest::read(&name, &text).map_err(|error| error.to_string())
}

/// A ScaledJob has neither an HPA nor a cooldown, so only its warnings are shown.
fn report_skipped(job: &ScaledJob) {
    eprintln!("ScaledJob {} is skipped: only ScaledObjects are explained", job.name);
    for warning in manifest::job_warnings(job) {
        eprintln!("warning: ScaledJob {}: {warning}", job.name);
    }
}

fn no_scaled_object(others: &[String]) -> String {
    let found = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    format!("there is no ScaledObject to explain; found: {found}")
}
