//! Secrets, and the files they come from.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// Longer than any password or address, and short enough to read a wrong file without harm.
const MAX_LENGTH: u64 = 64 * 1024;

/// A password, or the file that contains it. `Debug` shows the file, never the password.
#[derive(Debug, Clone)]
pub enum Secret {
    /// The secret itself.
    Value(SecretString),
    /// A file that contains it, for example a key of a mounted Kubernetes Secret.
    File(PathBuf),
}

/// Compares secrets as they were given: a file equals itself whatever it contains, because it is read for each use.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Secret::Value(a), Secret::Value(b)) => a.expose_secret() == b.expose_secret(),
            (Secret::File(a), Secret::File(b)) => a == b,
            _ => false,
        }
    }
}

impl Secret {
    /// Returns the current secret. A file is read each time: a caller that reads before every connect needs no restart after
    /// a password rotation. Newlines at its end, which most editors and `echo` leave, are removed.
    ///
    /// # Errors
    /// The file cannot be read, is longer than 64 KiB, or is not UTF-8.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Secret::Value(value) => Ok(value.clone()),
            Secret::File(path) => read_file(path),
        }
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |cause| SecretError::Unreadable { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a small local file, read once per connection")]
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_LENGTH + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if MAX_LENGTH < bytes.len() as u64 {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { path: path.to_owned() })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

/// Why a secret could not be read from its file. Names the file, never its content.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file is missing or not readable.
    #[error("cannot read the file `{}`: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file is too long to be a secret, so it is probably the wrong file.
    #[error("the file `{}` is longer than 64 KiB, too long for a secret", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("the file `{}` is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests prepare files")]

    use std::fs;

    use super::*;

    #[test]
    fn file_is_read_each_time_without_its_last_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let secret = Secret::File(path.clone());
        for (content, expected) in
            [("old\n", "old"), ("new\r\n", "new"), ("no newline", "no newline"), (" spaces \n\n", " spaces "), ("", "")]
        {
            fs::write(&path, content).unwrap();
            assert_eq!(secret.read().unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn file_without_a_secret_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let error = || Secret::File(path.clone()).read().unwrap_err();
        assert!(matches!(error(), SecretError::Unreadable { .. }));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(error(), SecretError::NotText { .. }));
        fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(matches!(error(), SecretError::TooLong { .. }));
        assert!(error().to_string().contains("password"));
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", Secret::Value("hunter2".into())).contains("hunter2"));
    }
}
