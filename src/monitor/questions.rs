//! The questions that are asked of a storage, and their limits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::AskError;
use crate::jobrunr::{Question, Questions};

/// A question that was not asked for this long is dropped. KEDA asks every 30 s by default, the HPA every 15 s.
pub(super) const UNUSED_TIMEOUT: Duration = Duration::from_secs(45);
/// The number of distinct filters. Each costs a read some index scans. More are a mistake or an attack.
pub(super) const MAX_FILTERS: Quota = Quota { per_namespace: 100, in_total: 400 };
/// The number of distinct questions, each a filter and a look-ahead. One scan answers all look-aheads of a filter.
pub(super) const MAX_QUESTIONS: Quota = Quota { per_namespace: 500, in_total: 2_000 };

/// A limit per namespace, and one in total.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) per_namespace: usize,
    pub(super) in_total: usize,
}

impl Quota {
    fn has_room(self, n_of_namespace: usize, n_in_total: usize) -> bool {
        n_of_namespace < self.per_namespace && n_in_total < self.in_total
    }
}

/// How a question is used.
#[derive(Clone, Debug)]
struct QuestionUse {
    /// The namespace that asked it first, against whose limit it counts.
    namespace: Box<str>,
    last_asked: Instant,
    n_watchers: usize,
}

impl QuestionUse {
    fn is_unused(&self, now: Instant) -> bool {
        self.n_watchers == 0 && UNUSED_TIMEOUT <= now.duration_since(self.last_asked)
    }
}

/// The questions that are asked.
#[derive(Debug, Default)]
pub(super) struct AskedQuestions(HashMap<Arc<Question>, QuestionUse>);

impl AskedQuestions {
    /// Registers a question of a namespace. Returns whether the question is new.
    ///
    /// # Errors
    /// [`AskError::TooManyQuestions`] if a new question exceeds a limit.
    pub(super) fn register(
        &mut self,
        question: &Question,
        namespace: &str,
        n_new_watchers: usize,
    ) -> Result<bool, AskError> {
        let now = Instant::now();
        if let Some(known) = self.0.get_mut(question) {
            known.last_asked = now;
            known.n_watchers = known.n_watchers.saturating_add(n_new_watchers);
            return Ok(false);
        }
        self.drop_unused(now);
        let of_namespace =
            || self.0.iter().filter(|(_, known)| *known.namespace == *namespace).map(|(known, _)| &**known);
        let n_filters =
            |known: &mut dyn Iterator<Item = &Question>| known.map(|known| &known.filter).collect::<HashSet<_>>().len();
        let has_room = MAX_QUESTIONS.has_room(of_namespace().count(), self.0.len());
        let is_new_filter = || !self.0.keys().any(|known| known.filter == question.filter);
        let has_room_for_filter = || MAX_FILTERS.has_room(n_filters(&mut of_namespace()), n_filters(&mut self.iter()));
        if !has_room || (is_new_filter() && !has_room_for_filter()) {
            return Err(AskError::TooManyQuestions);
        }
        let new = QuestionUse { namespace: namespace.into(), last_asked: now, n_watchers: n_new_watchers };
        self.0.insert(Arc::new(question.clone()), new);
        Ok(true)
    }

    /// Returns the question as it is registered, because thousands of watchers may keep it.
    pub(super) fn share(&self, question: Question) -> Arc<Question> {
        let known = self.0.get_key_value(&question).map(|(known, _)| Arc::clone(known));
        known.unwrap_or_else(|| Arc::new(question))
    }

    /// Records that a watcher of the question is gone.
    pub(super) fn release(&mut self, question: &Question) {
        if let Some(known) = self.0.get_mut(question) {
            known.n_watchers = known.n_watchers.saturating_sub(1);
        }
    }

    /// Returns the questions that are in use.
    pub(super) fn current(&mut self) -> Questions {
        self.drop_unused(Instant::now());
        self.iter().cloned().collect()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.0.values().any(|known| 0 < known.n_watchers)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Question> {
        self.0.keys().map(|question| &**question)
    }

    fn drop_unused(&mut self, now: Instant) {
        self.0.retain(|_, known| !known.is_unused(now));
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tokio::time::advance;

    use super::*;
    use crate::jobrunr::Filter;

    fn filter(number: usize) -> Question {
        let filter = Filter { priority: Some(i32::try_from(number).unwrap()), ..Filter::default() };
        Question { filter, ..question(60) }
    }

    fn question(number: usize) -> Question {
        let look_ahead = SignedDuration::from_secs(i64::try_from(number).unwrap());
        Question { filter: Filter::default(), look_ahead, ..Question::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn namespace_limit_does_not_affect_other_namespaces() {
        let mut asked = AskedQuestions::default();
        for number in 0..MAX_QUESTIONS.per_namespace {
            assert_eq!(asked.register(&question(number), "greedy", 0), Ok(true));
        }
        let more = |asked: &mut AskedQuestions, namespace: &str| asked.register(&question(1_000), namespace, 0);
        assert_eq!(more(&mut asked, "greedy"), Err(AskError::TooManyQuestions));
        // A known question does not count again, regardless of the namespace.
        assert_eq!(asked.register(&question(7), "greedy", 0), Ok(false));
        assert_eq!(asked.register(&question(8), "shop", 0), Ok(false));
        assert_eq!(more(&mut asked, "shop"), Ok(true));
        // Unused questions are dropped.
        advance(UNUSED_TIMEOUT).await;
        assert_eq!(asked.register(&question(2_000), "greedy", 0), Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn filter_limit_counts_filters_and_not_look_aheads() {
        let mut asked = AskedQuestions::default();
        for number in 0..MAX_FILTERS.per_namespace {
            assert_eq!(asked.register(&filter(number), "greedy", 0), Ok(true));
        }
        assert_eq!(asked.register(&filter(1_000), "greedy", 0), Err(AskError::TooManyQuestions));
        // Another look-ahead of a known filter costs little.
        let further = Question { look_ahead: SignedDuration::from_hours(1), ..filter(7) };
        assert_eq!(asked.register(&further, "greedy", 0), Ok(true));
        assert_eq!(asked.register(&filter(1_000), "shop", 0), Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn total_limit_applies_to_all_namespaces() {
        for (max, new) in [(MAX_QUESTIONS.in_total, question as fn(usize) -> Question), (MAX_FILTERS.in_total, filter)]
        {
            let mut asked = AskedQuestions::default();
            for number in 0..max {
                let namespace = format!("namespace-{}", number / 10);
                assert_eq!(asked.register(&new(number), &namespace, 0), Ok(true));
            }
            assert_eq!(asked.register(&new(9_999), "shop", 0), Err(AskError::TooManyQuestions));
            assert_eq!(asked.current().all().count(), max);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn watched_question_stays_until_its_last_watcher_is_gone() {
        let mut asked = AskedQuestions::default();
        for _ in 0..2 {
            asked.register(&question(0), "shop", 1).unwrap();
        }
        for n_left in [1, 0] {
            advance(UNUSED_TIMEOUT * 2).await;
            assert_eq!(asked.current().all().count(), 1);
            asked.release(&question(0));
            assert_eq!(asked.is_watched(), 0 < n_left);
        }
        assert!(asked.current().is_empty());
    }
}
