//! Tests of `next-run` as a person types it.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: NextRunArgs,
}

/// Runs a command line at noon of 2024-07-01. Returns exit code, output and errors.
fn answer(arguments: &[&str], input: &[u8]) -> (u8, String, String) {
    let command = Command::try_parse_from([&["next-run"], arguments].concat()).expect("valid arguments");
    let mut output = Vec::new();
    let now = "2024-07-01T12:00:00Z".parse().expect("a valid instant");
    let result = run(&command.args, input, &mut output, now).map_err(crate::cli::CommandError::from);
    let (code, errors) = match result {
        Ok(()) => (0, String::new()),
        Err(error) => (error.exit_code(), error.text().map(|text| text + "\n").unwrap_or_default()),
    };
    (code, String::from_utf8(output).expect("UTF-8"), errors)
}

#[track_caller]
fn check(arguments: &[&str], expected: &str) {
    assert_eq!(answer(arguments, b""), (0, expected.to_owned(), String::new()));
}

#[track_caller]
fn check_error(arguments: &[&str], expected: &str) {
    assert_eq!(answer(arguments, b""), (1, String::new(), format!("{expected}\n")));
}

#[track_caller]
fn check_line(line: &str, expected: &str) {
    assert_eq!(answer(&["--stdin"], line.as_bytes()), (0, format!("{expected}\n"), String::new()));
}

#[test]
fn question_on_the_command_line_is_answered() {
    check(&["0 3 * * *"], "2024-07-02T03:00:00Z\n");
    check(&["0 3 * * *", "--zone", "Europe/Brussels", "--count", "2"], "2024-07-02T01:00:00Z\n2024-07-03T01:00:00Z\n");
    check(&["0 3 * * *", "--zone", "-05:00", "--from", "2024-01-01T00:00:00Z"], "2024-01-01T08:00:00Z\n");
    check(
        &["PT15S", "--created-at", "2024-01-15T10:11:12.345678Z", "--from", "2024-01-15T10:11:12Z"],
        "2024-01-15T10:11:27.345678Z\n",
    );
    check(&["PT1H"], "2024-07-01T13:00:00Z\n");
}

#[test]
fn invalid_question_on_the_command_line_is_explained() {
    check_error(
        &["@daily"],
        "the schedule is invalid: `@daily` is neither a cron expression of 5 or 6 fields nor an interval such as `PT1H` \
         (JobRunr has no macros such as `@daily`)",
    );
    check_error(
        &["-PT5M"],
        "the schedule is invalid: `-PT5M` is neither a cron expression of 5 or 6 fields nor an interval such as `PT1H` \
         (JobRunr has no macros such as `@daily`)",
    );
    check_error(
        &["0 3 * * *", "--zone", "Mars/Base"],
        "the zone is invalid: `Mars/Base` is not a time zone; write a region such as `Europe/Brussels`, `UTC`, `Z` or an \
         offset such as `+05:45`",
    );
    check_error(&["0 3 * * *", "--count", "0"], "`0` is not a valid count; use 1 to 10000");
    check_error(&["0 3 * * *", "--count", "10001"], "`10001` is not a valid count; use 1 to 10000");
    check_error(
        &["0 3 * * *", "--from", "yesterday"],
        "`yesterday` is not an instant for from; use for example `2026-03-29T00:30:00Z`",
    );
}

#[test]
fn question_is_required_without_stdin() {
    assert!(Command::try_parse_from(["next-run"]).is_err());
    assert!(Command::try_parse_from(["next-run", "--stdin", "0 3 * * *"]).is_err());
    assert!(Command::try_parse_from(["next-run", "--stdin", "--zone", "UTC"]).is_err());
}

#[test]
fn lines_are_answered_one_by_one() {
    let created_and_from = "2024-01-15T10:11:12Z\t2024-07-01T12:00:00Z";
    check_line(&format!("0 3 * * *\tUTC\t{created_and_from}\t2"), "2024-07-02T03:00:00Z\t2024-07-03T03:00:00Z");
    check_line(&format!("0 3 * * *\tUTC\t{created_and_from}\t1\r\n"), "2024-07-02T03:00:00Z");
    check_line(&format!("0\\t3 * * *\tUTC\t{created_and_from}\t1"), "2024-07-02T03:00:00Z");
    check_line(
        &format!("99 3 * * *\tUTC\t{created_and_from}\t2"),
        "ERROR\tthe schedule is invalid: `99` in the minute field is invalid: it is out of range; allowed are 0-59",
    );
    check_line(
        &format!("0 3 * * *\tUTC\t{created_and_from}\tmany"),
        "ERROR\t`many` is not a valid count; use 1 to 10000",
    );
}

#[test]
fn invalid_lines_do_not_stop_valid_ones() {
    let input = b"\n\xff\xfe\n0 3 * * *\tUTC\tnever\t2024-07-01T12:00:00Z\t1\n\
        \x07x\tUTC\t2024-07-01T12:00:00Z\t2024-07-01T12:00:00Z\t1\n\
        0 3 * * *\tUTC\t2024-07-01T12:00:00Z\t2024-07-01T12:00:00Z\t1";
    let (code, output, errors) = answer(&["--stdin"], input);
    assert_eq!((code, errors.as_str()), (0, ""));
    insta::assert_snapshot!(output);
}

#[test]
fn instants_are_formatted_like_in_java() {
    let check = |text: &str| assert_eq!(format_instant(text.parse().expect("a valid instant")), text);
    check("2024-01-15T10:11:12Z");
    check("2024-01-15T10:11:00Z");
    check("2024-01-15T10:11:12.300Z");
    check("2024-01-15T10:11:12.000300Z");
    check("2024-01-15T10:11:12.000000300Z");
    check("0000-01-15T10:11:12Z");
    let before_the_year_zero = "-000001-01-15T10:11:12Z".parse().expect("a valid instant");
    assert_eq!(format_instant(before_the_year_zero), "-0001-01-15T10:11:12Z");
}

#[test]
fn closed_output_ends_the_command() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let command = Command::try_parse_from(["next-run", "0 3 * * *"]).expect("valid arguments");
    let error = run(&command.args, io::empty(), Broken, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the questions or write the runs: "));
    // As with `| head`, the reader has seen enough.
    assert_eq!(crate::cli::CommandError::from(error).exit_code(), 0);
}
