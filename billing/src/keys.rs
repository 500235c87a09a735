//! API keys: how a secret is made, and what is kept of it.

use sha2::{Digest, Sha256};

/// How every secret begins: so that people and scanners know one when they see it.
pub const SECRET_PREFIX: &str = "atoll_sk_";

/// How many letters of a secret are kept to tell keys apart: far too few to guess the rest from.
const SHOWN: usize = 4;

/// A secret that was just made. It is shown once and then forgotten.
pub struct NewSecret {
    /// The whole secret.
    pub secret: service::secret::Secret,
    /// How it begins.
    pub prefix: String,
    /// What is kept.
    pub sha256: [u8; 32],
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Makes a secret of 256 random bits.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_secret() -> Result<NewSecret, getrandom::Error> {
    let text = format!("{SECRET_PREFIX}{}", random_text()?);
    let prefix = text.chars().take(SECRET_PREFIX.len() + SHOWN).collect();
    Ok(NewSecret {
        prefix,
        sha256: sha256(text.as_bytes()),
        secret: service::secret::Secret::new(text),
    })
}

/// 256 random bits as 52 letters and digits.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random_text() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
}

/// SHA-256. A secret of 256 random bits needs no slower hash: nobody can try them all.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether two hashes are equal, in a time that does not tell where they differ.
#[must_use]
pub fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |difference, (left, right)| difference | (left ^ right));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_different_and_known_by_their_hash() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one.secret, other.secret);
        assert_eq!(one.secret.expose().len(), SECRET_PREFIX.len() + 52);
        assert!(one.secret.expose().starts_with(&one.prefix));
        assert_eq!(sha256(one.secret.expose().as_bytes()), one.sha256);
        assert!(!format!("{one:?}").contains(one.secret.expose()));
    }

    #[test]
    fn hashes_compare_by_every_byte() {
        let hash = sha256(b"x");
        assert!(equal(&hash, &hash));
        for place in 0..32 {
            let mut other = hash;
            other[place] ^= 1;
            assert!(!equal(&hash, &other), "{place}");
        }
    }
}
