//! Receipts: what an Island signed, checked field by field, and the exchange's own signature under it.
//!
//! Whether the count and the chain match what arrived is `dispatch`'s question; everything else about a receipt is
//! answered here. Invariants: nothing is countersigned that was not verified; the key never leaves this module.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dispatch::Claim;
use domain::{Digest, JobId, LeaseEpoch, LeaseId, Price, ReceiptKind, TokenCount};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use proto::convert::SignedReceipt;
use sha2::{Digest as _, Sha256};

/// The file of the exchange's key, in its data folder.
const KEY_FILE: &str = "exchange.key";

/// What a receipt of a lease must say beside its count and chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The job.
    pub job: JobId,
    /// The lease.
    pub lease: LeaseId,
    /// The attempt.
    pub epoch: LeaseEpoch,
    /// SHA-256 of the instrument's weights.
    pub model: Digest,
    /// Digest of the prompt's ids and of those that earlier Islands emitted.
    pub prompt: Digest,
    /// How many those are.
    pub prompt_tokens: TokenCount,
    /// The execution price.
    pub price: Price,
    /// The Island's key.
    pub public_key: [u8; 32],
}

/// Why a receipt is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A field does not say what the lease does.
    #[error("the receipt's {0} is not the lease's")]
    Field(&'static str),
    /// It ends before it begins.
    #[error("the receipt was signed before the job began")]
    Times,
    /// It is signed with another key than the Island's.
    #[error("the receipt names another key")]
    Key,
    /// The Island's signature does not verify.
    #[error("the Island's signature does not verify")]
    IslandSignature,
    /// The exchange's signature is missing or does not verify.
    #[error("the exchange's signature is missing or does not verify")]
    Countersignature,
}

/// Checks everything about a receipt but its count and chain, and returns those.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn verify(
    receipt: &SignedReceipt,
    kind: ReceiptKind,
    expected: &Expected,
) -> Result<Claim, ReceiptError> {
    let body = &receipt.body;
    let fields = [
        ("kind", body.kind == kind),
        ("job", body.job == expected.job),
        ("lease", body.lease == expected.lease),
        ("epoch", body.epoch == expected.epoch),
        ("model digest", body.model == expected.model),
        ("prompt digest", body.prompt == expected.prompt),
        (
            "count of prompt tokens",
            body.prompt_tokens == expected.prompt_tokens,
        ),
        ("price", body.price == expected.price),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, equal)| !equal) {
        return Err(ReceiptError::Field(field));
    }
    if body.signed_at < body.started_at {
        return Err(ReceiptError::Times);
    }
    if receipt.island_public_key != expected.public_key {
        return Err(ReceiptError::Key);
    }
    if !is_signed(
        &expected.public_key,
        &body.signed_bytes(),
        &receipt.island_signature,
    ) {
        return Err(ReceiptError::IslandSignature);
    }
    Ok(Claim {
        output_tokens: body.output_tokens,
        chain: body.chain,
    })
}

/// Checks both signatures of a countersigned receipt, against the keys that it names.
///
/// # Errors
/// When one is missing or does not verify.
pub fn verify_signatures(receipt: &SignedReceipt) -> Result<(), ReceiptError> {
    let mut bytes = receipt.body.signed_bytes();
    if !is_signed(&receipt.island_public_key, &bytes, &receipt.island_signature) {
        return Err(ReceiptError::IslandSignature);
    }
    bytes.extend_from_slice(&receipt.island_signature);
    match receipt.countersignature {
        Some((signature, key)) if is_signed(&key, &bytes, &signature) => Ok(()),
        Some(_) | None => Err(ReceiptError::Countersignature),
    }
}

/// Whether `signature` is this key's over `bytes`. Weak keys and signatures that are not canonical are refused.
#[must_use]
pub fn is_signed(public_key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public_key).is_ok_and(|key| {
        key.verify_strict(bytes, &Signature::from_bytes(signature))
            .is_ok()
    })
}

/// The exchange's own key.
pub struct ExchangeKey(SigningKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeKeyError {
    /// The file could not be read or written.
    #[error("could not use the key file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a key: what it is must be found out by a person, for receipts depend on it.
    #[error("{} does not hold a key of 32 bytes in hexadecimal", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("{} can be read by others; make it readable for its owner only", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random,
}

impl std::fmt::Debug for ExchangeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeKey").finish_non_exhaustive()
    }
}

impl ExchangeKey {
    /// Reads the key in `folder`, or makes one there that only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be used, holds no key, or can be read by others.
    pub fn load_or_create(folder: &Path) -> Result<Self, ExchangeKeyError> {
        let path = folder.join(KEY_FILE);
        let failed = |source| ExchangeKeyError::File {
            path: path.clone(),
            source,
        };
        match File::open(&path) {
            Ok(file) => Self::read(file, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|_| ExchangeKeyError::Random)?;
                write_secret(folder, &path, &secret).map_err(failed)?;
                Ok(Self(SigningKey::from_bytes(&secret)))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(file: File, path: &Path) -> Result<Self, ExchangeKeyError> {
        let failed = |source| ExchangeKeyError::File {
            path: path.to_owned(),
            source,
        };
        let malformed = || ExchangeKeyError::Malformed {
            path: path.to_owned(),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(ExchangeKeyError::Exposed {
                    path: path.to_owned(),
                });
            }
        }
        let mut text = Vec::new();
        file.take(128).read_to_end(&mut text).map_err(failed)?;
        let bytes = data_encoding::HEXLOWER
            .decode(text.trim_ascii())
            .map_err(|_| malformed())?;
        let secret = <[u8; 32]>::try_from(bytes).map_err(|_| malformed())?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A secret of its own for another purpose: it tells nothing about this key, nor about those of other purposes.
    pub(crate) fn derive(&self, purpose: &'static str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.0.as_bytes());
        hasher.update(purpose);
        hasher.finalize().into()
    }

    /// Signs a receipt that was verified: its bytes and the Island's signature.
    #[must_use]
    pub fn countersign(&self, mut receipt: SignedReceipt) -> SignedReceipt {
        let mut bytes = receipt.body.signed_bytes();
        bytes.extend_from_slice(&receipt.island_signature);
        receipt.countersignature = Some((self.0.sign(&bytes).to_bytes(), self.public_key()));
        receipt
    }
}

/// Writes beside, syncs, renames, syncs the folder: the key is whole or not there.
fn write_secret(folder: &Path, path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("key.new");
    // What is left of a start that was cut short was never used.
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
    file.write_all(data_encoding::HEXLOWER.encode(secret).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ChainHead, OrderId, ReceiptBody, Timestamp};

    fn island() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn expected() -> Expected {
        Expected {
            job: JobId::of_order(OrderId::new(1), 0),
            lease: LeaseId::new(2),
            epoch: LeaseEpoch::FIRST,
            model: Digest::of(b"weights"),
            prompt: Digest::of_tokens(&[1, 2, 3]),
            prompt_tokens: TokenCount::new(3),
            price: Price::MIN,
            public_key: island().verifying_key().to_bytes(),
        }
    }

    fn body() -> ReceiptBody {
        let expected = expected();
        ReceiptBody {
            kind: ReceiptKind::Final,
            job: expected.job,
            lease: expected.lease,
            epoch: expected.epoch,
            model: expected.model,
            prompt: expected.prompt,
            prompt_tokens: expected.prompt_tokens,
            output_tokens: TokenCount::new(4),
            chain: ChainHead::start(expected.lease, expected.epoch).extend(9),
            started_at: Timestamp::from_micros(5),
            signed_at: Timestamp::from_micros(6),
            price: expected.price,
        }
    }

    fn sign(body: ReceiptBody) -> SignedReceipt {
        SignedReceipt {
            body,
            island_signature: island().sign(&body.signed_bytes()).to_bytes(),
            island_public_key: island().verifying_key().to_bytes(),
            countersignature: None,
        }
    }

    fn check(change: fn(&mut ReceiptBody)) -> Result<Claim, ReceiptError> {
        let mut body = body();
        change(&mut body);
        verify(&sign(body), ReceiptKind::Final, &expected())
    }

    #[test]
    fn a_sound_receipt_tells_its_claim() {
        let claim = check(|_| {}).unwrap();
        assert_eq!(
            (claim.output_tokens, claim.chain),
            (TokenCount::new(4), body().chain)
        );
    }

    #[test]
    fn every_field_that_does_not_depend_on_the_output_must_be_the_leases() {
        let wrong = |change| check(change).unwrap_err();
        assert_eq!(
            wrong(|b| b.kind = ReceiptKind::Checkpoint),
            ReceiptError::Field("kind")
        );
        assert_eq!(
            wrong(|b| b.job = JobId::of_order(OrderId::new(1), 1)),
            ReceiptError::Field("job")
        );
        assert_eq!(wrong(|b| b.lease = LeaseId::new(3)), ReceiptError::Field("lease"));
        assert_eq!(
            wrong(|b| b.epoch = LeaseEpoch::new(1)),
            ReceiptError::Field("epoch")
        );
        assert_eq!(
            wrong(|b| b.model = Digest::of(b"others")),
            ReceiptError::Field("model digest")
        );
        assert_eq!(
            wrong(|b| b.prompt = Digest::of_tokens(&[1])),
            ReceiptError::Field("prompt digest")
        );
        assert_eq!(
            wrong(|b| b.prompt_tokens = TokenCount::new(4)),
            ReceiptError::Field("count of prompt tokens")
        );
        assert_eq!(
            wrong(|b| b.price = Price::new(2_000).unwrap()),
            ReceiptError::Field("price")
        );
        assert_eq!(wrong(|b| b.signed_at = Timestamp::ZERO), ReceiptError::Times);
    }

    #[test]
    fn another_key_or_a_spoilt_signature_is_refused() {
        let mut receipt = sign(body());
        receipt.island_signature[9] ^= 1;
        assert_eq!(
            verify(&receipt, ReceiptKind::Final, &expected()),
            Err(ReceiptError::IslandSignature)
        );
        let mut receipt = sign(body());
        receipt.island_public_key[0] ^= 1;
        assert_eq!(
            verify(&receipt, ReceiptKind::Final, &expected()),
            Err(ReceiptError::Key)
        );
        let mut receipt = sign(body());
        receipt.body.output_tokens = TokenCount::new(5);
        assert_eq!(
            verify(&receipt, ReceiptKind::Final, &expected()),
            Err(ReceiptError::IslandSignature)
        );
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The neutral element: with it a careless check accepts one signature over every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!is_signed(&neutral, b"anything", &signature));
    }

    #[test]
    fn a_countersigned_receipt_verifies_until_anything_in_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let key = ExchangeKey::load_or_create(folder.path()).unwrap();
        let receipt = sign(body());
        assert_eq!(verify_signatures(&receipt), Err(ReceiptError::Countersignature));
        let receipt = key.countersign(receipt);
        assert_eq!(verify_signatures(&receipt), Ok(()));
        let mut spoilt = receipt;
        spoilt.body.output_tokens = TokenCount::new(5);
        assert_eq!(verify_signatures(&spoilt), Err(ReceiptError::IslandSignature));
        let mut spoilt = receipt;
        spoilt.countersignature = Some(([1; 64], key.public_key()));
        assert_eq!(verify_signatures(&spoilt), Err(ReceiptError::Countersignature));
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        // A start that was cut short left half a key beside.
        fs::write(folder.path().join("exchange.key.new"), b"ab").unwrap();
        let first = ExchangeKey::load_or_create(folder.path()).unwrap().public_key();
        let second = ExchangeKey::load_or_create(folder.path()).unwrap().public_key();
        assert_eq!(first, second);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = folder.path().join(KEY_FILE);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(
                ExchangeKey::load_or_create(folder.path()),
                Err(ExchangeKeyError::Exposed { .. })
            ));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&path, b"not a key").unwrap();
        }
        assert!(matches!(
            ExchangeKey::load_or_create(folder.path()),
            Err(ExchangeKeyError::Malformed { .. })
        ));
    }
}
