//! Ids as text, in both directions. JobRunr stores UUIDs as binary values, whose subtype depends on a setting of the driver.

use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::uuid::UuidRepresentation;
use ::mongodb::bson::{Binary, Bson, Uuid};

/// Returns an id as text that [`bson`] takes; `None` for a type that JobRunr does not use. A UUID in the order of bytes that older
/// Java drivers use has no hyphens, so that it can be asked for.
pub(super) fn text(id: &Bson) -> Option<String> {
    match id {
        Bson::String(text) => Some(text.clone()),
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => Some(binary.to_uuid().ok()?.to_string()),
        Bson::Binary(binary) => {
            let uuid = binary.to_uuid_with_representation(UuidRepresentation::JavaLegacy).ok()?;
            Some(uuid.to_string().replace('-', ""))
        }
        _ => None,
    }
}

/// Returns the value of an id's text.
pub(super) fn bson(text: &str) -> Bson {
    match Uuid::parse_str(text) {
        Ok(uuid) if text.contains('-') => Bson::from(uuid),
        Ok(uuid) => Bson::Binary(Binary::from_uuid_with_representation(uuid, UuidRepresentation::JavaLegacy)),
        Err(_) => Bson::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_be_asked_for_in_the_form_in_which_they_are_stored() {
        let uuid = Uuid::parse_str("3a364326-1111-4222-8333-444455556666").unwrap();
        let legacy = Binary::from_uuid_with_representation(uuid, UuidRepresentation::JavaLegacy);
        for (id, shown) in [
            (Bson::from(uuid), "3a364326-1111-4222-8333-444455556666"),
            (Bson::Binary(legacy), "3a364326111142228333444455556666"),
            (Bson::String("one".to_owned()), "one"),
        ] {
            let text = text(&id).unwrap();
            assert_eq!((text.as_str(), bson(&text)), (shown, id));
        }
        assert_eq!(text(&Bson::Int32(1)), None);
    }
}
