//! From a view to HTML. Everything is escaped by maud.

use std::collections::BTreeSet;
use std::time::Duration;

use maud::{DOCTYPE, Markup, html};

use super::course;
use super::problems::{Key, Problem, Severity};
use super::query::Query;
use super::view::{NextView, State, StorageState, StorageView, TriggerView, View};
use super::words::{instant, span};
use crate::storage::{Finding, Level};
use crate::text::{counted, number};

/// Triggers on one page: a thousand are some pages, and each arrives at once.
const PER_PAGE: usize = 60;

/// Problems of one kind on one page.
const MAX_PROBLEMS: usize = 20;

/// Returns the page of what a link selects.
pub(super) fn page(view: &View, query: &Query) -> Markup {
    let selected = view.selected(query);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(&selected, query)) }
                link rel="icon" href="/icon.svg";
                link rel="stylesheet" href="/page.css";
                noscript { meta http-equiv="refresh" content="10"; }
                script src="/page.js" defer {}
            }
            body {
                a.skip href="#triggers" { "Skip to the triggers" }
                header {
                    h1 { a href="/" { "jobrunr-scaler" } }
                    p.soft { "What KEDA was told by this pod, and why" }
                    p.live #live role="status" {}
                }
                (filters(view, query))
                main #main { (content(&selected, query)) }
                footer {
                    p.soft {
                        "jobrunr-scaler " (view.version) " · "
                        a href={ "/api/triggers" (query.to_string().trim_start_matches('/')) } { "the same as JSON" }
                        " · " a href="/metrics" { "metrics" }
                    }
                }
            }
        }
    }
}

fn title(selected: &View, query: &Query) -> String {
    let n_errors = selected.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warned = if n_errors == 0 { String::new() } else { format!("({n_errors}) ") };
    let subject = query.scaled_object.as_ref().or(query.namespace.as_ref()).or(query.storage.as_ref());
    let subject = subject.map(|subject| format!("{subject} · ")).unwrap_or_default();
    format!("{warned}{subject}jobrunr-scaler")
}

/// What changes, and is replaced.
fn content(selected: &View, query: &Query) -> Markup {
    html! {
        p.soft.when { "As of " (instant(selected.at, selected.at)) }
        (problems(&selected.problems))
        (storages(selected))
        (triggers(selected, query))
    }
}

fn filters(view: &View, query: &Query) -> Markup {
    let namespaces: BTreeSet<&str> = view.triggers.iter().map(|trigger| trigger.namespace.as_str()).collect();
    let storages: BTreeSet<&str> = view.storages.iter().map(|storage| storage.name.as_str()).collect();
    html! {
        form.filters method="get" action="/" aria-label="Filter" {
            (choice("namespace", "Namespace", &namespaces, query.namespace.as_deref()))
            (choice("storage", "Storage", &storages, query.storage.as_deref()))
            (choice("state", "State", &State::SELECTABLE.map(State::name).into(), query.state.map(State::name)))
            @if let Some(name) = &query.scaled_object { input type="hidden" name="scaledObject" value=(name); }
            button type="submit" { "Show" }
            @if !query.is_empty() { a.all href="/" { "Show all" } }
        }
    }
}

fn choice(name: &str, label: &str, values: &BTreeSet<&str>, chosen: Option<&str>) -> Markup {
    // What a link names may be gone by now.
    let unknown = chosen.filter(|chosen| !values.contains(chosen));
    html! {
        label {
            span { (label) }
            select name=(name) {
                option value="" { "all" }
                @for value in values.iter().copied().chain(unknown) {
                    option value=(value) selected[chosen == Some(value)] { (value) }
                }
            }
        }
    }
}

fn problems(problems: &[Problem]) -> Markup {
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.severity == Severity::Error);
    html! {
        @if !errors.is_empty() {
            section.wrong aria-labelledby="wrong" {
                h2 #wrong { "What is wrong" }
                (items(&errors))
            }
        }
        @if !warnings.is_empty() {
            section.doubtful aria-labelledby="doubtful" {
                details #doubtful-list open[warnings.len() < 4] {
                    summary { h2 #doubtful { (counted(warnings.len() as u64, "warning")) } }
                    (items(&warnings))
                }
            }
        }
    }
}

fn items(problems: &[&Problem]) -> Markup {
    let n_more = problems.len().saturating_sub(MAX_PROBLEMS) as u64;
    html! {
        ul {
            @for problem in problems.iter().take(MAX_PROBLEMS) { (item(problem)) }
            @if 0 < n_more { li { "and " (n_more) " more; filter by namespace or storage to see them" } }
        }
    }
}

/// Returns a text in which what stands between backticks is code.
fn marked(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without another one stays as it is.
    if parts.len() % 2 == 0 {
        return html! { (text) };
    }
    html! {
        @for (index, part) in parts.iter().enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

fn item(problem: &Problem) -> Markup {
    html! {
        li {
            @if let Some(Key { namespace, scaled_object }) = &problem.key {
                a href=(Query::of_scaled_object(namespace, scaled_object)) { (namespace) "/" (scaled_object) } ": "
            } @else if let Some(storage) = &problem.storage {
                strong { "storage " (storage) } ": "
            }
            (marked(&problem.text))
            br;
            span.remedy { (marked(&problem.remedy)) }
        }
    }
}

fn storages(selected: &View) -> Markup {
    html! {
        section aria-labelledby="storages" {
            h2 #storages { "Storages" }
            div.cards.storages { @for storage in &selected.storages { (self::storage(storage, selected)) } }
            @if selected.storages.is_empty() { p { "None is selected." } }
        }
    }
}

fn storage(storage: &StorageView, view: &View) -> Markup {
    let seconds = |seconds: Option<f64>| seconds.map(Duration::try_from_secs_f64).and_then(Result::ok);
    let (class, words) = match storage.state {
        StorageState::Up => ("active", "up"),
        StorageState::Stale => ("failed", "last answer"),
        StorageState::Down => ("failed", "no answer"),
        StorageState::Unused => ("idle", "not asked"),
        StorageState::Starting => ("idle", "starting"),
    };
    // What was wrong at the start and works by now would only mislead.
    let is_current = |finding: &&Finding| finding.level != Level::Problem || storage.state == StorageState::Down;
    let findings: Vec<&Finding> = storage.findings.iter().filter(is_current).collect();
    html! {
        article id={ "storage-" (storage.name) } {
            div.head {
                span.badge.(class) { (words) }
                h3 { a href={ "/?storage=" (storage.name) } { (storage.name) } }
            }
            dl.figures {
                (figure("snapshot", seconds(storage.snapshot_age_seconds).map(|age| format!("{} old", span(age)))))
                (figure("a read takes", seconds(storage.read_seconds).map(milliseconds)))
                (figure("live servers", storage.live_servers.map(|n| n.to_string())))
                (figure("workers", storage.workers.map(|n| n.to_string())))
            }
            @if let (Some(cause), Some(retry)) = (&storage.cause, seconds(storage.retry_in_seconds)) {
                p.wrong { (marked(cause)) ". The next attempt is " (soon(retry)) "." }
            }
            ul.reasons {
                @for next in &storage.next { (next_item(next, view)) }
                @if storage.is_listening { li { "notifies of new jobs" } }
                @if let Some(namespaces) = &storage.namespaces { li { "open to " (namespaces.join(", ")) } }
            }
            @if let Some(at) = storage.checked_at {
                details id={ "check-" (storage.name) } {
                    summary { "checked at " (instant(at, view.at)) }
                    ul.reasons {
                        @for finding in findings {
                            li.doubt[finding.level != Level::Ok] { (finding.topic) ": " (marked(&finding.text)) }
                        }
                    }
                }
            }
        }
    }
}

fn soon(wait: Duration) -> String {
    if wait < Duration::from_secs(1) { "due".to_owned() } else { format!("in {}", span(wait)) }
}

fn next_item(next: &NextView, view: &View) -> Markup {
    html! {
        li {
            "wakes at " strong { time datetime=(next.counts_from) { (instant(next.counts_from, view.at)) } } " for "
            @match &next.recurring_job {
                Some(job) => { strong { (job) } }
                None => { "a scheduled job" }
            }
            @if next.at != next.counts_from { ", which runs at " (instant(next.at, view.at)) }
            " (" (next.scaled_objects.join(", ")) ")"
        }
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", number(duration.as_secs_f64() * 1000.0, 1))
}

fn figure(name: &str, value: Option<String>) -> Markup {
    html! { div { dt { (name) } dd { (value.unwrap_or_else(|| "–".to_owned())) } } }
}

fn triggers(selected: &View, query: &Query) -> Markup {
    let (all, n) = (&selected.triggers, selected.triggers.len());
    let from = query.from.min(n.saturating_sub(1)) / PER_PAGE * PER_PAGE;
    html! {
        section aria-labelledby="triggers" {
            div.title {
                h2 #triggers tabindex="-1" aria-label="Triggers" { "Triggers" }
                p.soft { (count_words(all)) }
            }
            @if n == 0 { (nothing(query)) } @else { (legend()) }
            div.cards { @for trigger in all.iter().skip(from).take(PER_PAGE) { (self::trigger(trigger)) } }
            @if PER_PAGE < n { (pages(query, from, n)) }
            @if 0 < selected.decisions_dropped {
                p.soft { "There are more triggers than this pod remembers; the others are answered all the same." }
            }
        }
    }
}

fn count_words(triggers: &[TriggerView]) -> String {
    let count = |state: State| triggers.iter().filter(|trigger| trigger.state == state).count();
    let states = [State::Active, State::Inactive, State::Failed, State::Silent, State::New];
    let counts = states.map(|state| (count(state), state.name()));
    let counts = counts.iter().filter(|(n, _)| 0 < *n).map(|(n, name)| format!("{n} {name}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn nothing(query: &Query) -> Markup {
    html! {
        @if query.is_empty() {
            p {
                "KEDA has not asked this pod yet. Apply a ScaledObject whose trigger has the type " code { "external-push" }
                " and this scaler's Service as its " code { "scalerAddress" } ". With two replicas, KEDA may be asking the other one."
            }
        } @else {
            p { "Nothing is selected: no trigger like that was asked for within the last half hour. " a href="/" { "Show all" } }
        }
    }
}

fn legend() -> Markup {
    html! {
        p.legend {
            span.key { span.swatch.ratio {} "value ÷ target: the pods asked for" }
            span.key { span.swatch.on {} "active" }
            span.key { span.swatch.push {} "pushed" }
            span.key { span.swatch.failed {} "no answer" }
        }
    }
}

fn trigger(trigger: &TriggerView) -> Markup {
    let name = format!("{}/{}", trigger.namespace, trigger.scaled_object);
    let (class, words) = match trigger.state {
        State::Active => ("active", "active"),
        State::Inactive => ("idle", "inactive"),
        State::Failed => ("failed", "no answer"),
        State::Silent => ("idle", "not asked"),
        State::New => ("idle", "new"),
    };
    let asked = Duration::try_from_secs_f64(trigger.asked_seconds_ago).unwrap_or_default();
    html! {
        article {
            div.head {
                span.badge.(class) { (words) }
                h3 { a href=(Query::of_scaled_object(&trigger.namespace, &trigger.scaled_object)) { (name) } }
            }
            p.what {
                strong { (trigger.metric) }
                @if !trigger.filter.is_empty() { " with " (trigger.filter) }
                " of " a href={ "#storage-" (trigger.storage) } { (trigger.storage) }
                span.soft { " · " (trigger.settings) }
            }
            @if let Some(decision) = &trigger.decision {
                dl.figures {
                    (figure("value", Some(number(decision.value, 2) + if decision.truncated { "+" } else { "" })))
                    (figure("target", Some(number(decision.target, 2))))
                    (figure("pods asked for", Some(decision.pods.to_string())))
                    (figure("asked", Some(format!("{} ago", span(asked)))))
                }
            }
            (course::line(&name, &trigger.columns))
            @if let Some(failure) = &trigger.failure { p.wrong { (marked(failure)) } }
            @if let Some(decision) = &trigger.decision {
                ul.reasons { @for reason in &decision.reasons { li { (marked(reason)) } } }
            }
        }
    }
}

fn pages(query: &Query, from: usize, n: usize) -> Markup {
    html! {
        nav.pages aria-label="Pages" {
            @for start in (0..n).step_by(PER_PAGE) {
                @let label = format!("{}–{}", start + 1, (start + PER_PAGE).min(n));
                @if start == from { span aria-current="page" { (label) } }
                @else { a href=(query.from(start)) { (label) } }
            }
        }
    }
}
