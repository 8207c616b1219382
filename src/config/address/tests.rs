//! Tests of addresses as people write them.
use secrecy::ExposeSecret;

use super::*;

fn parse(text: &str) -> Address {
    let (address, warnings) = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(warnings, Vec::<String>::new(), "{text}");
    address
}

fn password(address: &Address) -> Option<String> {
    let secret = address.server()?.password.as_ref()?;
    Some(secret.read().unwrap().expose_secret().to_owned())
}

#[test]
fn address_has_many_forms() {
    let check = |text: &str, expected: &str, secret: &str| {
        let address = parse(text);
        assert_eq!(address.to_string(), expected, "{text}");
        assert_eq!(password(&address).unwrap_or_default(), secret, "{text}");
    };
    // URLs.
    check("postgres://user:pw@host:6432/db?sslmode=require", "postgres://user@host:6432/db", "pw");
    check("postgresql://host/db", "postgres://host:5432/db", "");
    check("mysql://user@host/db", "mysql://user@host:3306/db", "");
    check("mariadb://user:@host:3307/db", "mysql://user@host:3307/db", "");
    check("sqlite:///data/jr.db", "sqlite:/data/jr.db", "");
    check("sqlite://relative.db", "sqlite:relative.db", "");
    check("sqlite:/data/my%20jr.db?mode=ro", "sqlite:/data/my jr.db", "");
    // JDBC.
    check("jdbc:postgresql://host:5432/db?user=u&password=p", "postgres://u@host:5432/db", "p");
    check("jdbc:postgresql:db", "postgres://localhost:5432/db", "");
    check("jdbc:postgresql:/db", "postgres://localhost:5432/db", "");
    check("jdbc:postgresql:///db", "postgres://localhost:5432/db", "");
    check("jdbc:postgresql://:5433/db", "postgres://localhost:5433/db", "");
    check("jdbc:mysql://u:p@host:3306/db", "mysql://u@host:3306/db", "p");
    check("jdbc:mariadb://host/db?user=u&password=p", "mysql://u@host:3306/db", "p");
    check("jdbc:sqlite:/data/jr.db", "sqlite:/data/jr.db", "");
    check("jdbc:sqlite:file:/data/100%25.db", "sqlite:/data/100%25.db", "");
    check("JDBC:PostgreSQL://Host/db\n", "postgres://Host:5432/db", "");
    // Several hosts.
    check("jdbc:postgresql://h1:5432,h2:5433/db", "postgres://h1:5432,h2:5433/db", "");
    check("postgres://u:p@h1,h2/db", "postgres://u@h1:5432,h2:5432/db", "p");
    check("jdbc:mysql://h1,h2:3307/db", "mysql://h1:3306,h2:3307/db", "");
    check("jdbc:mariadb:sequential://h1,h2/db", "mysql://h1:3306,h2:3306/db", "");
    // IPv6, and sockets.
    check("postgres://u@[2001:db8::1]:6432/db", "postgres://u@[2001:db8::1]:6432/db", "");
    check("jdbc:postgresql://[::1],[::2]:1/db", "postgres://[::1]:5432,[::2]:1/db", "");
    check("postgres://%2Fvar%2Frun%2Fpostgresql/db", "postgres:///var/run/postgresql:5432/db", "");
    check("postgres:///db?host=/var/run/postgresql&port=6432", "postgres:///var/run/postgresql:6432/db", "");
    check("postgres://u@/?host=h&dbname=db", "postgres://u@h:5432/db", "");
    // MongoDB: the database is JobRunr's, whatever the path says.
    check("mongodb://host", "mongodb://host:27017/jobrunr", "");
    check("mongodb://u:p@h1,h2:27018/shop?replicaSet=rs0", "mongodb://u@h1:27017,h2:27018/jobrunr", "p");
    check(
        "mongodb+srv://u:p%40@cluster.example.net/?retryWrites=true&w=majority",
        "mongodb+srv://u@cluster.example.net/jobrunr",
        "p@",
    );
    // Special characters.
    check("postgres://u%40corp:p%40%2F%3F%23%25%3A@h/my%2Ddb", "postgres://u@corp@h:5432/my-db", "p@/?#%:");
    check("postgres://h/a%3Bb%23c%20d", "postgres://h:5432/a;b#c d", "");
    check("jdbc:postgresql://h/db?user=u&password=a;b#c", "postgres://u@h:5432/db", "a;b#c");
    check("postgres://u:a%0Ab@h/db", "postgres://u@h:5432/db", "a\nb");
    check("sqlite:/data/a%40b%3Bc%23.db", "sqlite:/data/a@b;c#.db", "");
    check("jdbc:postgresql://h/db?user=u%40corp&password=a%26b%3Dc+d%2B", "postgres://u@corp@h:5432/db", "a&b=c d+");
    check("postgres://scaler@server:p:w@h/db", "postgres://scaler@server@h:5432/db", "p:w");
    check("postgres://u:100%@h/db", "postgres://u@h:5432/db", "100%");
    check("postgres://u:p%C3%A4ss@h/db", "postgres://u@h:5432/db", "päss");
    // The same value twice is valid.
    check("jdbc:mysql://u:p@h/db?user=u&password=p", "mysql://u@h:3306/db", "p");
}

#[test]
fn tls_parameters_follow_each_driver() {
    use TlsMode::*;
    for (text, mode) in [
        ("postgres://h/d", Prefer),
        ("postgres://h/d?sslmode=disable", Disable),
        ("postgres://h/d?sslmode=allow", Prefer),
        ("postgres://h/d?ssl-mode=REQUIRE", Require),
        ("jdbc:postgresql://h/d?ssl=true", VerifyFull),
        ("jdbc:postgresql://h/d?ssl=false", Prefer),
        ("jdbc:postgresql://h/d?ssl=true&sslmode=verify-ca", VerifyCa),
        ("jdbc:postgresql://h/d?sslmode=require&ssl=true", Require),
        ("jdbc:postgresql://h/d?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", Require),
        ("mysql://h/d?ssl-mode=VERIFY_IDENTITY", VerifyFull),
        ("jdbc:mysql://h/d?sslMode=DISABLED", Disable),
        ("jdbc:mysql://h/d?sslMode=PREFERRED", Prefer),
        ("jdbc:mysql://h/d?sslMode=VERIFY_CA", VerifyCa),
        ("jdbc:mariadb://h/d?sslMode=trust", Require),
        ("jdbc:mariadb://h/d?sslMode=verify-full", VerifyFull),
    ] {
        let (address, _) = Address::parse(text).unwrap();
        assert_eq!(address.server().unwrap().tls.mode, mode, "{text}");
    }
    for text in [
        "postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
        "mysql://h/d?ssl-mode=verify_identity&ssl-ca=/ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem",
    ] {
        let paths = ["/ca.pem", "/c.pem", "/k.pem"].map(|path| Some(PathBuf::from(path)));
        let [root_cert, client_cert, client_key] = paths;
        let expected = Tls { mode: VerifyFull, root_cert, client_cert, client_key };
        assert_eq!(parse(text).server().unwrap().tls, expected, "{text}");
    }
    let address = parse("jdbc:mariadb://h/d?sslMode=VERIFY_FULL&serverSslCert=/ca.pem");
    assert_eq!(address.server().unwrap().tls.root_cert, Some(PathBuf::from("/ca.pem")));
    // The name of libpq for the public authorities.
    assert_eq!(parse("postgres://h/d?sslmode=verify-full&sslrootcert=system").server().unwrap().tls.root_cert, None);
}

fn mongodb(text: &str) -> MongoDbAddress {
    match parse(text) {
        Address::MongoDb(address) => address,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn tls_parameters_of_mongodb_follow_its_drivers() {
    use TlsMode::*;
    for (text, mode) in [
        ("mongodb://h/", Disable),
        ("mongodb://h/?tls=true", VerifyFull),
        ("mongodb://h/?ssl=true&tlsCAFile=/ca.pem", VerifyFull),
        ("mongodb://h/?tlsCAFile=/ca.pem", VerifyFull),
        ("mongodb://h/?sslrootcert=/ca.pem", VerifyFull),
        ("mongodb://h/?tls=false&tlsCAFile=/ca.pem", Disable),
        ("mongodb://h/?sslmode=verify-full", VerifyFull),
        ("mongodb+srv://h/", VerifyFull),
        ("mongodb+srv://h/?tls=false", Disable),
    ] {
        assert_eq!(mongodb(text).server.tls.mode, mode, "{text}");
    }
    let insecure = Address::parse("mongodb://h/?tls=true&tlsInsecure=true").unwrap();
    assert_eq!(insecure.0.server().unwrap().tls.mode, Require);
    assert!(insecure.1[0].contains("impersonate"), "{:?}", insecure.1);
    let identity = mongodb("mongodb://h/?tlsCertificateKeyFile=/c.pem&authMechanism=MONGODB-X509");
    assert_eq!(identity.server.tls.client_key, Some(PathBuf::from("/c.pem")));
    assert_eq!(identity.auth_mechanism, Some(AuthMechanism::X509));
}

#[test]
fn login_of_mongodb_is_looked_up_in_the_source_or_the_path() {
    let source = |text: &str| mongodb(text).auth_source;
    assert_eq!(source("mongodb://u:p@h"), None);
    assert_eq!(source("mongodb://u:p@h/shop"), Some("shop".to_owned()));
    assert_eq!(source("mongodb://u:p@h/shop?authSource=accounts"), Some("accounts".to_owned()));
    assert!(mongodb("mongodb://h/?directConnection=true").direct_connection);
    assert_eq!(mongodb("mongodb://h/?replicaSet=rs0").replica_set.as_deref(), Some("rs0"));
}

#[test]
fn schema_and_target_of_pgjdbc_are_kept() {
    let address = parse("jdbc:postgresql://h1,h2/d?currentSchema=jobs,%20public&targetServerType=primary");
    assert!(address.server().unwrap().primary_only);
    for (schemas, expected) in [
        ("jobs,%20public", "jobs,public"),
        // PostgreSQL reads names without quotes in lower case.
        ("Jobs", "Jobs"),
        ("%22Jobs%22,%22public%22", "\"Jobs\",public"),
        ("%22$user%22,jobs", "$user,jobs"),
    ] {
        let address = parse(&format!("jdbc:postgresql://h/d?currentSchema={schemas}"));
        assert_eq!(address.server().unwrap().search_path.as_deref(), Some(expected), "{schemas}");
    }
    assert!(!parse("postgres://h/d?target_session_attrs=any").server().unwrap().primary_only);
}

#[test]
fn invalid_addresses_are_explained() {
    let texts = [
        "",
        "hunter2",
        "hunter2:hunter2",
        "postgress://u:hunter2@h/db",
        "http://u:hunter2@h/db",
        "jdbc:tc:postgresql:16:///db",
        "jdbc:oracle:thin:u/hunter2@h:1521/db",
        "jdbc:sqlserver://h;password=hunter2",
        "jdbc:db2://h/db",
        "jdbc:h2:mem:db",
        "mongodb:u:hunter2@h",
        "mongodb://u:hun/ter2@h/",
        "mongodb+srv://u:hunter2@h:27017/db",
        "mongodb+srv://u:hunter2@h1,h2/db",
        "mongodb://u:hunter2@h/?tls=yes",
        "mongodb://u:hunter2@h/?sslmode=verify-ca",
        "mongodb://u:hunter2@h/?authMechanism=MONGODB-AWS",
        "mongodb://h/my.db",
        "postgres:db",
        "jdbc:mysql:db",
        "jdbc:mysql:replication://h1,h2/db",
        "jdbc:mysql:loadbalance://h1,h2/db",
        "jdbc:mariadb://address=(host=h)(port=3306)/db",
        "postgres://u:hunter2@my host/db",
        "postgres://u:hun#ter2/db",
        "postgres://u:hunter2/db",
        "postgres://u:hun/ter2@h/db",
        "postgres://u:hun?ter2@h/db",
        "postgres://h:0/db",
        "postgres://h:65536/db",
        "postgres://h:-1/db",
        "postgres://2001:db8::1/db",
        "postgres://[hunter2]/db",
        "postgres://[::1/db",
        "postgres://h",
        "postgres://h/",
        "jdbc:postgresql:",
        "jdbc:mysql://h:3306",
        "postgres://u:%ff@h/db",
        "postgres://u%0A:hunter2@h/db",
        "postgres://h/db%00",
        "postgres://%2Frun%0A/db",
        "postgres://h/db?sslrootcert=/ca%1B.pem",
        "sqlite:/data/%0Ajr.db",
        "postgres://h/db?sslmode=hunter2",
        "jdbc:postgresql://h/db?password=hun&ter2",
        "jdbc:postgresql://u:hunter2@h/db?password=other",
        "jdbc:postgresql://u@h/db?user=other",
        "jdbc:postgresql://h/db;password=hunter2",
        "jdbc:mysql://h/db#hunter2",
        "postgres://h/db&password=hunter2",
        "postgres://h/db:hunter2",
        "postgres://h/db hunter2",
        "jdbc:postgresql:u:hunter2",
        "postgres://u;password=hunter2@h/db",
        "jdbc:postgresql://h/db?user=u;password=hunter2",
        "jdbc:postgresql://h/db?sslmode=require;password=hunter2",
        "jdbc:postgresql://h/db?sslrootcert=/ca.pem#hunter2",
        "postgres://h/db?sslkey=/client.pk8",
        "postgres://h/db?sslcert=/client.pem",
        "jdbc:mariadb://h/db?sslKey=/client.pem",
        "postgres://h/db?port=hunter2",
        "postgres://h/db?currentSchema=a'b",
        "postgres://h/db?currentSchema=%22a",
        "postgres://h/db?targetServerType=secondary",
        "mysql://h/db?socket=/run/mysqld.sock",
        "mysql:///db?socket=/run/mysqld.sock",
        "sqlite:",
        "sqlite:/data/jr.db;password=hunter2",
        "jdbc:sqlite:/data/jr.db#hunter2",
        "sqlite://u:hunter2@h/db",
        "sqlite::memory:",
        "jdbc:sqlite:",
        "jdbc:sqlite::memory:",
        "jdbc:sqlite:file:jr?mode=memory&cache=shared",
        "jdbc:sqlite::resource:jr.db",
    ];
    let answers = texts.map(|text| match Address::parse(text) {
        Ok((address, _)) => panic!("{text}: {address}"),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{error}");
            format!("{text}\n    {error}\n")
        }
    });
    insta::assert_snapshot!(answers.concat());
}

#[test]
fn ignored_parameters_are_warned_of() {
    let texts = [
        "jdbc:postgresql://h/db?reWriteBatchedInserts=true&connectTimeout=10&ApplicationName=shop",
        "jdbc:postgresql://h/db?user=u&password=p&reWriteBatchedInserts=true&socketTimeout=30&color=blue",
        "jdbc:postgresql://h/db?password=hun&ter=2",
        "jdbc:postgresql://h/db?options=-c%20search_path%3Djobs",
        "jdbc:postgresql://h/db?ssl=true",
        "jdbc:mysql://h/db?sslMode=VERIFY_CA&sslCa=/ca.pem",
        "postgres://h/db?sslrootcert=/ca.pem",
        "postgres://h/db?sslmode=disable&sslrootcert=system",
        "jdbc:postgresql://h/db?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory",
        "jdbc:postgresql://h/db?sslmode=verify-full&sslrootcert=/ca.pem&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory",
        "jdbc:mysql://h/db?useSSL=false&allowPublicKeyRetrieval=true&serverTimezone=UTC",
        "jdbc:mysql://h/db?allowPublicKeyRetrieval=false",
        "jdbc:sqlite:/data/jr.db?journal_mode=WAL",
        "mongodb://h/?tls=true&replicaSet=rs0&readPreference=secondaryPreferred&retryWrites=false",
        "mongodb://h/?socketTimeoutMS=5000&color=blue",
    ];
    let answers = texts.map(|text| {
        let (_, warnings) = Address::parse(text).unwrap();
        assert!(!warnings.iter().any(|warning| warning.contains("ter`")), "{warnings:?}");
        format!("{text}\n    {}\n", warnings.join("\n    "))
    });
    insta::assert_snapshot!(answers.concat());
}

#[test]
fn password_is_never_shown() {
    for text in ["postgres://u:hunter2@h/db", "jdbc:mysql://h/db?user=u&password=hunter2"] {
        let address = parse(text);
        assert_eq!(password(&address).as_deref(), Some("hunter2"));
        assert!(!format!("{address} {address:?} {address:#?}").contains("hunter2"));
    }
}
