//! How much work jobs are, on every database: kinds of those that wait, and how long finished ones ran.

use jobrunr_scaler::jobrunr::{Filter, JobGroup, Mutexes, Question, ServiceTimes, Snapshot};

use super::{on_every_database, plain, queue, read};
use crate::database::{Database, Kind, Layout};
use crate::rows::{Job, job, scheduled};

on_every_database!(
    waiting_jobs_are_grouped_by_kind,
    long_queue_is_extrapolated_from_both_ends,
    due_jobs_are_grouped_by_kind,
    finished_jobs_tell_how_long_they_ran,
    hostile_records_of_finished_jobs_affect_no_other,
    question_without_work_reads_none,
    long_records_hide_their_kind_only_where_it_is_expensive,
    jobs_that_share_a_mutex_count_once,
    jobs_of_higher_priority_are_read_as_well,
);

fn work() -> Question {
    Question { work: true, ..plain() }
}

async fn ask(database: &Database) -> Snapshot {
    read(database, &database.config(), [work()]).await.unwrap()
}

/// Groups in words: how many of which kind, the first and the last in seconds from now on.
fn words(database: &Database, groups: &[JobGroup]) -> Vec<String> {
    let seconds = |at: jiff::Timestamp| at.duration_since(database.now).as_secs();
    let mut words: Vec<_> = groups
        .iter()
        .map(|group| format!("{} {} {}..{}", group.jobs, group.kind, seconds(group.first), seconds(group.last)))
        .collect();
    words.sort();
    words
}

async fn waiting_jobs_are_grouped_by_kind(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jobs = [10.0, 20.0, 30.0].map(|ago| job("ENQUEUED", ago).kind("a.B.mail()"));
    database.insert_jobs(&jobs).await;
    database.insert_jobs(&[job("ENQUEUED", 5.0).kind("a.B.report()"), job("SUCCEEDED", 5.0).kind("a.B.old()")]).await;
    let snapshot = ask(&database).await;
    let found = words(&database, &queue(&snapshot, &Filter::default()).waiting);
    assert_eq!(found, ["1 a.B.report() -5..-5", "3 a.B.mail() -30..-10"]);
}

async fn long_queue_is_extrapolated_from_both_ends(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jobs: Vec<Job> = (0..2_500)
        .map(|number| job("ENQUEUED", 2_500.0 - f64::from(number)).kind(if number < 1_000 { "old()" } else { "new()" }))
        .collect();
    database.insert_jobs(&jobs).await;
    let snapshot = ask(&database).await;
    let found = words(&database, &queue(&snapshot, &Filter::default()).waiting);
    assert_eq!(found, ["1000 old() -2500..-1501", "1500 new() -1501..-1"]);
}

async fn due_jobs_are_grouped_by_kind(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jobs = [(-5.0, "a()"), (30.0, "a()"), (50.0, "b()"), (600.0, "later()")];
    database.insert_jobs(&jobs.map(|(due_in, kind)| scheduled(due_in).kind(kind))).await;
    let snapshot = ask(&database).await;
    let found = words(&database, &queue(&snapshot, &Filter::default()).due);
    assert_eq!(found, ["1 b() 50..50", "2 a() -5..30"]);
}

/// A record as JobRunr's JSON mappers write it: what follows the last state depends on the mapper.
fn record(parameter: &str, last_state: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"x","jobDetails":{{"jobParameters":[{{"object":{parameter}}}]}},"jobHistory":[{{"state":"ENQUEUED"}},{{{last_state}}}]{rest}}}"#
    )
}

fn done(kind: &str, json: String) -> Job {
    job("SUCCEEDED", 10.0).kind(kind).json(json)
}

fn mean(times: &ServiceTimes, kind: &str) -> Option<f64> {
    times.of_kind(kind).map(|time| time.mean)
}

async fn finished_jobs_tell_how_long_they_ran(kind: Kind) {
    let mut database = Database::new(kind).await;
    let jackson = |seconds: &str| {
        record(
            r#""x""#,
            &format!(r#""state":"SUCCEEDED","latencyDuration":5.1,"processDuration":{seconds}"#),
            r#","metadata":{},"labels":[]"#,
        )
    };
    let gson =
        record(r#""x""#, r#""latencyDuration":1.03,"processDuration":3.5,"state":"SUCCEEDED""#, r#","metadata":{}"#);
    let text = record(r#""x""#, r#""state":"SUCCEEDED","processDuration":"PT1M2S""#, "");
    let parameter = record(r#"{"processDuration":900}"#, r#""processDuration":2.0"#, "");
    database
        .insert_jobs(&[
            done("jackson()", jackson("1.5")),
            done("jackson()", jackson("2.500000000")),
            done("gson()", gson),
            done("text()", text),
            done("parameter()", parameter),
            done("tiny()", jackson("1.23E-7")),
            job("FAILED", 3.0).kind("failed()").json(jackson("7")),
        ])
        .await;
    let times = ask(&database).await.service_times.unwrap();
    let found = ["jackson()", "gson()", "text()", "parameter()", "tiny()", "failed()"].map(|kind| mean(&times, kind));
    assert_eq!(found, [Some(2.0), Some(3.5), Some(62.0), Some(2.0), Some(1.23e-7), None]);
    assert_eq!(times.overall().unwrap().samples, 6);
    assert_eq!(times.newest, Some(database.now - jiff::SignedDuration::from_secs(10)));
}

async fn hostile_records_of_finished_jobs_affect_no_other(kind: Kind) {
    let mut database = Database::new(kind).await;
    let with = |duration: &str| record(r#""x""#, &format!(r#""processDuration":{duration}"#), "");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let jobs = [
        done("good()", with("2.0")),
        done("negative()", with("-1")),
        done("infinite()", with("1e999")),
        done("month()", with("99999999")),
        done("object()", with(r#"{"seconds":1}"#)),
        done("missing()", record(r#""x""#, r#""state":"SUCCEEDED""#, "")),
        done("none()", String::new()),
        done("text()", "not JSON".to_owned()),
        done("long()", record(&format!("\"{}\"", "x".repeat(1_000_000)), r#""processDuration":1"#, "")),
        done("deep()", record(&deep, r#""processDuration":1"#, "")),
        done("quoted()", record(r#""\"processDuration\":5""#, r#""state":"SUCCEEDED""#, "")),
    ];
    database.insert_jobs(&jobs).await;
    let snapshot = ask(&database).await;
    let times = snapshot.service_times.unwrap();
    assert_eq!(mean(&times, "good()"), Some(2.0));
    for kind in
        ["negative()", "infinite()", "month()", "object()", "missing()", "none()", "text()", "long()", "quoted()"]
    {
        assert_eq!(mean(&times, kind), None, "{kind}");
    }
    assert_eq!(snapshot.notes, Vec::<String>::new());
}

async fn question_without_work_reads_none(kind: Kind) {
    let mut database = Database::new(kind).await;
    database.insert_jobs(&[job("ENQUEUED", 1.0).kind("a()")]).await;
    let snapshot = read(&database, &database.config(), [plain()]).await.unwrap();
    assert_eq!(queue(&snapshot, &Filter::default()).waiting, Vec::new());
    assert_eq!(snapshot.service_times, None);
}

async fn jobs_that_share_a_mutex_count_once(kind: Kind) {
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    let waiting = |ago: f64, mutex: &str| job("ENQUEUED", ago).mutex(mutex).kind("a()");
    let jobs = [waiting(90.0, "held"), waiting(80.0, "held"), waiting(50.0, "free"), waiting(40.0, "free")];
    database.insert_jobs(&jobs).await;
    let holder = job("PROCESSING", 1.0).mutex("held");
    database.insert_jobs(&[holder, job("ENQUEUED", 30.0).kind("b()"), job("ENQUEUED", 20.0).kind("b()")]).await;
    let check = async |expected: &str, groups: &[&str]| {
        let snapshot = ask(&database).await;
        let queue = queue(&snapshot, &Filter::default());
        let oldest = queue.oldest_enqueued_at(false).map(|at| database.now.duration_since(at).as_secs());
        let of_all = queue.oldest_enqueued_at(true).map(|at| database.now.duration_since(at).as_secs());
        let found = (queue.enqueued(false).n_jobs, oldest, queue.enqueued(true).n_jobs, of_all);
        assert_eq!(format!("{found:?}"), expected, "{kind:?}");
        assert_eq!(words(&database, &queue.waiting), groups, "{kind:?}");
    };
    if kind == Kind::MongoDb {
        // Not supported with JobRunr Pro.
        return check("(6, Some(90), 6, Some(90))", &["2 b() -30..-20", "4 a() -90..-40"]).await;
    }
    check("(4, Some(50), 6, Some(90))", &["2 a() -90..-40", "2 b() -30..-20"]).await;
    database.move_jobs("ENQUEUED", "SUCCEEDED").await;
    database.insert_jobs(&[waiting(70.0, "held"), waiting(60.0, "held")]).await;
    let snapshot = ask(&database).await;
    let mutexes = queue(&snapshot, &Filter::default()).mutexes;
    assert_eq!(mutexes, Some(Mutexes { n_blocked: 1, oldest_free_at: None }), "{kind:?}");
}

async fn jobs_of_higher_priority_are_read_as_well(kind: Kind) {
    if kind == Kind::MongoDb {
        // Not supported with JobRunr Pro.
        return;
    }
    let mut database = Database::with(kind, Layout { pro: true, ..Layout::default() }).await;
    let jobs = [0, 0, 1, 2, 2, 2].map(|priority| job("ENQUEUED", 10.0).priority(priority));
    database.insert_jobs(&jobs).await;
    let filter = Filter { priority: Some(2), ..Filter::default() };
    let question = Question { filter: filter.clone(), ..work() };
    let snapshot = read(&database, &database.config(), [question.clone()]).await.unwrap();
    assert!(snapshot.answers(&question));
    let ahead = filter.ahead().unwrap();
    assert_eq!(queue(&snapshot, &filter).enqueued.n_jobs, 3, "{kind:?}");
    assert_eq!(words(&database, &queue(&snapshot, &ahead).waiting), ["3 App.run() -10..-10"], "{kind:?}");
}

async fn long_records_hide_their_kind_only_where_it_is_expensive(kind: Kind) {
    let mut database = Database::new(kind).await;
    let long = record(&format!("\"{}\"", "x".repeat(70_000)), r#""state":"ENQUEUED""#, "");
    database.insert_jobs(&[job("ENQUEUED", 3.0).kind("long()").json(long), job("ENQUEUED", 3.0).kind("short()")]).await;
    let snapshot = ask(&database).await;
    let found = words(&database, &queue(&snapshot, &Filter::default()).waiting);
    let long = if kind == Kind::Sqlite { "1  -3..-3" } else { "1 long() -3..-3" };
    assert_eq!(found, [long, "1 short() -3..-3"], "{kind:?}");
}
