//! The answers of JobRunr 8.7.1 to 500 questions, which ours must equal.

use std::fmt::Write as _;

use clap::Parser;
use jiff::{Timestamp, ToSpan};
use jobrunr_scaler::cli::next_run::{NextRunArgs, run};

/// Columns: expression (a tab is written `\t`), zone, createdAt, current, and the next runs or `ERROR`.
const VECTORS: &str = include_str!("data/next-run-vectors.tsv");

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: NextRunArgs,
}

#[test]
fn next_run_answers_as_jobrunr_does() {
    let mut questions = String::new();
    let mut expected = Vec::new();
    for line in VECTORS.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (question, runs) = columns.split_at(4);
        writeln!(questions, "{}\t{}", question.join("\t"), runs.len()).expect("writing to a string");
        expected.push((question.join("\t"), runs.join("\t")));
    }
    assert_eq!(expected.len(), 500);

    let command = Command::try_parse_from(["next-run", "--stdin"]).expect("valid arguments");
    let mut output = Vec::new();
    run(&command.args, questions.as_bytes(), &mut output, Timestamp::UNIX_EPOCH).expect("answers");

    let output = String::from_utf8(output).expect("UTF-8");
    let answers: Vec<&str> =
        output.lines().map(|answer| if answer.starts_with("ERROR\t") { "ERROR" } else { answer }).collect();
    assert_eq!(answers.len(), expected.len());
    let differences: Vec<_> = answers
        .into_iter()
        .zip(&expected)
        .filter(|(answer, (question, runs))| answer != runs && *answer != with_new_clock_of_morocco(question, runs))
        .collect();
    assert!(differences.is_empty(), "{} differences: {differences:#?}", differences.len());
}

/// The vectors are of a JDK with tzdata 2025a. We carry 2026f, in which Morocco, at UTC+1 but for Ramadan before, stays at
/// UTC from this instant on: what the JDK has at UTC+1 then comes an hour later.
fn with_new_clock_of_morocco(question: &str, runs: &str) -> String {
    let change: Timestamp = "2026-09-20T01:00:00Z".parse().expect("a valid instant");
    let correct = |run: &str| match run.parse::<Timestamp>() {
        Ok(run) if question.contains("\tAfrica/Casablanca\t") && change <= run => (run + 1.hour()).to_string(),
        _ => run.to_owned(),
    };
    runs.split('\t').map(correct).collect::<Vec<_>>().join("\t")
}
