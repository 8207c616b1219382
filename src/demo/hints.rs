//! What the demo says before and after the play.

use std::path::Path;

use super::explained::shown;
use super::scaled_object::{NAMESPACE, manifest};
use super::view::Paint;

/// What is going to be played.
pub(super) fn opening(speed: f64, keep: bool) -> String {
    let ends = if keep { "until Ctrl-C".to_owned() } else { format!("about {:.0} s", 685.0 / speed) };
    format!(
        "The story of JobRunr's guide to autoscaling, {} times as fast ({ends}).
 Real:   the scaler and its gRPC answers, JobRunr's tables in SQLite,
         the rules of KEDA and of the HPA.
 Played: the application and its pods of 4 workers, KEDA and the HPA themselves.
40 jobs will be scheduled to run in two minutes, and a pod is to have 8 of them. When all is
done and the pods are gone, a recurring job is due.
",
        shown(speed)
    )
}

/// Commands for a second terminal.
pub(super) fn to_try(address: &str, file: &Path, manifest: &Path) -> String {
    format!(
        "The scaler listens on {address}. It reads the tables in
{}

Try in a second terminal:

  jobrunr-scaler explain --scaler {address} -f {}

  grpcurl -plaintext -d '{{\"scalerMetadata\": {{\"metric\": \"scheduled-count\", \"targetValue\": \"8\", \"scheduledIn\": \"PT2M\"}}}}' \\
    {address} externalscaler.ExternalScaler/IsActive
",
        file.display(),
        manifest.display()
    )
}

/// How to leave the demo.
pub(super) fn real_database(paint: Paint) -> String {
    format!(
        "{}

 1. Let it read JobRunr's tables; a user with SELECT is enough:

    export JOBRUNR_SCALER_URL=jdbc:postgresql://db.example.com:5432/orders
    export JOBRUNR_SCALER_USERNAME=jobrunr_scaler JOBRUNR_SCALER_PASSWORD=...
    jobrunr-scaler serve

 2. Point a ScaledObject at it, as scaled-object.yaml. This one was played here:

{}
 3. With the same variables, see what KEDA would get, and why; then apply it:

    jobrunr-scaler explain -f scaled-object.yaml
    kubectl apply -f scaled-object.yaml && kubectl -n {NAMESPACE} get hpa -w
",
        paint.bold("Now with your database"),
        indented(&manifest("jobrunr-scaler.keda:9090")),
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
