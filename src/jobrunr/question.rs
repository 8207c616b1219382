//! What a trigger needs to know about a storage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Selects jobs. An empty filter selects all of them.
///
/// Only JobRunr Pro records what the fields compare with; a storage that lacks one of them answers with
/// [`UnsupportedFilter`](super::UnsupportedFilter).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// The job's `priority`; 0 is the highest.
    pub priority: Option<i32>,
    /// The job's `serverTag`, compared as a whole.
    pub server_tag: Option<Arc<str>>,
    /// The job's `dynamicQueue`, compared as a whole.
    pub dynamic_queue: Option<Arc<str>>,
    /// Only jobs with a higher priority, which is a lower number: those that servers run first. No trigger asks for them alone.
    pub above_priority: Option<i32>,
}

impl Filter {
    /// Returns the keys of a trigger's metadata that the filter uses, which are also the names of Pro's columns.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            self.priority.or(self.above_priority).map(|_| "priority"),
            self.server_tag.as_ref().map(|_| "serverTag"),
            self.dynamic_queue.as_ref().map(|_| "dynamicQueue"),
        ];
        keys.into_iter().flatten()
    }

    /// Selects the jobs that servers run before those of this filter; `None` if there are none.
    #[must_use]
    pub fn ahead(&self) -> Option<Self> {
        let priority = self.priority.filter(|priority| 0 < *priority)?;
        Some(Self { priority: None, above_priority: Some(priority), ..self.clone() })
    }
}

impl fmt::Display for Filter {
    /// Reads well after a noun: ` with priority 1 and serverTag gpu`; empty for the empty filter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.priority.map(|p| format!("priority {p}")),
            self.server_tag.as_ref().map(|t| format!("serverTag {t}")),
            self.dynamic_queue.as_ref().map(|q| format!("dynamicQueue {q}")),
            self.above_priority.map(|p| format!("a higher priority than {p}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " with {}", parts.join(" and ")) }
    }
}

/// With the keys of a trigger's metadata, as far as they are given.
impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(priority) = self.priority {
            map.serialize_entry("priority", &priority)?;
        }
        if let Some(tag) = &self.server_tag {
            map.serialize_entry("serverTag", &**tag)?;
        }
        if let Some(queue) = &self.dynamic_queue {
            map.serialize_entry("dynamicQueue", &**queue)?;
        }
        map.end()
    }
}

/// One trigger's question: which jobs, and how far ahead to look for scheduled ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Which jobs are counted.
    pub filter: Filter,
    /// Jobs scheduled to run within this time from now count as due.
    pub look_ahead: SignedDuration,
    /// Whether everything that needs a server is counted: also recurring jobs, and jobs that await a deadline.
    pub demand: bool,
    /// Whether it matters how much work the jobs are: what kinds of jobs wait, and how long finished ones of each kind ran. Also the
    /// work [ahead](Filter::ahead) of them.
    pub work: bool,
    /// Whether the running jobs are asked for one by one: [`Snapshot::running`](super::Snapshot::running).
    pub running: bool,
}

/// All questions that one read answers, in one round trip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    queues: BTreeMap<Filter, LookAheads>,
    running: bool,
}

/// The look-aheads of one filter, each with what else is asked for.
pub type LookAheads = BTreeMap<SignedDuration, Details>;

/// What is asked for beside counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// [`Question::demand`].
    pub demand: bool,
    /// [`Question::work`].
    pub work: bool,
}

impl Questions {
    /// The filters with their look-aheads, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (&Filter, &LookAheads)> {
        self.queues.iter()
    }

    /// The look-aheads of a filter.
    #[must_use]
    pub fn look_aheads(&self, filter: &Filter) -> &LookAheads {
        static NONE: LookAheads = LookAheads::new();
        self.queues.get(filter).unwrap_or(&NONE)
    }

    /// Every question, one by one. All of them ask for the running jobs if one does: the answer is the same for all.
    pub fn all(&self) -> impl Iterator<Item = Question> {
        let running = self.running;
        self.queues.iter().flat_map(move |(filter, look_aheads)| {
            let question = move |(&look_ahead, details): (&SignedDuration, &Details)| Question {
                filter: filter.clone(),
                look_ahead,
                demand: details.demand,
                work: details.work,
                running,
            };
            look_aheads.iter().map(question)
        })
    }

    /// Returns whether any question asks for demand.
    #[must_use]
    pub fn want_demand(&self) -> bool {
        self.any(|details| details.demand)
    }

    /// Returns whether any question asks how much work the jobs are.
    #[must_use]
    pub fn want_work(&self) -> bool {
        self.any(|details| details.work)
    }

    fn add(&mut self, filter: Filter, look_ahead: SignedDuration, details: Details) {
        let known = self.queues.entry(filter).or_default().entry(look_ahead).or_default();
        known.demand |= details.demand;
        known.work |= details.work;
    }

    fn any(&self, wants: impl Fn(&Details) -> bool) -> bool {
        self.queues.values().any(|look_aheads| look_aheads.values().any(&wants))
    }

    /// Returns whether any question asks for the running jobs one by one.
    #[must_use]
    pub fn want_running(&self) -> bool {
        self.running
    }

    /// Returns whether there is no question.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

impl FromIterator<Question> for Questions {
    fn from_iter<I: IntoIterator<Item = Question>>(questions: I) -> Self {
        let mut all = Self::default();
        for question in questions {
            if let Some(ahead) = question.filter.ahead().filter(|_| question.work) {
                all.add(ahead, question.look_ahead, Details { demand: false, work: true });
            }
            all.add(question.filter, question.look_ahead, Details { demand: question.demand, work: question.work });
            all.running |= question.running;
        }
        all
    }
}
