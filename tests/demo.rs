//! The demo compares its results with what should come out. This runs it as a person would, without a terminal and faster.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    command.arg("demo").args(args);
    command
}

#[test]
fn demo_plays_the_recommended_scaled_object_to_the_expected_results() {
    let output = demo(&["--speed", "30"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    // A busy machine may read a number a moment later. Only what must be there is asserted.
    for part in [
        "      cooldownPeriod: 300\n",
        "          metric: demand\n",
        "app   schedules 40 jobs to run in 120 s",
        "KEDA  0 → 1: ",
        "→ 5: demand 40 / 8 = 5",
        "→ 0: no trigger was active for 300 s",
        "40 of 40",
        "app   defines the recurring job nightly-report",
        "pods  the master writes the next run of nightly-report, for 1",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert_eq!(text.matches("KEDA  0 → 1: ").count(), 2, "once for the jobs, once for the recurring one\n{text}");
    assert!(!text.contains('\x1b'), "no control characters where there is no terminal");
    assert_eq!(errors, "");
    let (_, results) = text.split_once("\nResults\n").unwrap();
    assert_eq!((results.lines().count(), results.matches('✓').count()), (10, 8), "results come last\n{text}");
    check_values(&text);
}

/// What the scaler answers is shown beside the jobs that it was answered for.
fn check_values(text: &str) {
    let (mut n_lines, mut most, mut n_recurring) = (0, 0, 0);
    for line in text.lines().filter(|line| line.starts_with(' ')) {
        // Until the master has written its run, it counts as well. On a busy machine the jobs still run then.
        if line.contains('*') {
            n_recurring += u64::from(line.contains("defines the recurring job"));
            continue;
        }
        let numbers: Vec<u64> = line.split_whitespace().skip(1).map_while(|number| number.parse().ok()).collect();
        let [scheduled, enqueued, processing, done, _, _, demand] = numbers[..] else { continue };
        let now = enqueued + processing;
        let jobs = if done == 40 { vec![0] } else { vec![now, now + scheduled] };
        let is_same_instant = jobs.iter().any(|jobs| (*jobs..=jobs + n_recurring).contains(&demand));
        assert!(is_same_instant, "{line}\n{text}");
        (n_lines, most) = (n_lines + 1, most.max(demand));
    }
    assert!(10 < n_lines && most == 40, "{n_lines} lines, at most {most}\n{text}");
}

#[test]
fn demo_ends_on_ctrl_c_and_removes_its_folder() {
    let mut child = demo(&["--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut database = String::new();
    while !database.trim_end().ends_with("jobrunr.db") {
        database.clear();
        assert_ne!(lines.read_line(&mut database).unwrap(), 0, "the database is not named");
    }
    let mut heading = String::new();
    while !heading.starts_with(" time ") {
        heading.clear();
        assert_ne!(lines.read_line(&mut heading).unwrap(), 0, "the story does not start");
    }
    assert!(Path::new(database.trim()).exists());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\nInterrupted. The temporary folder is removed.\n"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!Path::new(database.trim()).parent().unwrap().exists());
}

#[test]
fn demo_rejects_speeds_beyond_its_range() {
    for speed in ["0", "101", "fast"] {
        let output = demo(&["--speed", speed]).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("a number from 1 to 100"));
    }
}
