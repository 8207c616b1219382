//! When schedules run, case by case.

use proptest::prelude::*;

use super::*;

const CREATED_AT: &str = "2024-01-15T10:11:12.345678Z";

#[track_caller]
fn instant(text: &str) -> Timestamp {
    text.parse().expect("a valid instant")
}

/// Checks that the runs after `current` begin with exactly `expected`.
#[track_caller]
fn check(expression: &str, zone: &str, current: &str, expected: &[&str]) {
    let schedule = Schedule::parse(expression).expect("a valid schedule");
    let zone = parse_zone(zone).expect("a valid zone");
    let mut current = instant(current);
    for run in expected {
        current = schedule.next_after(&zone, instant(CREATED_AT), current).expect("a next run");
        assert_eq!(current, instant(run), "{expression}");
    }
}

#[track_caller]
fn check_utc(expression: &str, expected: &[&str]) {
    check(expression, "UTC", "2024-02-28T23:59:59.5Z", expected);
}

fn error(expression: &str) -> String {
    Schedule::parse(expression).expect_err(expression).to_string()
}

#[test]
fn cron_fields_and_lists() {
    check_utc("0 3 * * *", &["2024-02-29T03:00:00Z", "2024-03-01T03:00:00Z"]);
    check_utc("30 0 3 * * *", &["2024-02-29T03:00:30Z", "2024-03-01T03:00:30Z"]);
    check_utc("* * * * * *", &["2024-02-29T00:00:00Z", "2024-02-29T00:00:01Z"]);
    check_utc("5,50-52 12 * * *", &["2024-02-29T12:05:00Z", "2024-02-29T12:50:00Z", "2024-02-29T12:51:00Z"]);
    check_utc("\t0  3 * * *\n", &["2024-02-29T03:00:00Z"]);
    check_utc("+5 003 * * *", &["2024-02-29T03:05:00Z"]);
    check_utc("５ ٣ * * *", &["2024-02-29T03:05:00Z"]);
    check_utc("0 0 1, * *", &["2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z"]);
    check_utc("0 0 1 jan,DECEMBER *", &["2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"]);
    check_utc("0 0 * * Sun", &["2024-03-03T00:00:00Z", "2024-03-10T00:00:00Z"]);
}

#[test]
fn cron_steps() {
    check_utc("*/25 * * * *", &["2024-02-29T00:00:00Z", "2024-02-29T00:25:00Z", "2024-02-29T00:50:00Z"]);
    check_utc("50/4 * * * *", &["2024-02-29T00:50:00Z", "2024-02-29T00:54:00Z", "2024-02-29T00:58:00Z"]);
    check_utc("*/70 * * * *", &["2024-02-29T00:00:00Z", "2024-02-29T01:00:00Z"]);
    // A name is one value only; a number continues to the maximum.
    check_utc("0 0 1 oct/1 *", &["2024-10-01T00:00:00Z", "2025-10-01T00:00:00Z"]);
    check_utc("0 0 1 10/1 *", &["2024-10-01T00:00:00Z", "2024-11-01T00:00:00Z"]);
    // The name of a month is a number as a step too.
    check_utc("0 0 1 */oct *", &["2024-11-01T00:00:00Z", "2025-01-01T00:00:00Z"]);
    check_utc("1/30/ * * * *", &["2024-02-29T00:01:00Z", "2024-02-29T00:31:00Z"]);
}

#[test]
fn cron_days_of_month_and_of_week() {
    // One of both is enough.
    check_utc("0 0 1 * 1", &["2024-03-01T00:00:00Z", "2024-03-04T00:00:00Z", "2024-03-11T00:00:00Z"]);
    // Both must match, as one starts with an asterisk.
    check_utc("0 0 */2 * 1", &["2024-03-11T00:00:00Z", "2024-03-25T00:00:00Z", "2024-04-01T00:00:00Z"]);
    // An empty set is no day of the month, which leaves the Mondays.
    check_utc("0 0 , * 1", &["2024-03-04T00:00:00Z", "2024-03-11T00:00:00Z"]);
    check_utc("0 0 29 2 *", &["2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"]);
    check("0 0 29 2 */6", "UTC", "2070-01-01T00:00:00Z", &["2076-02-29T00:00:00Z", "2088-02-29T00:00:00Z"]);
}

#[test]
fn cron_last_days() {
    check_utc("0 0 L * *", &["2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"]);
    // The last day wins over the day of week.
    check_utc("0 0 l * 1", &["2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z"]);
    check_utc("0 0 * * 5L", &["2024-03-29T00:00:00Z", "2024-04-26T00:00:00Z"]);
    // In a list, `L` is the days 28 to 31 and `5L` every Friday.
    check_utc("0 0 1,L * *", &["2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z", "2024-03-28T00:00:00Z"]);
    check_utc("0 0 * * 5L,", &["2024-03-01T00:00:00Z", "2024-03-08T00:00:00Z"]);
}

#[test]
fn cron_runs_later_in_a_skipped_hour() {
    let before = "2024-03-30T12:00:00Z";
    check("30 2 * * *", "Europe/Brussels", before, &["2024-03-31T01:30:00Z", "2024-04-01T00:30:00Z"]);
    // 02:30 becomes 03:30, which is also a run itself: it runs once.
    check(
        "30 1-3 * * *",
        "Europe/Brussels",
        "2024-03-31T00:00:00Z",
        &["2024-03-31T00:30:00Z", "2024-03-31T01:30:00Z", "2024-03-31T23:30:00Z"],
    );
}

#[test]
fn cron_runs_once_in_a_repeated_hour() {
    check("*/30 * * * *", "Europe/Brussels", "2024-10-27T00:00:00Z", &["2024-10-27T00:30:00Z", "2024-10-27T02:00:00Z"]);
    check("* * * * * *", "Europe/Brussels", "2024-10-27T01:20:00Z", &["2024-10-27T02:00:00Z", "2024-10-27T02:00:01Z"]);
    // Half an hour, in New South Wales' Lord Howe.
    check("*/15 * * * *", "Australia/Lord_Howe", "2024-04-06T14:45:00Z", &["2024-04-06T15:30:00Z"]);
}

#[test]
fn interval_counts_from_the_creation() {
    check("PT15S", "Z", CREATED_AT, &["2024-01-15T10:11:27.345678Z", "2024-01-15T10:11:42.345678Z"]);
    check("PT15S", "Z", "2023-01-01T00:00:00Z", &["2024-01-15T10:11:27.345678Z"]);
    check("pt1h [PT1M/PT2M]", "Z", "2024-01-15T13:00:00Z", &["2024-01-15T13:11:12.345678Z"]);
    check("PT0.000000001S", "Z", "2024-01-15T13:00:00Z", &["2024-01-15T13:00:00.000000001Z"]);
}

#[test]
fn carbon_margin_is_checked_and_removed() {
    for expression in [
        "0 3 * * * [PT2H/PT4H]",
        "0 3 * * *[PT0S/p1d]",
        "0 0 3 * * * [PT2H/PT4H]",
        "0,0/60 3 * * * []",
        "0 3 * * * [PT2H/PT4H/]",
    ] {
        check_utc(expression, &["2024-02-29T03:00:00Z", "2024-03-01T03:00:00Z"]);
    }
}

#[test]
fn errors_name_the_part_and_what_is_allowed() {
    let expressions = [
        " ",
        "@daily",
        "* * * *",
        "0 3 * * * [PT2H]",
        "0 3 * * * [PT2H/-PT4H]",
        "PT1H [PT1H/-PT1H]",
        "P1W",
        "P",
        "PT0S",
        "PT-5M",
        "60 * * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "* * * foo *",
        "1, ,1 * * *",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "*/0 * * * *",
        "5/2147483647 * * * *",
        "* * L-3 * *",
        "* * ? * *",
        "* * * * 1#2",
        ", * * * *",
        "* * * , *",
        "* * * * ,",
        "* * , * ,",
        "0 0 13 * 5L",
        "0 0 L * 5L",
        "0 0 30 2 *",
        "0 0 31 2,4 *",
        "0 0 30 2 ,",
        "0 3 * * [PT1H/PT1H] *",
    ];
    let errors: Vec<String> = expressions.iter().map(|text| format!("{text}\n    {}", error(text))).collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn next_run_beyond_the_computable_range_is_none() {
    let check_none = |expression: &str, created_at: &str, current: &str| {
        let schedule = Schedule::parse(expression).expect("a valid schedule");
        let next = schedule.next_after(&TimeZone::UTC, instant(created_at), instant(current));
        assert_eq!(next, Err(NoNextRun), "{expression}");
    };
    check_none("0 0 29 2 *", CREATED_AT, "9999-01-01T00:00:00Z");
    check_none("* * * * *", CREATED_AT, "9999-12-30T22:00:00.999999999Z");
    check_none("P3000000D", CREATED_AT, CREATED_AT);
    check_none("P200000D", CREATED_AT, "2025-01-01T00:00:00Z");
    check_none("PT1H", "1000-01-01T00:00:00Z", CREATED_AT);
    check_none("PT1H", CREATED_AT, "9999-12-30T22:00:00Z");
}

/// A cron expression that is often valid.
fn cron_like() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        4 => Just("*".to_owned()),
        2 => (0_u32..60).prop_map(|n| n.to_string()),
        1 => (0_u32..32, 0_u32..60).prop_map(|(from, to)| format!("{from}-{to}")),
        1 => (0_u32..60, 1_u32..80).prop_map(|(from, step)| format!("{from}/{step}")),
        1 => (1_u32..80).prop_map(|step| format!("*/{step}")),
        1 => prop::sample::select(vec!["L", "5L", "1,", "1,L", ",", "feb", "mon-fri", "7"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(token, 5..=6).prop_map(|tokens| tokens.join(" "))
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec![
        "UTC",
        "+05:45",
        "Europe/Brussels",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
    ])
    .prop_map(|id| parse_zone(id).expect("a valid zone"))
}

/// From the year 1800 to 2300, to the nanosecond.
fn any_instant() -> impl Strategy<Value = Timestamp> {
    (-5_364_662_400_i64..10_413_792_000, 0..1_000_000_000)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).expect("an instant in range"))
}

proptest! {
    #[test]
    fn parse_never_panics(text in ".*") {
        let _ = Schedule::parse(&text);
        let _ = parse_zone(&text);
    }

    #[test]
    fn parse_of_what_resembles_a_schedule_never_panics(text in r"[-0-9*/,lL+\[\] .PTDHMSptdhms１٣ſıİ\t]{0,40}") {
        let _ = Schedule::parse(&text);
    }

    #[test]
    fn cron_runs_increase(expression in cron_like(), zone in any_zone(), from in any_instant()) {
        let Ok(schedule) = Schedule::parse(&expression) else { return Ok(()) };
        let mut current = from;
        for _ in 0..5 {
            let next = schedule.next_after(&zone, from, current).expect("a next run");
            prop_assert!(current < next, "{expression}: {next} after {current}");
            current = next;
        }
    }

    #[test]
    fn cron_has_no_run_between_an_instant_and_its_next_run(
        expression in cron_like(), zone in any_zone(), from in any_instant(), share in 0.0..1.0_f64,
    ) {
        let Ok(schedule) = Schedule::parse(&expression) else { return Ok(()) };
        let next = schedule.next_after(&zone, from, from).expect("a next run");
        let between = from + from.duration_until(next).mul_f64(share);
        prop_assume!(between < next);
        prop_assert_eq!(schedule.next_after(&zone, from, between).expect("a next run"), next);
    }

    #[test]
    fn interval_runs_within_one_interval(
        seconds in 0_u32..100_000_000, nanoseconds in 1_u32..1_000_000_000,
        created_at in any_instant(), elapsed in 1_i64..3_000_000_000,
    ) {
        let length = jiff::SignedDuration::new(seconds.into(), nanoseconds.cast_signed());
        let current = created_at + jiff::SignedDuration::from_secs(elapsed);
        let schedule = Schedule::parse(&format!("PT{seconds}.{nanoseconds:09}S")).expect("a valid interval");
        let next = schedule.next_after(&TimeZone::UTC, created_at, current).expect("a next run");
        prop_assert!(current < next && next <= current + length);
        prop_assert_eq!(created_at.duration_until(next).as_nanos() % length.as_nanos(), 0);
    }
}
