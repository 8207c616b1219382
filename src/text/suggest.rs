//! Finds the word that a misspelled one was likely meant to be.

use std::fmt::Display;

/// Longer words are not misspellings, and comparing them would cost time.
const MAX_CHARS: usize = 64;
/// At a lower likeness, two words resemble each other by chance.
const MIN_LIKENESS: f64 = 0.85;

/// Returns the candidate that `word` is most likely a misspelling of.
#[must_use]
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let rated = candidates.into_iter().map(|candidate| (likeness(word, candidate), candidate));
    let likely = rated.filter(|(likeness, _)| MIN_LIKENESS <= *likeness);
    likely.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// Returns the end of an error message that names the [`closest`] candidate: ``; did you mean `…`?``. Empty if there is none.
#[must_use]
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    hint(closest(word, candidates))
}

/// Returns the end of an error message that suggests a value: ``; did you mean `…`?``. Empty if there is none.
#[must_use]
pub(crate) fn hint(likely: Option<impl Display>) -> String {
    likely.map(|likely| format!("; did you mean `{likely}`?")).unwrap_or_default()
}

/// How alike two words are: from 0, nothing in common, to 1, equal except for case, `_`, `-`, `.` and blanks. A common beginning
/// counts more (Jaro-Winkler), because people leave out the end of long names.
#[must_use]
pub(crate) fn likeness(a: &str, b: &str) -> f64 {
    if MAX_CHARS < a.len() || MAX_CHARS < b.len() {
        return 0.0;
    }
    strsim::jaro_winkler(&letters(a), &letters(b))
}

/// Whether `word` is `name` with different case, or with at most two letters wrong. Stricter than [`closest`], for where `word` may
/// be right as it is: `namespace` is no misspelling of `name`.
#[must_use]
pub(crate) fn is_slip(word: &str, name: &str) -> bool {
    let max_distance = name.len().min(8) / 4;
    word != name
        && word.len() <= MAX_CHARS
        && strsim::osa_distance(&word.to_lowercase(), &name.to_lowercase()) <= max_distance
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_is_a_likely_misspelling_or_nothing() {
        let check = |word: &str, candidates: &[&str], expected: Option<&str>| {
            assert_eq!(closest(word, candidates.iter().copied()), expected, "{word}");
        };
        let metrics = ["enqueued-latency", "enqueued-count", "scheduled-count", "demand"];
        check("enqueud-count", &metrics, Some("enqueued-count"));
        check("enqueued_latency", &metrics, Some("enqueued-latency"));
        check("Demand", &metrics, Some("demand"));
        check("memory", &metrics, None);
        let keys = ["targetValue", "activationTargetValue", "maxReplicaCount", "cooldownPeriod", "name", "tablePrefix"];
        check("activationTargetVale", &keys, Some("activationTargetValue"));
        check("target", &keys, Some("targetValue"));
        check("maxReplicas", &keys, Some("maxReplicaCount"));
        check("cooldown", &keys, Some("cooldownPeriod"));
        check("TABLE_PREFIX", &keys, Some("tablePrefix"));
        check("color", &keys, None);
        let words = ["listen", "filter", "info", "postgres", "external", "external-push", "cron", "kafka"];
        check("listne", &words, Some("listen"));
        check("fliter", &words, Some("filter"));
        check("inof", &words, Some("info"));
        check("postgress", &words, Some("postgres"));
        check("crom", &words, Some("cron"));
        check("external_push", &words, Some("external-push"));
        check("push", &words, None);
        check("oracle", &words, None);
        check("", &words, None);
        check(&"listen".repeat(20), &words, None);
    }

    #[test]
    fn slip_is_another_case_or_two_wrong_letters() {
        let check = |word: &str, name: &str, expected: bool| assert_eq!(is_slip(word, name), expected, "{word} {name}");
        check("trigger", "triggers", true);
        check("Spec", "spec", true);
        check("tirgegrs", "triggers", true);
        check("triggers", "triggers", false);
        check("namespace", "name", false);
        check("kind", "name", false);
    }

    #[test]
    fn hint_ends_a_message() {
        assert_eq!(did_you_mean("listne", ["listen"]), "; did you mean `listen`?");
        assert_eq!(did_you_mean("x", ["listen"]), "");
    }
}
