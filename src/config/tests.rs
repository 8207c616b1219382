//! Tests of whole configurations: from file and environment to settings, or to all problems at once.
#![expect(clippy::disallowed_methods, reason = "tests prepare files")]

mod login;
mod properties;

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

/// Checks the values alone.
fn check(
    raw: Option<RawConfig>,
    env: impl IntoIterator<Item = (String, String)>,
    diagnostics: Diagnostics,
) -> Result<Loaded, ConfigErrors> {
    super::check(raw, env, Purpose::Print, diagnostics)
}

/// Loads the text of a file (none if empty) and variables, given without `JOBRUNR_SCALER_`.
fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load_for(Purpose::Print, yaml, env)
}

/// As [`load`]; libpq's variables are given as they are.
fn load_for(purpose: Purpose, yaml: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let mut diagnostics = Diagnostics::default();
    let raw = file::parse("config.yaml".to_owned(), yaml, &mut diagnostics);
    let prefix = |name: &str| if name.starts_with("PG") { "" } else { "JOBRUNR_SCALER_" };
    let env = env.iter().map(|(name, value)| (format!("{}{name}", prefix(name)), (*value).to_owned()));
    super::check(raw, env, purpose, diagnostics)
}

fn loaded(yaml: &str, env: &[(&str, &str)]) -> Loaded {
    load(yaml, env).unwrap_or_else(|errors| panic!("{yaml}\n{errors}"))
}

fn storage(yaml: &str, env: &[(&str, &str)], name: &str) -> StorageConfig {
    let loaded = loaded(yaml, env);
    assert_eq!(loaded.warnings, Vec::<String>::new(), "{yaml}");
    loaded.config.storages[name].clone()
}

fn errors(yaml: &str, env: &[(&str, &str)]) -> String {
    match load(yaml, env) {
        Ok(loaded) => panic!("{yaml}\n{loaded:?}"),
        Err(errors) => errors.to_string(),
    }
}

fn password(storage: &StorageConfig) -> String {
    let secret = storage.address.server().unwrap().password.as_ref().unwrap();
    secret.read().unwrap().expose_secret().to_owned()
}

const URL: (&str, &str) = ("URL", "jdbc:postgresql://h/db");

#[test]
fn environment_alone_is_enough_and_gives_the_defaults() {
    let loaded = loaded("", &[URL]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    insta::assert_snapshot!(format!("{:#?}", loaded.config));
}

#[test]
fn example_states_the_defaults() {
    let mut diagnostics = Diagnostics::default();
    let raw = file::parse("config.example.yaml".to_owned(), EXAMPLE, &mut diagnostics);
    let example = check(raw, [], diagnostics).unwrap().config;
    // These have no defaults: the address and the login.
    let minimal = "storages: {orders: {url: 'jdbc:postgresql://db.orders:5432/orders', username: scaler, \
                   passwordFile: /secrets/orders/password}}";
    assert_eq!(format!("{example:#?}"), format!("{:#?}", loaded(minimal, &[]).config));
}

#[test]
fn example_has_every_key() {
    let has_key = |name: &str| {
        EXAMPLE.lines().any(|line| line.trim_start().trim_start_matches("# ").starts_with(&format!("{name}: ")))
    };
    for name in raw::StorageKey::ALL.map(|(_, name, _)| name).iter().chain(&["certFile", "keyFile", "clientCaFile"]) {
        assert!(has_key(name), "{name}");
    }
}

/// A configuration that is printed, in a log or a panic, shows no password.
#[test]
fn debug_shows_no_password() {
    for storage in [
        "url: postgres://u:hunter2@h/db",
        "url: 'jdbc:postgresql://h/db?user=u&password=hunter2'",
        "url: 'jdbc:mariadb://u:hunter2@h/db'",
        "{url: jdbc:mysql://h/db, password: hunter2}",
    ] {
        let storage = if storage.starts_with('{') { storage.to_owned() } else { format!("{{{storage}}}") };
        let loaded = loaded(&format!("storages: {{orders: {storage}}}"), &[]);
        assert_eq!(password(&loaded.config.storages["orders"]), "hunter2");
        let (short, long) = (format!("{loaded:?}"), format!("{loaded:#?}"));
        assert!(!short.contains("hunter2") && !long.contains("hunter2"), "{short}");
    }
}

#[test]
fn keys_of_the_file_reach_their_settings() {
    let yaml = "
listen: '[::1]:80'
log: {format: json, filter: 'warn,jobrunr_scaler=trace'}
tls: {certFile: a.crt, keyFile: a.key, clientCaFile: ca.crt}
storages:
  orders:
    url: mysql://h/db
    username: scaler
    password: hunter2
    tablePrefix: jobs.tbl_
    refresh: PT0.1S
    maxStaleness: PT2H
    statementTimeout: PT1M
    connectTimeout: PT10S
    countLimit: 0
    heartbeatMultiplicand: 10
    namespaces: [orders, shop]
";
    let config = loaded(yaml, &[]).config;
    assert_eq!((config.listen.to_string().as_str(), config.log.format), ("[::1]:80", LogFormat::Json));
    assert_eq!(config.log.filter, "warn,jobrunr_scaler=trace");
    let files = TlsFiles { cert: "a.crt".into(), key: "a.key".into(), client_ca: Some("ca.crt".into()) };
    assert_eq!(config.tls, Some(files));
    let orders = &config.storages["orders"];
    assert_eq!(orders.address.to_string(), "mysql://scaler@h:3306/db");
    assert_eq!((password(orders).as_str(), orders.table_prefix.as_str()), ("hunter2", "jobs.tbl_"));
    assert_eq!((orders.refresh, orders.max_staleness), (Duration::from_millis(100), Duration::from_secs(7200)));
    assert_eq!(orders.statement_timeout, Duration::from_secs(60));
    assert_eq!(orders.connect_timeout, Duration::from_secs(10));
    assert_eq!((orders.count_limit, orders.heartbeat_multiplicand), (None, 10));
    assert_eq!(orders.namespaces, Some(vec!["orders".to_owned(), "shop".to_owned()]));
}

#[test]
fn variables_override_their_keys() {
    let yaml = "
listen: 0.0.0.0:1
log: {format: text, filter: debug}
tls: {certFile: a, keyFile: b, clientCaFile: c}
storages:
  my-orders: {url: mysql://h/db, username: a, password: b, tablePrefix: c_, refresh: PT2S, maxStaleness: PT3S,
    statementTimeout: PT4S, connectTimeout: PT5S, countLimit: 6, heartbeatMultiplicand: 7, namespaces: [d]}
";
    let key = |end: &str| format!("STORAGES_MY_ORDERS_{end}");
    let values = [
        ("URL", "jdbc:postgresql://h/db"),
        ("USERNAME", "scaler"),
        ("PASSWORD", "hunter2"),
        ("TABLE_PREFIX", ""),
        ("REFRESH", "PT0.2S"),
        ("MAX_STALENESS", "PT30S"),
        ("STATEMENT_TIMEOUT", "PT1S"),
        ("CONNECT_TIMEOUT", "PT2S"),
        ("COUNT_LIMIT", "5"),
        ("HEARTBEAT_MULTIPLICAND", "8"),
        ("NAMESPACES", "orders, shop"),
    ]
    .map(|(end, value)| (key(end), value));
    let mut env: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    env.extend([("LISTEN", "127.0.0.1:2"), ("LOG_FORMAT", "json"), ("LOG_FILTER", "error")]);
    env.extend([("TLS_CERT_FILE", "d"), ("TLS_KEY_FILE", "e"), ("TLS_CLIENT_CA_FILE", "f")]);
    insta::assert_snapshot!(format!("{:#?}", loaded(yaml, &env).config));
    assert_eq!(password(&storage(yaml, &env, "my-orders")), "hunter2");
}

#[test]
fn variable_replaces_the_alternative_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| -> String {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (url, pass) = (file("url", "postgres://h2/db2\n"), file("password", "from-file\n"));
    let yaml = "storages: {orders: {url: 'postgres://h1/db1', password: x}}";
    let orders =
        storage(yaml, &[("STORAGES_ORDERS_URL_FILE", &url), ("STORAGES_ORDERS_PASSWORD_FILE", &pass)], "orders");
    assert_eq!(
        (orders.address.to_string().as_str(), password(&orders).as_str()),
        ("postgres://h2:5432/db2", "from-file")
    );

    let yaml = format!("storages: {{orders: {{urlFile: '{url}', passwordFile: '{pass}'}}}}");
    let env = [("STORAGES_ORDERS_URL", "postgres://h3/db3"), ("STORAGES_ORDERS_PASSWORD", "y")];
    let orders = storage(&yaml, &env, "orders");
    assert_eq!((orders.address.to_string().as_str(), password(&orders).as_str()), ("postgres://h3:5432/db3", "y"));
}

#[test]
fn empty_variable_is_not_set() {
    let env = [URL, ("LISTEN", ""), ("PASSWORD", ""), ("REFRESH", ""), ("URL_FILE", "")];
    let default = storage("", &env, "default");
    assert!(default.address.server().unwrap().password.is_none());
}

#[test]
fn values_that_look_like_numbers_stay_as_written() {
    for written in
        ["0123", "1e5", "1_000", "0x1F", "1.10", "true", "No", ".nan", "-0", "+7", "1e999", "12:30:45", "2026-11-24"]
    {
        for yaml in [
            format!("storages: {{default: {{url: 'postgres://h/db', password: {written}}}}}"),
            format!("storages:\n  default:\n    password: {written}   # comment\n    url: postgres://h/db\n"),
            format!("storages:\n  default:\n    password: &x {written}\n    username: *x\n    url: postgres://h/db"),
            format!("# ü\nstorages:\r\n  default:\r\n    url: postgres://h/db\r\n    password: {written}\r\n"),
        ] {
            assert_eq!(password(&storage(&yaml, &[], "default")), written, "{yaml}");
        }
    }
}

#[test]
fn variables_of_kubernetes_are_no_settings() {
    let env = [
        URL,
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "9090"),
        ("SERVICE_PORT_GRPC", "9090"),
        ("PORT", "tcp://10.0.0.1:9090"),
        ("PORT_9090_TCP", "tcp://10.0.0.1:9090"),
        ("PORT_9090_TCP_PROTO", "tcp"),
        ("PORT_9090_TCP_PORT", "9090"),
        ("PORT_9090_TCP_ADDR", "10.0.0.1"),
        ("METRICS_SERVICE_HOST", "10.0.0.2"),
        ("METRICS_PORT", "tcp://10.0.0.2:80"),
        ("CONFIG", "/etc/config.yaml"),
    ];
    let loaded = loaded("", &env);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.listen.to_string(), "0.0.0.0:9090");
}

#[test]
fn warnings_read_like_this() {
    let env = [
        ("URL", "jdbc:postgresql://h/db?user=u&connectTimeout=10"),
        ("PASSWORD_FILE", "/nowhere/password"),
        ("REFRSH", "PT1S"),
        ("LOG", "debug"),
        ("COLOUR", "blue"),
        ("STORAGES_ORDERS_COLOUR", "blue"),
        ("STORAGES_", "x"),
        ("STORAGES_DEFAULT_MAXSTALENESS", "PT1S"),
        ("STORAGES_MY_ORDERS_COUNT_LIMITS", "5"),
        ("STORAGES_URL", "x"),
        ("refresh", "PT1S"),
    ];
    let warnings = load_for(Purpose::Connect, "", &env).unwrap().warnings;
    insta::assert_snapshot!(warnings.join("\n"));
    // What only prints needs no password.
    assert_eq!(loaded("", &env).warnings[..], warnings[..warnings.len() - 1]);
}

#[test]
fn problems_are_found_all_at_once() {
    let yaml = "
listne: 0.0.0.0:9090
url: postgres://u:hunter2@h/db
log:
  format: yaml
  fliter: info
storages:
  orders:
    url: postgress://u:hunter2@h/db
    table_prefix: tbl_
    refresh: 5s
    maxStaleness: PT5M
    countLimit: many
  Orders_2:
    url: postgres://h/db
  shop:
    refresh: PT0.01S
    namespaces: []
  stock: postgres://u:hunter2@h/db
  users:
    url: [postgres://h/db]
    passwordFile: /p
    password: hunter2
  files:
    url: sqlite:/data/jr.db
    username: u
    password: hunter2
    tablePrefix: jobs.
";
    let env = [
        ("LISTEN", ":8080"),
        ("LOG_FILTER", "verbose"),
        ("REFRESH", "PT10M"),
        ("STORAGES_STOCK_STATEMENT_TIMEOUT", "PT1H"),
    ];
    let text = errors(yaml, &env);
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn problem_in_the_file_reads_like_this() {
    let storage =
        |settings: &str| format!("storages:\n  orders:\n    url: jdbc:postgresql://u:hunter2@h/db\n{settings}");
    let key = |setting: &str| storage(&format!("    {setting}\n"));
    let files = [
        "storages: {}".to_owned(),
        "listen: 9090".to_owned(),
        "storages:\n  orders:\n".to_owned(),
        "storages:\n  postgres://u:hunter2@h/db:\n".to_owned(),
        "storages:\n  orders: {password:hunter2}\n".to_owned(),
        "storages:\n- orders\n".to_owned(),
        "hunter2".to_owned(),
        "storages:\n  orders:\n    password: @hunter2\n".to_owned(),
        "storages:\n  orders:\n    password: \"hunter2\n".to_owned(),
        "storages:\n  orders:\n    password: *hunter2\n".to_owned(),
        "storages:\n  orders:\n   url: x\n  password: hunter2\n url: y".to_owned(),
        "storages:\n  orders:\n    password:hunter2\n    url: x\n".to_owned(),
        "a: 1\n---\nb: 2\n".to_owned(),
        "hunter2: [".to_owned(),
        key("url: twice"),
        key("password: other"),
        key("username: other"),
        key("passwordFile: /p"),
        key("urlFile: /u"),
        key("refresh: [PT1S]"),
        key("refresh: 1"),
        key("refresh: 1m 30s"),
        key("refresh: PT61S"),
        key("refresh: -PT1S"),
        key("refresh: P1D"),
        key("refresh: P1M"),
        key("refresh: postgres://u:hunter2@h/db"),
        key("maxStaleness: PT0.5S"),
        key("maxStaleness: PT25H"),
        key("connectTimeout: PT0S"),
        key("countLimit: -1"),
        key("countLimit: 10_000"),
        key("heartbeatMultiplicand: 0"),
        key("heartbeatMultiplicand: 101"),
        key("tablePrefix: tbl; drop table x"),
        key("tablePrefix: a.b.c"),
        key("tablePrefix: '\"quoted\".'"),
        key("namespaces:"),
        key("namespaces: [orders, My_Shop]"),
        key("namespaces: {orders: true}"),
        key("pasword: hunter2"),
        key("heartbeat-multiplicand: 4"),
        key("colour: blue"),
        storage("log: {filter: verbose}\n"),
        storage("log: {filter: sqlx=debug}\n"),
        storage("tls: {certFile: a}\n"),
        storage("tls: {keyFile: a}\n"),
        storage("tls: {clientCaFile: a}\n"),
        storage("tls: {cert: a}\n"),
        storage("tls: {certFile: a, keyFile: b, clientCaFile: }\n"),
        storage("tls:\n  certFile:\n  keyFile: ''\n"),
    ];
    let answers: String = files
        .iter()
        .map(|yaml| {
            let text = errors(yaml, &[]);
            assert!(!text.contains("hunter2"), "{text}");
            format!("{yaml}\n>>> {text}\n\n")
        })
        .collect();
    insta::assert_snapshot!(answers);
}

#[test]
fn problem_in_the_environment_reads_like_this() {
    let environments: [&[(&str, &str)]; 9] = [
        &[],
        &[("USERNAME", "scaler")],
        &[("URL", "postgres://u:hunter2@h"), ("LOG_FORMAT", "JSON")],
        &[URL, ("STORAGES_DEFAULT_URL", "postgres://u:hunter2@h/db")],
        &[URL, ("URL_FILE", "/url")],
        &[("URL_FILE", "/nowhere/url")],
        &[URL, ("LISTEN", "localhost:9090"), ("NAMESPACES", "")],
        &[URL, ("LISTEN", "postgres://u:hunter2@h/db"), ("LOG_FILTER", "password=hunter2=x")],
        &[("STORAGES_A_NAME_THAT_IS_LONGER_THAN_FORTY_CHARACTERS_URL", "postgres://u:hunter2@h/db")],
    ];
    let answers: String = environments
        .iter()
        .map(|env| {
            let text = errors("", env);
            assert!(!text.contains("hunter2"), "{text}");
            format!("{env:?}\n>>> {text}\n\n")
        })
        .collect();
    insta::assert_snapshot!(answers);
}

#[test]
fn missing_file_is_named_and_the_environment_is_still_checked() {
    let path = PathBuf::from("/nowhere/config.yaml");
    let env =
        [("JOBRUNR_SCALER_LISTEN".to_owned(), "x".to_owned()), ("JOBRUNR_SCALER_USERNAME".to_owned(), "u".to_owned())];
    insta::assert_snapshot!(Config::load(Some(&path), env).unwrap_err());
}

#[test]
fn file_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, "storages: {orders: {url: 'postgres://h/db'}}").unwrap();
    let env = [("PATH".to_owned(), "/bin".to_owned()), ("JOBRUNR_SCALERS_URL".to_owned(), "x".to_owned())];
    let loaded = Config::load(Some(&path), env).unwrap();
    assert!(loaded.config.storages.contains_key("orders") && loaded.warnings.is_empty());
}

#[test]
fn storage_name_is_plain() {
    let longest = "a".repeat(40);
    for name in ["default", "orders-2", "0", "-", &longest] {
        assert_eq!(name.parse::<StorageName>().unwrap().as_str(), name);
    }
    for name in ["", "Orders", "my_orders", "a b", "ä", "a.b", &format!("{longest}a")] {
        assert!(name.parse::<StorageName>().is_err(), "{name}");
    }
    assert_eq!(StorageName::default().as_str(), StorageName::DEFAULT);
}
