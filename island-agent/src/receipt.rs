//! Signatures over what was done: the Island's own, and the check of the exchange's.
//!
//! The bytes are `domain`'s; the keys are `identity`'s. Nothing is decided here.

use domain::ReceiptBody;
use ed25519_dalek::{Signature, VerifyingKey};
use proto::convert::SignedReceipt;

use crate::identity::Identity;

/// Why a countersignature is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountersignatureError {
    /// The report carries none.
    #[error("the receipt was not countersigned")]
    Missing,
    /// It is by another key than the one the exchange gave at enrolment.
    #[error("the receipt was countersigned by another key than the exchange's")]
    OtherKey,
    /// The receipt's own signature is not this Island's.
    #[error("the receipt does not carry this Island's signature")]
    NotOurs,
    /// It does not verify.
    #[error("the countersignature does not verify")]
    Invalid,
}

/// Signs `body` as this Island.
#[must_use]
pub fn sign(identity: &Identity, body: ReceiptBody) -> SignedReceipt {
    SignedReceipt {
        body,
        island_signature: identity.sign(&body.signed_bytes()),
        island_public_key: identity.public_key(),
        countersignature: None,
    }
}

/// Checks that `receipt` is this Island's and that the exchange of that key countersigned it.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_countersigned(
    receipt: &SignedReceipt,
    identity: &Identity,
    exchange: &VerifyingKey,
) -> Result<(), CountersignatureError> {
    let Some((signature, key)) = receipt.countersignature else {
        return Err(CountersignatureError::Missing);
    };
    if key != exchange.to_bytes() {
        return Err(CountersignatureError::OtherKey);
    }
    let mut bytes = receipt.body.signed_bytes();
    // Signatures are deterministic, so this Island's own over this body is known.
    if receipt.island_public_key != identity.public_key() || receipt.island_signature != identity.sign(&bytes)
    {
        return Err(CountersignatureError::NotOurs);
    }
    bytes.extend_from_slice(&receipt.island_signature);
    exchange
        .verify_strict(&bytes, &Signature::from_bytes(&signature))
        .map_err(|_| CountersignatureError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ChainHead, Digest, JobId, LeaseEpoch, LeaseId, Price, ReceiptKind, Timestamp, TokenCount};
    use ed25519_dalek::{Signer, SigningKey};

    fn body() -> ReceiptBody {
        ReceiptBody {
            kind: ReceiptKind::Final,
            job: JobId::new(1),
            lease: LeaseId::new(2),
            epoch: LeaseEpoch::FIRST,
            model: Digest::of(b"weights"),
            prompt: Digest::of_tokens(&[1]),
            prompt_tokens: TokenCount::new(1),
            output_tokens: TokenCount::new(3),
            chain: ChainHead::start(LeaseId::new(2), LeaseEpoch::FIRST),
            started_at: Timestamp::from_micros(1),
            signed_at: Timestamp::from_micros(2),
            price: Price::MIN,
        }
    }

    fn countersigned(identity: &Identity, exchange: &SigningKey) -> SignedReceipt {
        let mut receipt = sign(identity, body());
        let mut bytes = receipt.body.signed_bytes();
        bytes.extend_from_slice(&receipt.island_signature);
        let signature = exchange.sign(&bytes).to_bytes();
        receipt.countersignature = Some((signature, exchange.verifying_key().to_bytes()));
        receipt
    }

    #[test]
    fn only_the_exchange_of_the_enrolment_countersigns_what_the_island_signed() {
        let identity = Identity::from_seed([7; 32]);
        let exchange = SigningKey::from_bytes(&[8; 32]);
        let key = exchange.verifying_key();
        let good = countersigned(&identity, &exchange);
        assert_eq!(verify_countersigned(&good, &identity, &key), Ok(()));

        let missing = SignedReceipt {
            countersignature: None,
            ..good
        };
        assert_eq!(
            verify_countersigned(&missing, &identity, &key),
            Err(CountersignatureError::Missing)
        );
        let stranger = countersigned(&identity, &SigningKey::from_bytes(&[9; 32]));
        assert_eq!(
            verify_countersigned(&stranger, &identity, &key),
            Err(CountersignatureError::OtherKey)
        );
        let others = countersigned(&Identity::from_seed([6; 32]), &exchange);
        assert_eq!(
            verify_countersigned(&others, &identity, &key),
            Err(CountersignatureError::NotOurs)
        );
        let mut altered = good;
        altered.body.output_tokens = TokenCount::new(4);
        assert_eq!(
            verify_countersigned(&altered, &identity, &key),
            Err(CountersignatureError::NotOurs)
        );
        let mut forged = good;
        forged.countersignature = Some(([1; 64], key.to_bytes()));
        assert_eq!(
            verify_countersigned(&forged, &identity, &key),
            Err(CountersignatureError::Invalid)
        );
    }
}
