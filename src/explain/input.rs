//! From files to the ScaledObjects in them.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::kubernetes::manifest::{self, Manifests, ScaledJob, ScaledObject, TriggerSpec};
use crate::scaling::{MetadataErrors, Trigger};

/// All errors in the manifests, one per line.
#[derive(Debug, Error)]
pub struct InputErrors(Vec<String>);

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// What is in the files.
pub(super) struct Input {
    /// The ScaledObjects of all files, in their order.
    pub(super) objects: Vec<ScaledObject>,
    /// Whether the triggers of all ScaledJobs are valid.
    pub(super) has_valid_jobs: bool,
}

/// Reads the files. ScaledJobs are reported on standard error.
///
/// # Errors
/// All errors in any of the files, or that there is no ScaledObject in them.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Input, InputErrors> {
    let (mut objects, mut has_valid_jobs) = (Vec::new(), true);
    let mut errors = Vec::new();
    let mut others = Vec::new();
    for file in files {
        match read_manifests(file) {
            Ok(manifests) => {
                objects.extend(manifests.scaled_objects);
                for job in &manifests.scaled_jobs {
                    has_valid_jobs &= report_skipped(job);
                }
                others.extend(manifests.scaled_jobs.iter().map(|_| "ScaledJob".to_owned()));
                others.extend(manifests.skipped);
            }
            Err(error) => errors.push(error),
        }
    }
    if objects.is_empty() && errors.is_empty() {
        errors.push(no_scaled_object(&others));
    }
    if errors.is_empty() { Ok(Input { objects, has_valid_jobs }) } else { Err(InputErrors(errors)) }
}

/// How messages call a file.
pub(crate) fn shown(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// Reads manifests from a file, or from standard input if it is `-`.
///
/// # Errors
/// What is wrong, with the file's name.
#[expect(clippy::disallowed_methods, reason = "a command reads its input before it does anything else")]
pub(crate) fn read_manifests(file: &Path) -> Result<Manifests, String> {
    let name = shown(file);
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| format!("{name}: cannot read the file: {error}"))?;
    manifest::read(&name, &text).map_err(|error| error.to_string())
}

/// A ScaledJob has neither an HPA nor a cooldown, so only its warnings and errors are shown. Returns whether its triggers are valid.
fn report_skipped(job: &ScaledJob) -> bool {
    let name = &job.name;
    eprintln!("ScaledJob {name} is skipped: only ScaledObjects are explained");
    for warning in manifest::job_warnings(job) {
        eprintln!("warning: ScaledJob {name}: {warning}");
    }
    let mut is_valid = true;
    for (index, spec) in job.triggers.iter().enumerate().filter(|(_, spec)| spec.is_ours()) {
        let label = spec.label(index);
        match parse_trigger(spec) {
            Ok(trigger) => {
                trigger.warnings.iter().for_each(|warning| eprintln!("warning: ScaledJob {name}: {label}: {warning}"));
            }
            Err(errors) => {
                is_valid = false;
                eprintln!("error: ScaledJob {name}: {label}: {errors}");
            }
        }
    }
    is_valid
}

/// Parses the metadata of a trigger for this scaler.
pub(super) fn parse_trigger(spec: &TriggerSpec) -> Result<Trigger, MetadataErrors> {
    let mut trigger = Trigger::parse(spec.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    // The manifest's own warning about it says more.
    trigger.warnings.retain(|warning| warning != Trigger::MISPLACED_METRIC_TYPE);
    Ok(trigger)
}

fn no_scaled_object(others: &[String]) -> String {
    let found = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    format!("there is no ScaledObject to explain; found: {found}")
}
