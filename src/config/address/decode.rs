//! Percent-encoding in an address.
use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::AddressError;

/// Decodes a text that is printed.
pub(super) fn decode_name(text: &str) -> Result<String, AddressError> {
    decode(text).and_then(|name| if name.contains(char::is_control) { Err(AddressError::Control) } else { Ok(name) })
}

/// Decodes any text.
pub(super) fn decode(text: &str) -> Result<String, AddressError> {
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| AddressError::Encoding)
}
