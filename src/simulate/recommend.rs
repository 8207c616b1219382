//! Which settings are the cheapest that keep a promise.
//!
//! Candidates are ScaledObjects with one `demand` trigger. They are tuned on the first two thirds of the workload's time; what they
//! would have done is then reported for the last third, which they were not tuned on.

mod candidate;
mod slo;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use candidate::Candidate;
pub use slo::{Percentile, Slo, SloError};

use super::result::rounded;
use super::{Job, Latency, Millis, Policy, PolicyError, Settings, Simulation, SimulationResult, Workload, simulate};
use crate::duration;
use crate::kubernetes::manifest::{self, ManifestError};
use crate::text::{counted, number, printable};

/// The triggers of JobRunr's guide to autoscaling.
const GUIDE: &str = include_str!("../../k8s/scaledobject-guide.yaml");
/// Costs are compared from the start until this long after the last job is due, in milliseconds: until then, pods are gone that
/// will go.
const AFTERWARDS: Millis = 3_600_000;
/// A candidate that interrupts more than this share of the jobs is taken only if all do.
const MAX_INTERRUPTED: f64 = 0.01;
/// With fewer jobs, or within a shorter time, the part that was not tuned on says little.
const FEW_JOBS: usize = 500;
const SHORT: Millis = 3_600_000;
/// The longest name in a sentence, in characters.
const MAX_NAME: usize = 100;
/// A little less than a day: the last job of a day is due before its end.
const ALMOST_A_DAY: Millis = 23 * 3_600_000;
/// Rounds over all settings.
const ROUNDS: usize = 2;

/// What to recommend for.
#[derive(Clone, Debug, PartialEq)]
pub struct RecommendOptions {
    /// The promise.
    pub slo: Slo,
    /// The most pods.
    pub max_pods: u32,
    /// What the ScaledObject that is written out names: its name, and the workload that it scales.
    pub target: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// `scalerAddress`.
    pub scaler_address: String,
    /// `storage`, if the scaler has several.
    pub storage: Option<String>,
}

/// A recommendation. As JSON this is an interface: fields are added, never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The promise, such as `p95 latency <= PT1M`.
    pub slo: String,
    /// The same, to compute with.
    #[serde(skip)]
    pub promise: Slo,
    /// Whether the chosen one kept it on the part that it was tuned on.
    pub kept_when_tuned: bool,
    /// Whether it kept it on the part that it was not tuned on.
    pub kept_when_checked: bool,
    /// What was chosen.
    pub chosen: Rated,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
    /// The candidates to which no other is better in both wait and pod-hours, the cheapest first.
    pub front: Vec<Rated>,
    /// How many candidates were simulated.
    pub candidates: usize,
    /// The chosen one beside others, on the part that it was not tuned on.
    pub check: Simulation,
    /// A ScaledObject ready to apply.
    pub manifest: String,
}

/// A candidate, and what it did with the part that it was tuned on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rated {
    /// The settings.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// How long jobs waited.
    pub latency_seconds: Latency,
    /// What it cost.
    pub pod_hours: f64,
    /// The jobs that it interrupted.
    pub jobs_interrupted: u64,
    /// Whether it kept the promise.
    pub keeps: bool,
    /// Whether all jobs were done.
    pub is_complete: bool,
    /// Whether it interrupted at most 1 % of the jobs.
    pub interrupts_few: bool,
}

/// Why nothing could be recommended.
#[derive(Debug, thiserror::Error)]
pub enum RecommendError {
    /// The workload has no jobs before or after the split.
    #[error(
        "the workload has {jobs} in the part to tune on and {checked} in the part to check, but both need some; use a longer workload"
    )]
    TooFewJobs {
        /// Jobs to tune on.
        jobs: String,
        /// Jobs to check.
        checked: String,
    },
    /// A name makes the manifest invalid.
    #[error("the ScaledObject would be invalid: {0}")]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be simulated.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Recommendation {
    /// Returns the front, with the chosen one at its place even if another is better in both: one that interrupts more jobs.
    #[must_use]
    pub fn front_and_chosen(&self) -> Vec<Rated> {
        let mut rated = self.front.clone();
        if !rated.iter().any(|rated| rated.candidate == self.chosen.candidate) {
            let place = rated.partition_point(|rated| rated.pod_hours < self.chosen.pod_hours);
            rated.insert(place, self.chosen);
        }
        rated
    }
}

/// Searches the settings that keep the promise at the lowest cost. `others` are compared with it.
///
/// # Errors
/// [`RecommendError`]
pub fn recommend(
    workload: &Workload,
    others: &[Policy],
    options: &RecommendOptions,
    settings: &Settings,
) -> Result<Recommendation, RecommendError> {
    let (tuned_on, checked_on) = split(workload);
    if tuned_on.jobs.is_empty() || checked_on.jobs.is_empty() {
        let [jobs, checked] = [&tuned_on, &checked_on].map(|part| counted(part.jobs.len() as u64, "job"));
        return Err(RecommendError::TooFewJobs { jobs, checked });
    }
    let settings = &Settings { slo: options.slo.limit, ..settings.clone() };
    let mut search = Search { workload: &tuned_on, options, settings, rated: BTreeMap::new() };
    let chosen = search.run()?;
    let all: Vec<Rated> = search.rated.into_values().collect();
    let front = front(&all, options.slo);

    let manifest = chosen.candidate.manifest(options, settings);
    let mut policies = vec![policy(&manifest, "recommended")?];
    policies.extend(others.iter().cloned());
    policies.push(guide(options)?);
    let check = simulate(&checked_on, &policies, settings);
    let kept_when_checked = options.slo.is_kept(&check.results[0]);
    let mut reasons = reasons(&chosen, &all, &check, options.slo);
    reasons.extend(too_short(&checked_on, workload));
    Ok(Recommendation {
        slo: options.slo.to_string(),
        promise: options.slo,
        kept_when_tuned: chosen.keeps,
        kept_when_checked,
        chosen,
        reasons,
        front,
        candidates: all.len(),
        check,
        manifest,
    })
}

/// Splits a workload at two thirds of its time.
fn split(workload: &Workload) -> (Workload, Workload) {
    let due = |job: &Job| job.due.max(job.arrival);
    let at = workload.last_due() / 3 * 2;
    let (first, second): (Vec<Job>, Vec<Job>) = workload.jobs.iter().partition(|job| due(job) < at);
    let shifted = |job: Job| Job { arrival: (job.arrival - at).max(0), due: due(&job) - at, ..job };
    let part = |jobs: Vec<Job>, name: &str| {
        let mut part = Workload::new(format!("{}, {name}", workload.name), jobs, workload.kinds.clone());
        part.notes.clone_from(&workload.notes);
        part
    };
    let mut last_third = part(second.into_iter().map(shifted).collect(), "last third");
    last_third.done_before.clone_from(&first);
    (part(first, "first two thirds"), last_third)
}

struct Search<'a> {
    workload: &'a Workload,
    options: &'a RecommendOptions,
    settings: &'a Settings,
    rated: BTreeMap<Candidate, Rated>,
}

impl Search<'_> {
    /// Improves one setting after the other, from several starts.
    fn run(&mut self) -> Result<Rated, RecommendError> {
        let mut found: Option<Rated> = None;
        for start in Candidate::starts(self.options.max_pods, self.settings) {
            let mut best = start;
            for _ in 0..ROUNDS {
                for variants in 0..Candidate::SETTINGS {
                    let candidates = best.variants(variants, self.options.max_pods, self.settings);
                    self.rate(&candidates)?;
                    let rated = candidates.iter().filter_map(|candidate| self.rated.get(candidate)).copied();
                    best = rated.min_by(|a, b| self.compare(a, b)).map_or(best, |rated| rated.candidate);
                }
            }
            let rated = self.rated.get(&best).copied();
            found = found.into_iter().chain(rated).min_by(|a, b| self.compare(a, b));
        }
        // Every start has been rated among its own variants.
        found.ok_or_else(|| RecommendError::TooFewJobs { jobs: "no job".to_owned(), checked: "none".to_owned() })
    }

    /// The better one first: it does all jobs, keeps the promise, interrupts few jobs, is cheap; waits are short if none keeps it.
    fn compare(&self, a: &Rated, b: &Rated) -> Ordering {
        let slo = self.options.slo;
        let by_cost = a.pod_hours.total_cmp(&b.pod_hours).then(a.jobs_interrupted.cmp(&b.jobs_interrupted));
        let by_wait = slo.wait(&a.latency_seconds).total_cmp(&slo.wait(&b.latency_seconds));
        let by_quality = if a.keeps && b.keeps { by_cost.then(by_wait) } else { by_wait.then(by_cost) };
        let flaws = |rated: &Rated| (!rated.is_complete, !rated.keeps, !rated.interrupts_few);
        flaws(a).cmp(&flaws(b)).then(by_quality).then(a.candidate.cmp(&b.candidate))
    }

    /// Simulates candidates on all processors.
    fn rate(&mut self, candidates: &[Candidate]) -> Result<(), RecommendError> {
        let new: Vec<&Candidate> = candidates.iter().filter(|candidate| !self.rated.contains_key(candidate)).collect();
        let policies =
            new.iter().map(|candidate| policy(&candidate.manifest(self.options, self.settings), "candidate"));
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(new.len())));
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(new.len());
        std::thread::scope(|scope| {
            for _ in 0..n_threads {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Atomic::Relaxed);
                        let Some(policy) = policies.get(index) else { return };
                        let mut result = policy.play(self.workload, self.settings);
                        result.rest_until(self.workload.last_due() + AFTERWARDS);
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    }
                });
            }
        });
        for (index, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let rated = self.rated_as(*new[index], &result);
            self.rated.insert(*new[index], rated);
        }
        Ok(())
    }

    fn rated_as(&self, candidate: Candidate, result: &SimulationResult) -> Rated {
        Rated {
            candidate,
            latency_seconds: result.latency_seconds,
            pod_hours: result.pod_hours,
            jobs_interrupted: result.jobs_interrupted,
            keeps: self.options.slo.is_kept(result),
            is_complete: result.jobs_undone() == 0,
            interrupts_few: result.jobs_interrupted as f64 <= MAX_INTERRUPTED * self.workload.jobs.len() as f64,
        }
    }
}

/// The candidates to which no other is better in both wait and pod-hours, the cheapest first.
fn front(all: &[Rated], slo: Slo) -> Vec<Rated> {
    let mut sorted: Vec<Rated> = all.iter().filter(|rated| rated.is_complete).copied().collect();
    let wait = |rated: &Rated| slo.wait(&rated.latency_seconds);
    sorted.sort_by(|a, b| a.pod_hours.total_cmp(&b.pod_hours).then(wait(a).total_cmp(&wait(b))));
    let mut least = f64::INFINITY;
    sorted.retain(|rated| {
        let is_better = wait(rated) < least;
        least = least.min(wait(rated));
        is_better
    });
    sorted
}

fn policy(manifest: &str, name: &str) -> Result<Policy, RecommendError> {
    let object = manifest::read("the recommended ScaledObject", manifest)?.scaled_objects.into_iter().next();
    let policy = object.as_ref().map(Policy::scaled).transpose()?;
    // The template has one ScaledObject.
    let mut policy = policy.unwrap_or_else(|| Policy::fixed(1));
    name.clone_into(&mut policy.name);
    Ok(policy)
}

/// The guide's ScaledObject, with the most pods of the candidates.
fn guide(options: &RecommendOptions) -> Result<Policy, RecommendError> {
    let text = GUIDE.replace("maxReplicaCount: 10", &format!("maxReplicaCount: {}", options.max_pods.max(2)));
    policy(&text, "guide's three")
}

/// Why the chosen one, and what to make of it.
fn reasons(chosen: &Rated, all: &[Rated], check: &Simulation, slo: Slo) -> Vec<String> {
    let mut reasons = Vec::new();
    let n_keep = all.iter().filter(|rated| rated.keeps && rated.is_complete).count();
    let (n_all, checked) = (all.len(), &check.results[0]);
    if chosen.keeps && chosen.interrupts_few {
        reasons.push(format!(
            "It is the cheapest of {n_all} candidates that keeps {slo} on the first two thirds, as {n_keep} do, and interrupts at most \
             1 % of the jobs."
        ));
    } else if chosen.keeps {
        reasons.push(format!(
            "It is the cheapest of the {n_keep} candidates, of {n_all}, that keep {slo} on the first two thirds. All of them interrupt \
             more than 1 % of the jobs."
        ));
    } else {
        reasons.push(format!(
            "None of {n_all} candidates keeps {slo} on the first two thirds; {} comes closest: allow more pods, or longer waits.",
            if chosen.interrupts_few { "of those that interrupt at most 1 % of the jobs, this one" } else { "this one" }
        ));
    }
    let wait = rounded(slo.wait(&checked.latency_seconds));
    let verdict = if slo.is_kept(checked) { "keeps it" } else { "does not keep it" };
    reasons.push(format!(
        "On the last third, which it was not tuned on, it {verdict}: {} is {wait} s{}.",
        slo.percentile,
        undone(checked)
    ));
    if 0 < checked.jobs_interrupted {
        let jobs = counted(checked.jobs_interrupted, "job");
        reasons.push(format!(
            "It interrupts {jobs} there, which JobRunr retries: if that does harm, take one with a longer window or fewer pods removed per \
             minute, or spare busy pods."
        ));
    }
    reasons.extend(check.results[1..].iter().map(|other| beside(checked, other, slo)));
    reasons
}

/// Says if a workload is too short to rely on. Its jobs count, not how long a policy takes for them.
fn too_short(checked_on: &Workload, workload: &Workload) -> Option<String> {
    let (jobs, span) = (checked_on.jobs.len(), checked_on.last_due());
    if jobs < FEW_JOBS || span < SHORT {
        return Some(format!(
            "The last third has only {} in {}: too little to rely on, use a longer workload.",
            counted(jobs as u64, "job"),
            duration::format(jiff::SignedDuration::from_secs(span / 1000)),
        ));
    }
    (workload.last_due() < ALMOST_A_DAY)
        .then(|| "The workload is shorter than a day: what differs by the time of day is not in it.".to_owned())
}

/// The jobs that were never done, which have no wait.
fn undone(result: &SimulationResult) -> String {
    match result.jobs_undone() {
        0 => String::new(),
        n => format!(" and {} never done", counted(n, "job")),
    }
}

/// How another policy compares with the recommended one on the part that neither was tuned on.
fn beside(recommended: &SimulationResult, other: &SimulationResult, slo: Slo) -> String {
    let keeps = slo.is_kept(other);
    let part = number(other.pod_hours / recommended.pod_hours.max(1e-6) * 100.0, 0);
    let advice = match (keeps, slo.is_kept(recommended)) {
        (true, false) => ": it is the better one there",
        (true, true) if other.pod_hours < recommended.pod_hours => ": it is cheaper there, so the change may not pay",
        _ => "",
    };
    format!(
        "{} {} it there, with {} s{}, at {part} % of its pod-hours{advice}.",
        printable(&other.name, MAX_NAME),
        if keeps { "keeps" } else { "does not keep" },
        rounded(slo.wait(&other.latency_seconds)),
        undone(other),
    )
}

#[cfg(test)]
mod tests;
