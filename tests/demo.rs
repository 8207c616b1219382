//! The demo checks itself with what it measures. This runs it as a person would, without a terminal and faster.

use std::process::Command;

#[test]
fn the_demo_tells_the_guides_story() {
    let output = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler")).args(["demo", "--speed", "60"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    // A busy machine may read a number a moment later, so that only what has to be is looked for.
    for told in [
        "app   schedules 40 jobs to run in 120 s",
        "KEDA  0 → 1: ",
        "→ 5: scheduled-count 40 / 8 = 5",
        "HPA   5 → ",
        "→ 0: no trigger was active for 300 s",
        "40 of 40",
        "app   defines the recurring job nightly-report",
        "pods  the master writes the next run of nightly-report, for 1",
    ] {
        assert!(text.contains(told), "`{told}` is missing in\n{text}");
    }
    assert_eq!(text.matches("KEDA  0 → 1: ").count(), 2, "once for the jobs, once for the recurring one\n{text}");
    assert!(!text.contains('\x1b'), "no control characters where there is no terminal");
    assert_eq!(errors, "");
}

#[test]
fn a_speed_that_cannot_be_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler")).args(["demo", "--speed", "0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a number from 1 to 100"));
}
