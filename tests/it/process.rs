//! The program as a process: exit codes, signals, what it prints.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jobrunr_scaler::grpc::proto::external_scaler_client::ExternalScalerClient;

use crate::database::{Database, Kind};
use crate::scaler::{next_push, reference};

/// The program with nothing of this environment but what it is given.
fn program(env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobrunr-scaler"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBRUNR_SCALER_")) {
        command.env_remove(name);
    }
    command.args(["serve"]).envs(env.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the program did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn serve_ends_well_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let database = Database::new(Kind::Sqlite).await;
        let env = [("JOBRUNR_SCALER_URL", database.url.as_str()), ("JOBRUNR_SCALER_LOG_FORMAT", "json")];
        let mut child = program(&env).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
        });
        let mut client = ExternalScalerClient::connect(format!("http://{}", address.unwrap())).await.unwrap();
        let metadata = reference("metric=enqueued-count targetValue=1");
        let mut stream = client.stream_is_active(metadata.clone()).await.unwrap().into_inner();
        assert!(!client.is_active(metadata).await.unwrap().into_inner().result);
        assert_eq!(next_push(&mut stream, Duration::from_millis(50)).await, None);

        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(stream.message().await.unwrap().is_none(), "the stream ends well");
        drop(client);
        assert_eq!(exit_code(&mut child), Some(0), "{signal}");
        assert!(log.any(|line| line.unwrap().contains("stopped")));
    }
}

#[test]
fn a_bad_configuration_is_told_whole_and_ends_with_64() {
    let env = [
        ("JOBRUNR_SCALER_URL", "jdbc:oracle:thin:@host:1521/jobs"),
        ("JOBRUNR_SCALER_REFRESH", "often"),
        ("JOBRUNR_SCALER_TABLE_PREFIX", "tbl; drop table x"),
        ("JOBRUNR_SCALER_LISTEN", "nowhere"),
        ("JOBRUNR_SCALER_PASSWORD", "hunter2"),
    ];
    let output = program(&env).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in env[..4].iter().map(|(name, _)| *name).chain(["Oracle", "often", "nowhere"]) {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn no_configuration_is_a_bad_one() {
    let output = program(&[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("JOBRUNR_SCALER_URL"), "{text}");
}

#[test]
fn an_address_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        program(&[("JOBRUNR_SCALER_URL", "sqlite:/nowhere.db")]).args(["--listen", &address]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}
