//! Tests of the checks before a login: a user, the TLS files, and that no variable interferes.
use std::path::Path;

use super::*;

/// Loads the environment, to connect.
fn connect(env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load_for(Purpose::Connect, "", env)
}

fn rejected(env: &[(&str, &str)]) -> String {
    connect(env).expect_err(&format!("{env:?}")).to_string()
}

#[test]
fn user_must_be_configured_to_connect() {
    for url in ["postgres://h/db", "jdbc:postgresql://h/db?user=", "jdbc:mysql://:pw@h/db", "postgres://%2Frun/db"] {
        for env in [vec![("URL", url)], vec![("URL", url), ("PGUSER", "somebody")]] {
            let text = rejected(&env);
            assert!(text.contains("JOBRUNR_SCALER_URL\n      no user is configured: set `username`"), "{text}");
            assert_eq!(text.contains("Peer authentication"), url.contains("%2F"), "{text}");
        }
        // Statements are printed without.
        assert!(load("", &[("URL", url)]).is_ok());
        assert!(connect(&[("URL", url), ("USERNAME", "scaler")]).is_ok());
    }
    let text = load_for(Purpose::Serve, "storages: {orders: {url: mysql://h/db, username: ''}}", &[]).unwrap_err();
    assert!(text.to_string().contains("config.yaml:1:26 storages.orders.url\n      no user is configured"), "{text}");
    assert!(connect(&[("URL", "sqlite:/data/jr.db")]).is_ok());
    assert!(rejected(&[("URL", "postgres://h/db"), ("USERNAME", "a\nb")]).contains("the user has a control character"));
}

#[test]
fn libpq_variables_that_cannot_be_overwritten_are_rejected() {
    const POSTGRES: (&str, &str) = ("URL", "postgres://u:p@h/db");
    let check = |env: &[(&str, &str)], expected: &[&str]| {
        let text = connect(env).map_or_else(|errors| errors.to_string(), |_| String::new());
        assert_eq!(text.matches("environment variable PG").count(), expected.len(), "{env:?}: {text}");
        for name in expected {
            assert!(text.contains(&format!("environment variable {name}\n")) && text.contains("unset it"), "{text}");
        }
    };
    // All of these are overwritten.
    let harmless = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"];
    let mut env: Vec<_> = harmless.map(|name| (name, "x")).into();
    env.extend([POSTGRES, ("PGSSLROOTCERT", "x"), ("PGAPPNAME", "x"), ("PGPASSFILE", "x"), ("PGOPTIONS", "")]);
    check(&env, &[]);
    check(&[POSTGRES, ("PGOPTIONS", "-c search_path=other")], &["PGOPTIONS"]);
    check(&[POSTGRES, ("PGSSLCERT", "/c.pem"), ("PGSSLKEY", "")], &["PGSSLCERT", "PGSSLKEY"]);
    check(&[("URL", "postgres://u:p@h/db?sslmode=disable"), ("PGSSLCERT", "/c.pem")], &[]);
    check(&[("URL", "mysql://u:p@h/db"), ("PGSSLCERT", "/c.pem"), ("PGOPTIONS", "-c jit=off")], &[]);
    assert!(load("", &[POSTGRES, ("PGOPTIONS", "-c jit=off")]).is_ok());
}

/// Certificates and keys in a temporary directory.
struct Pems(tempfile::TempDir);

impl Pems {
    fn new() -> Self {
        let pems = Self(tempfile::tempdir().unwrap());
        let pair = || rcgen::generate_simple_self_signed(["db.orders".to_owned()]).unwrap();
        let (ours, other) = (pair(), pair());
        pems.write("cert.pem", &ours.cert.pem());
        pems.write("key.pem", &ours.signing_key.serialize_pem());
        pems.write("other-key.pem", &other.signing_key.serialize_pem());
        pems.write("empty.pem", "");
        pems.write(
            "encrypted.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        pems.write("broken.pem", "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n");
        pems
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[test]
fn tls_files_are_checked_to_connect() {
    let pems = Pems::new();
    let answer = |parameters: &str| {
        let parameters = parameters.replace('@', &format!("{}/", pems.path().display()));
        let url = format!("postgres://u:hunter2@h/db?{parameters}");
        let loaded = connect(&[("URL", &url)]);
        assert!(load("", &[("URL", &url)]).is_ok(), "statements are printed without the files: {url}");
        let text = loaded.map_or_else(|errors| errors.to_string(), |_| "fine".to_owned());
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
        text.replace(&format!("{}/", pems.path().display()), "@")
    };
    let both = "sslmode=verify-full&sslrootcert=@cert.pem";
    for fine in [
        both.to_owned(),
        format!("{both}&sslcert=@cert.pem&sslkey=@key.pem"),
        // Nothing is verified, so the file is never opened; a warning says so.
        "sslmode=require&sslrootcert=@missing.pem".to_owned(),
        "sslmode=disable&sslcert=@missing.pem&sslkey=@missing.pem".to_owned(),
    ] {
        assert_eq!(answer(&fine), "fine", "{fine}");
    }
    let answers = [
        "sslmode=verify-full&sslrootcert=@missing.pem",
        "sslmode=verify-ca&sslrootcert=@key.pem",
        "sslmode=verify-full&sslrootcert=@empty.pem",
        "sslmode=verify-full&sslrootcert=@broken.pem",
        "sslmode=require&sslcert=@missing.pem&sslkey=@key.pem",
        "sslmode=require&sslcert=@key.pem&sslkey=@cert.pem",
        "sslmode=require&sslcert=@cert.pem&sslkey=@missing.pem",
        "sslmode=prefer&sslcert=@cert.pem&sslkey=@cert.pem",
        "sslmode=require&sslcert=@cert.pem&sslkey=@other-key.pem",
        "sslmode=require&sslcert=@cert.pem&sslkey=@encrypted.pem",
        "sslmode=verify-full&sslrootcert=@missing.pem&sslcert=@cert.pem&sslkey=@missing.pem",
    ]
    .map(|parameters| format!("{parameters}\n{}\n\n", answer(parameters)));
    insta::assert_snapshot!(answers.concat());
}
