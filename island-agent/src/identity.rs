//! The Island's ed25519 key: who it is to the exchange, and what its receipts are signed with.
//!
//! Made on first start in the data folder, readable by its owner only, and never printed. Losing the
//! file makes a new Island; copying it makes two machines quarrel over one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use data_encoding::HEXLOWER;
use domain::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey};
use proto::convert::agent::{enrol_bytes, session_bytes};

/// The key's file in the data folder.
const FILE: &str = "island.key";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key's file could not be read.
    #[error("could not read the Island's key {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key's file holds something else.
    #[error(
        "{} does not hold an Island's key (64 hexadecimal digits); restore it from a copy, or move it away to become a new Island",
        path.display()
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// Others can read the key's file.
    #[error("{} can be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A new key could not be written.
    #[error("could not write the Island's key {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a new key")]
    Random(#[source] getrandom::Error),
}

/// The Island's key.
pub struct Identity(SigningKey);

impl Identity {
    /// Reads the key of the data folder, or makes one.
    ///
    /// # Errors
    /// When the file is unreadable, malformed or readable by others, or a new one cannot be written.
    pub fn load_or_create(data: &Path) -> Result<Self, IdentityError> {
        let path = data.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(data, &path),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    /// The identity of a known seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `bytes`.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// Proves the key at enrolment.
    #[must_use]
    pub fn enrolment_proof(&self, signed_at_us: u64) -> [u8; 64] {
        self.sign(&enrol_bytes(
            &self.public_key(),
            Timestamp::from_micros(signed_at_us),
        ))
    }

    /// Proves the key to whoever sent `nonce`.
    #[must_use]
    pub fn session_proof(&self, nonce: &[u8; 32]) -> [u8; 64] {
        self.sign(&session_bytes(nonce, &self.public_key()))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed {
            path: path.to_owned(),
        };
        check_private(path)?;
        let text = str::from_utf8(bytes).map_err(|_| malformed())?.trim_end();
        let seed = HEXLOWER.decode(text.as_bytes()).map_err(|_| malformed())?;
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| malformed())?;
        Ok(Self::from_seed(seed))
    }

    fn create(data: &Path, path: &Path) -> Result<Self, IdentityError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(IdentityError::Random)?;
        write_whole(data, path, &HEXLOWER.encode(&seed)).map_err(|source| IdentityError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::from_seed(seed))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", HEXLOWER.encode(&self.public_key()))
    }
}

/// Writes beside and renames, so that a crash leaves no half a key.
fn write_whole(data: &Path, path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(data)?.sync_all()
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).map_err(|source| IdentityError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), IdentityError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, VerifyingKey};

    #[test]
    fn a_key_is_made_once_and_stays() {
        let data = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(data.path()).unwrap();
        let second = Identity::load_or_create(data.path()).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(
            first.public_key(),
            Identity::load_or_create(other.path()).unwrap().public_key()
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_a_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().unwrap();
        Identity::load_or_create(data.path()).unwrap();
        let path = data.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Identity::load_or_create(data.path()),
            Err(IdentityError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_damaged_key_is_never_replaced_silently() {
        for damage in [b"".as_slice(), b"zz", &[0xff; 64], b"00", &[b'0'; 66]] {
            let data = tempfile::tempdir().unwrap();
            Identity::load_or_create(data.path()).unwrap();
            let path = data.path().join(FILE);
            fs::write(&path, damage).unwrap();
            assert!(matches!(
                Identity::load_or_create(data.path()),
                Err(IdentityError::Malformed { .. })
            ));
            assert_eq!(fs::read(&path).unwrap(), damage);
        }
    }

    #[test]
    fn a_half_written_key_of_a_crash_is_written_anew() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("island.key.new"), "12").unwrap();
        assert!(Identity::load_or_create(data.path()).is_ok());
    }

    #[test]
    fn a_key_never_prints_its_secret() {
        let seed = [7; 32];
        let printed = format!("{:?}", Identity::from_seed(seed));
        assert!(!printed.contains(&HEXLOWER.encode(&seed)), "{printed}");
    }

    #[test]
    fn proofs_bind_the_purpose_the_key_and_the_challenge() {
        let identity = Identity::from_seed([7; 32]);
        let key = VerifyingKey::from_bytes(&identity.public_key()).unwrap();
        let verify = |bytes: &[u8], proof: [u8; 64]| key.verify_strict(bytes, &Signature::from_bytes(&proof));
        let session = [b"atoll-session-v1\0".as_slice(), &[1; 32], &identity.public_key()].concat();
        assert!(verify(&session, identity.session_proof(&[1; 32])).is_ok());
        assert!(verify(&session, identity.session_proof(&[2; 32])).is_err());
        let enrol = [
            b"atoll-enrol-v1\0".as_slice(),
            &identity.public_key(),
            &5u64.to_be_bytes(),
        ]
        .concat();
        assert!(verify(&enrol, identity.enrolment_proof(5)).is_ok());
        assert!(verify(&enrol, identity.enrolment_proof(6)).is_err());
    }
}
