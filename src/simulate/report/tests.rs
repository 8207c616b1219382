//! The scales of the charts, and how times are written.

use super::*;

#[test]
fn time_ticks_are_plain_and_leave_room() {
    let check = |end: f64, expected: &[&str]| {
        let ticks = time_ticks(end);
        assert_eq!(ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(), expected, "{end}");
        assert!(ticks.iter().all(|(place, _)| (0.0..0.95).contains(place)), "{ticks:?}");
    };
    check(1.0, &["0 s"]);
    check(45.0, &["0 s", "10 s", "20 s", "30 s", "40 s"]);
    check(7_300.0, &["0 min", "30 min", "60 min", "90 min"]);
    check(86_400.0, &["0 h", "4 h", "8 h", "12 h", "16 h", "20 h"]);
    check(1e7, &["0 d", "20 d", "40 d", "60 d", "80 d", "100 d"]);
}

#[test]
fn wait_bounds_are_those_of_the_results() {
    let workload = crate::simulate::workload::Builtin::Burst.workload(1);
    let settings = crate::simulate::Settings::default();
    let simulation = crate::simulate::simulate(&workload, &[crate::simulate::Policy::fixed(1)], &settings);
    let waits = &simulation.results[0].series.waits;
    assert!(20 < waits.len(), "{waits:?}");
    for (index, (bound, _)) in waits.iter().enumerate() {
        let expected = wait_bound(index as u32);
        assert!((bound - expected).abs() < 1e-5 * expected.max(1.0), "{bound} {expected}");
    }
}

#[test]
fn times_and_bounds_are_as_exact_as_they_need_to_be() {
    assert_eq!([0.0, 59.6, 3661.0, 360_000.0].map(clock), ["0:00:00", "0:01:00", "1:01:01", "100:00:00"]);
    assert_eq!([0.1, 0.141_421, 51.2, 409.6].map(bound), ["0.1 s", "0.14 s", "51.2 s", "6.8 min"]);
}
