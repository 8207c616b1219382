//! Properties of all configurations: no text makes the parsers panic, and nothing prints a password.
use proptest::prelude::*;

use super::*;

/// Long and unusual enough not to be in a message by chance.
const PASSWORD: &str = "[a-zA-Z0-9@:/?#&%=+'\"{}\\[\\]!*,;$ -]{0,12}Zq7[a-zA-Z0-9@:/?#&%=+'\"{}\\[\\]!*,;$ -]{0,12}";

/// Returns everything that may be printed of a configuration.
fn printed(result: Result<Loaded, ConfigErrors>) -> String {
    match result {
        Ok(loaded) => {
            let addresses = loaded.config.storages.values().map(|storage| format!("{}\n", storage.address));
            format!("{}{loaded:?}{loaded:#?}", addresses.collect::<String>())
        }
        Err(errors) => format!("{errors}{errors:?}"),
    }
}

proptest! {
    #[test]
    fn parsers_never_panic(text in "\\PC{0,80}", tail in "[ -~]{0,40}") {
        let _ = load(&text, &[]);
        let yaml = format!("storages:\n  orders:\n    {text}: {tail}\n    url: {tail}");
        let _ = load(&yaml, &[("REFRESH", &text), (&tail, &text)]);
        let _ = text.parse::<TablePrefix>();
        for scheme in ["", "postgres:", "mysql://", "jdbc:", "jdbc:postgresql:", "jdbc:mysql://", "sqlite:"] {
            let _ = Address::parse(&format!("{scheme}{text}"));
            let _ = Address::parse(&format!("{scheme}{tail}"));
        }
    }

    #[test]
    fn password_beside_the_address_is_never_printed(password in PASSWORD, broken in any::<bool>()) {
        let refresh = if broken { "never" } else { "PT1S" };
        let env = [URL, ("PASSWORD", password.as_str()), ("REFRESH", refresh)];
        prop_assert!(!printed(load("", &env)).contains("Zq7"));
        // Quoted, and as somebody writes it who does not know YAML.
        for yaml in [format!("'{}'", password.replace('\'', "''")), password] {
            let storage = format!("    url: mysql://h/db\n    password: {yaml}\n    refresh: {refresh}\n");
            let yaml = format!("storages:\n  orders:\n{storage}");
            prop_assert!(!printed(load(&yaml, &[])).contains("Zq7"), "{}", printed(load(&yaml, &[])));
        }
    }

    #[test]
    fn password_inside_the_address_is_kept_and_never_printed(secret in PASSWORD, broken in any::<bool>()) {
        let encoded = percent_encoding::utf8_percent_encode(&secret, percent_encoding::NON_ALPHANUMERIC).to_string();
        let refresh = if broken { "never" } else { "PT1S" };
        for url in [
            format!("postgres://u:{encoded}@h/db"),
            format!("mysql://u:{encoded}@h/db?x=y"),
            format!("jdbc:postgresql://h/db?user=u&password={encoded}&ssl=true"),
        ] {
            let result = load("", &[("URL", &url), ("REFRESH", refresh)]);
            if let Ok(loaded) = &result {
                prop_assert_eq!(password(&loaded.config.storages["default"]), secret.as_str());
            }
            prop_assert!(!printed(result).contains("Zq7"));
        }
        // In a mangled address too.
        for url in [
            format!("postgress://u:{encoded}@h/db"),
            format!("u:{encoded}@h/db"),
            format!("postgres://u:{encoded}@h:port/db"),
            format!("postgres://u:{encoded}"),
            format!("jdbc:mysql://h?password={encoded}"),
            format!("jdbc:sqlserver://h;password={encoded}"),
            format!("postgres:u:{encoded}@h/db"),
            format!("jdbc:postgresql://h/db;password={encoded}"),
            format!("jdbc:postgresql://h/db;password={secret}"),
            format!("postgres://h/db#{encoded}"),
            format!("jdbc:mysql://h/db&password={encoded}"),
            format!("postgres://u;password={encoded}@h/db"),
            format!("jdbc:postgresql://h/db?user=u;password={encoded}"),
            format!("jdbc:mysql://h/db?sslCa=/ca.pem;password={secret}"),
            format!("jdbc:postgresql:u:{encoded}"),
            format!("jdbc:sqlite:/data/jr.db;password={secret}"),
            format!("sqlite:/data/jr.db#{encoded}"),
            format!("sqlite://u:{encoded}@h/db"),
            encoded,
        ] {
            prop_assert!(!printed(load("", &[("URL", &url)])).contains("Zq7"), "{url}");
        }
    }
}
