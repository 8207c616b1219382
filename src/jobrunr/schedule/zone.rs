//! Time zone ids as Java writes them into the job's definition (`ZoneId.getId`).

use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::ZoneError;

/// The bundled time zone data, never the machine's: a scratch image has none, and the same schedule must give the same result
/// everywhere.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The largest offset that Java allows, ±18:00, in seconds.
const MAX_OFFSET_SECONDS: i32 = 18 * 3_600;

/// Parses a zone id as `ZoneId.of` does: `Z`, offsets (`+5`, `+05:45`, `-053015`), `UTC`, `GMT` or `UT` with or without
/// an offset (`UTC+1`), and regions, which are case-sensitive (`Europe/Brussels`, `Etc/GMT+3`).
///
/// # Errors
/// [`ZoneError`] with the id, if Java rejects it. Of Java's regions only the 13 `SystemV/…` of old JDKs are unknown here;
/// `EST`, `MST` and `HST` are known, as in JDKs since 23.
pub fn parse_zone(id: &str) -> Result<TimeZone, ZoneError> {
    let zone = match id {
        "Z" | "UTC" | "GMT" | "UT" => Some(TimeZone::UTC),
        _ if id.starts_with(['+', '-']) => parse_offset(id),
        _ => match offset_after_prefix(id) {
            Some(offset) => parse_offset(offset),
            None => find_region(id),
        },
    };
    zone.ok_or_else(|| ZoneError(id.to_owned()))
}

/// The `+1` of `UTC+1`.
fn offset_after_prefix(id: &str) -> Option<&str> {
    ["UTC", "GMT", "UT"]
        .into_iter()
        .find_map(|prefix| id.strip_prefix(prefix))
        .filter(|rest| rest.starts_with(['+', '-']))
}

/// An offset in one of the forms of `ZoneOffset.of`: `+h`, `+hh`, `+hhmm`, `+hh:mm`, `+hhmmss`, `+hh:mm:ss`.
#[expect(clippy::arithmetic_side_effects, reason = "numbers of two digits")]
fn parse_offset(text: &str) -> Option<TimeZone> {
    let (sign, rest) = match text.as_bytes().split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes, seconds) = match *rest {
        [h] => (two_digits(b'0', h)?, 0, 0),
        [h1, h2] => (two_digits(h1, h2)?, 0, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two_digits(h1, h2)?, two_digits(m1, m2)?, 0),
        [h1, h2, m1, m2, s1, s2] | [h1, h2, b':', m1, m2, b':', s1, s2] => {
            (two_digits(h1, h2)?, two_digits(m1, m2)?, two_digits(s1, s2)?)
        }
        _ => return None,
    };
    let total = hours * 3_600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || MAX_OFFSET_SECONDS < total {
        return None;
    }
    Offset::from_seconds(sign * total).ok().map(TimeZone::fixed)
}

#[expect(clippy::arithmetic_side_effects, reason = "digits")]
fn two_digits(tens: u8, ones: u8) -> Option<i32> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn find_region(id: &str) -> Option<TimeZone> {
    // `Factory` means "not set" in the data; Java does not have it. And unlike Java the database ignores case.
    let is_region = id != "Factory";
    is_region.then(|| DATABASE.get(id).ok()).flatten().filter(|zone| zone.iana_name() == Some(id))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn parse_zone_reads_offsets_as_java_does() {
        let check = |id: &str, seconds: i32| {
            let zone = parse_zone(id).expect(id);
            assert_eq!(zone.to_offset(Timestamp::UNIX_EPOCH).seconds(), seconds, "{id}");
        };
        check("Z", 0);
        check("UTC", 0);
        check("GMT", 0);
        check("UT", 0);
        check("+5", 18_000);
        check("-05", -18_000);
        check("+0545", 20_700);
        check("+05:45", 20_700);
        check("-053015", -19_815);
        check("-05:30:15", -19_815);
        check("+18:00", 64_800);
        check("-00:00", 0);
        check("UTC+1", 3_600);
        check("UTC+01:30", 5_400);
        check("GMT-2", -7_200);
        check("GMT0", 0);
        check("GMT+0", 0);
        check("UT+03", 10_800);
        check("Etc/GMT+3", -10_800);
        check("Etc/UTC", 0);
    }

    #[test]
    fn parse_zone_reads_regions_from_the_bundled_data() {
        for id in ["Europe/Brussels", "Africa/Casablanca", "Asia/Calcutta", "CET", "US/Eastern", "EST5EDT"] {
            assert_eq!(parse_zone(id).expect(id).iana_name(), Some(id));
        }
    }

    #[test]
    fn parse_zone_rejects_what_java_rejects() {
        for id in [
            "",
            "z",
            "A",
            "utc",
            "+",
            "+5:00",
            "+18:01",
            "-18:00:01",
            "+19",
            "+05:60",
            "+05:30:60",
            "+05:3",
            "+0５",
            "UTC+",
            "UTC+Z",
            "UTC 1",
            "GMT+19",
            "UTZ",
            "europe/brussels",
            "Europe/Nowhere",
            "Etc/Unknown",
            "Factory",
            " UTC",
            "UTC ",
            "+01:0:0",
        ] {
            assert_eq!(parse_zone(id), Err(ZoneError(id.to_owned())), "{id}");
        }
    }

    #[test]
    fn zone_error_names_the_id_and_what_is_allowed() {
        insta::assert_snapshot!(ZoneError("Mars/Base".to_owned()), @"`Mars/Base` is not a time zone; write a region such as `Europe/Brussels`, `UTC`, `Z` or an offset such as `+05:45`");
    }
}
