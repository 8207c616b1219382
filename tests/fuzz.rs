//! The targets of `scripts/fuzz.sh`, on made-up inputs of a moment: they hold for these, and still fit the parsers.

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Valid inputs, to be damaged.
const ADDRESSES: [&str; 3] = [
    "jdbc:postgresql://u:p@h1:5432,[::1]/db?sslmode=verify-full&sslrootcert=/ca.pem&currentSchema=jobs",
    "mysql://u@h/db?ssl-mode=VERIFY_CA",
    "sqlite:/data/%0Ajr.db?mode=ro",
];
const SCHEDULES: [&str; 4] =
    ["0 3 * * *\nEurope/Brussels", "*/5 0 1-7/2 L 2 5#1\nUTC", "PT1H30M\nZ", "P1D [PT2H/PT4H]\n+05:45"];
const TRIGGER: &str =
    "metric=demand\ntargetValue=auto\ntargetUsage=0.8\nscheduledIn=PT1M\npriority=0\nserverTag=a\nstorage=orders";
const CONFIGURATION: &str = "JOBRUNR_SCALER_REFRESH=PT2S\nlog: {filter: 'info,jobrunr_scaler=debug'}\nstorages:\n  orders:\n    url: \
                             postgres://u@h/db\n    namespaces: [orders, shop]\n";

/// A text with a part of it replaced.
fn damaged(text: &str, at: usize, length: usize, put: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = at % (characters.len() + 1);
    let end = characters.len().min(at + length);
    characters[..at].iter().copied().chain(put.chars()).chain(characters[end..].iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/fuzz.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn targets_hold_for_damaged_inputs(
        n in any::<usize>(), at in any::<usize>(), length in 0..12usize, put in "[ -~\n\u{e9}\u{1f600}]{0,8}",
    ) {
        targets::address(&damaged(ADDRESSES[n % ADDRESSES.len()], at, length, &put));
        targets::schedule(&damaged(SCHEDULES[n % SCHEDULES.len()], at, length, &put));
        targets::trigger(&damaged(TRIGGER, at, length, &put));
        targets::configuration(&damaged(CONFIGURATION, at, length, &put));
        targets::manifest(&damaged(include_str!("../k8s/scaledobject.yaml"), at, length, &put));
    }
}
