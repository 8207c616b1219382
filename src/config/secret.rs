//! Secrets, and the files they come from.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// More than any password or address, and little enough to read a wrong file without harm.
const MAX_LENGTH: u64 = 64 * 1024;

/// A password, given as it is or as the file that holds it. `Debug` shows the file, never the password.
#[derive(Debug, Clone)]
pub enum Secret {
    /// The secret itself.
    Value(SecretString),
    /// A file that holds it, for example a key of a mounted Kubernetes Secret.
    File(PathBuf),
}

/// The same secret, as it was given: a file is the same whatever it holds, because it is read anew for each use.
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
    /// The secret as it is now. A file is read anew each time: whoever reads before every connect needs no restart
    /// after the password was rotated. Newlines at its end, which most editors and `echo` leave, are cut off.
    ///
    /// # Errors
    /// The file cannot be read, is longer than 64 KiB, or is no UTF-8.
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
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_LENGTH + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if MAX_LENGTH < bytes.len() as u64 {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { path: path.to_owned() })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

/// Why a secret's file gave no secret. Names the file, never what is in it.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file is missing, or may not be read.
    #[error("cannot read the file `{}`: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file is too long to be a secret, so it is probably another file than the one meant.
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
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_anew_and_its_last_newline_does_not_count() {
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
    fn a_file_that_gives_no_secret_is_named() {
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
