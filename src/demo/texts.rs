//! What the demo prints before and after the story.

use std::path::Path;

use super::scaled_object::{PATH, PlayedObject, printed};
use super::story::{RECURRING_JOB, Story};
use super::view::Paint;
use crate::text;
use crate::text::counted;

/// What is going to happen, and the ScaledObject.
pub(super) fn opening(story: &Story, address: &str, speed: f64, keep: bool, paint: Paint) -> String {
    let seconds = story.duration().as_secs_f64() / speed;
    let takes = if keep { "until Ctrl-C".to_owned() } else { format!("takes {seconds:.0} s") };
    let due_in = story.batch.due_in.unwrap_or_default().as_secs();
    let pods = counted(story.n_pods.into(), "pod");
    format!(
        "{}, {} times as fast as real time ({takes}).
Real:   the scaler and its gRPC answers, JobRunr's tables in SQLite,
        the rules of KEDA and of the HPA.
Played: the application and its pods, KEDA and the HPA themselves.

{} are scheduled to run in {due_in} s. A pod has {}: they need
{pods}. When all is done and the pods are gone, the recurring job
{RECURRING_JOB} is due.

This ScaledObject is played, with {address} as scalerAddress.
{PATH} has it with comments.

{}",
        paint.bold("JobRunr, scaled by KEDA"),
        text::number(speed, 2),
        counted(story.batch.n_jobs, "job"),
        counted(story.workers_per_pod as u64, "worker"),
        indented(&printed()),
    )
}

/// Where the demo can be tried from a second terminal.
pub(super) fn to_try(played: &PlayedObject, address: &str, database: &Path) -> String {
    let metadata = played.triggers.first().map(|trigger| serde_json::json!(trigger.reference.scaler_metadata));
    let request = serde_json::json!({ "scalerMetadata": metadata });
    format!(
        "The scaler listens on {address}. It reads the tables in
{}
Its gRPC calls have reflection:

  grpcurl -plaintext -d '{request}' \\
    {address} externalscaler.ExternalScaler/IsActive
",
        database.display(),
    )
}

/// The command that stays on the screen with `--keep`.
pub(super) fn explain_command(address: &str, manifest: &Path) -> [String; 3] {
    [
        " Try it in a second terminal:".to_owned(),
        format!("   jobrunr-scaler explain --scaler {address} \\"),
        format!("     -f {}", manifest.display()),
    ]
}

/// How to go on.
pub(super) fn next_steps(paint: Paint) -> String {
    format!(
        "{}
  export JOBRUNR_SCALER_URL=jdbc:postgresql://db.example.com:5432/orders
  export JOBRUNR_SCALER_USERNAME=jobrunr_scaler JOBRUNR_SCALER_PASSWORD=...
  jobrunr-scaler check                             # what it finds there
  jobrunr-scaler explain -f {PATH}  # what KEDA would get
  kubectl apply -f {PATH}
",
        paint.bold("With your database (SELECT on JobRunr's tables is enough):"),
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fast_clock::FastClock;

    #[test]
    fn texts_fit_into_80_columns() {
        let address = "127.0.0.1:12345";
        let played = PlayedObject::new(address).unwrap();
        let story = Story::new(FastClock::start(1.0).started_at(), &played);
        let paint = Paint::stdout();
        let mut text = opening(&story, address, 10.0, false, paint) + &next_steps(paint);
        text += &explain_command(address, Path::new("/tmp/jobrunr-scaler-demo-abcdef/scaledobject.yaml")).join("\n");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
