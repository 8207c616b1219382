//! Records of finished jobs as JobRunr 6, 7 and 8 wrote them with each of their JSON mappers.
//!
//! `tests/data/finished-jobs.tsv` is what `scripts/finished-jobs/run.sh` prints: JobRunr's version, the mapper, the state, and the record.
//! Those of Kotlinx were written by the mapper compiled from the sources of JobRunr 8.7.0, not by the published artifact.

use jiff::SignedDuration;
use jobrunr_scaler::jobrunr::FinishedJob;

const RECORDS: &str = include_str!("data/finished-jobs.tsv");

/// The seconds of `processDuration`: a decimal that ends with a comma or a brace, whatever the mapper.
fn process_duration(record: &str) -> Option<SignedDuration> {
    let (_, rest) = record.rsplit_once("\"processDuration\":")?;
    let (seconds, _) = rest.split_once([',', '}'])?;
    Some(SignedDuration::from_secs_f64(seconds.parse().ok()?))
}

#[test]
fn records_of_every_mapper_are_read() {
    let mut read: Vec<String> = Vec::new();
    for line in RECORDS.lines() {
        let [version, mapper, state, record] = line.split('\t').collect::<Vec<_>>().try_into().expect("four columns");
        let job = FinishedJob::parse(record).unwrap_or_else(|error| panic!("{version} {mapper}: {error}\n{record}"));
        let (class, method) = job.signature.split_once('.').expect("a class and a method");
        let (method, _) = method.split_once('(').expect("parameters");
        assert_eq!(class, "FinishedJobs");
        let kind = ["enqueued", "scheduled", "retried", "failed", "recurring"]
            .into_iter()
            .find(|kind| record.contains(&format!("\"object\":\"{kind}\"")))
            .expect("the first parameter says what it is");
        read.push(format!("{version} {mapper} {kind} {method}"));

        assert_eq!(state == "FAILED", kind == "failed", "{line}");
        assert_eq!(job.n_failures, usize::from(kind == "retried"), "{line}");
        assert_eq!(job.due_at.is_some(), matches!(kind, "scheduled" | "recurring"), "{line}");
        assert!(job.created_at < job.started_at && job.started_at < job.ended_at, "{line}");
        let took = job.ended_at.duration_since(job.started_at);
        // JobRunr reads its clock twice.
        let difference = process_duration(record).map(|seconds| (took - seconds).abs());
        assert_eq!(difference.is_some(), state == "SUCCEEDED", "{line}");
        assert!(difference.unwrap_or_default() < SignedDuration::from_millis(5), "{line}");
    }
    read.sort();
    let mut expected: Vec<String> = Vec::new();
    for version in ["6.3.5", "7.5.3", "8.7.0"] {
        for mapper in ["Jackson", "Gson", "JSON-B", "Jackson3", "Kotlinx"] {
            if matches!(mapper, "Jackson3" | "Kotlinx") && version != "8.7.0" {
                continue;
            }
            for job in [
                "enqueued nothing",
                "enqueued sleep",
                "failed fail",
                "recurring sleep",
                "retried fail_once",
                "scheduled sleep",
            ] {
                expected.push(format!("{version} {mapper} {job}"));
            }
        }
    }
    expected.sort();
    assert_eq!(read, expected);
}
