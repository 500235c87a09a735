//! Receipts with their signatures.

use domain::{ChainHead, LeaseEpoch, ReceiptBody, ReceiptKind, Timestamp, TokenCount};

use super::error::{FieldError, FieldResult};
use super::values::{digest_from_wire, id_from_wire, price_from_wire, required};
use crate::types::v1 as wire;

/// A receipt and the signatures that came with it; an absent one is `None`. Nothing is verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// What was signed.
    pub body: ReceiptBody,
    /// The Island's signature over the body's bytes.
    pub island_signature: [u8; 64],
    /// The Island's public key.
    pub island_public_key: [u8; 32],
    /// The exchange's signature over the body's bytes followed by the Island's signature, and its public key.
    pub countersignature: Option<([u8; 64], [u8; 32])>,
}

fn bytes<const N: usize>(field: &str, bytes: &[u8]) -> FieldResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| FieldError::new(field, format!("must be {N} bytes")))
}

/// A receipt from the wire.
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn receipt_from_wire(field: &str, receipt: Option<wire::SignedReceipt>) -> FieldResult<SignedReceipt> {
    let receipt = required(field, receipt)?;
    let body = required("body", receipt.body).map_err(|error| error.within(field))?;
    let countersignature = if receipt.exchange_signature.is_empty() {
        None
    } else {
        Some((
            bytes(
                &format!("{field}.exchange_signature"),
                &receipt.exchange_signature,
            )?,
            bytes(
                &format!("{field}.exchange_public_key"),
                &receipt.exchange_public_key,
            )?,
        ))
    };
    Ok(SignedReceipt {
        body: body_from_wire(body).map_err(|error| error.within("body").within(field))?,
        island_signature: bytes(&format!("{field}.island_signature"), &receipt.island_signature)?,
        island_public_key: bytes(&format!("{field}.island_public_key"), &receipt.island_public_key)?,
        countersignature,
    })
}

fn body_from_wire(body: wire::ReceiptBody) -> FieldResult<ReceiptBody> {
    let kind = match body.kind() {
        wire::ReceiptKind::Unspecified => return Err(FieldError::new("kind", "is required")),
        wire::ReceiptKind::Checkpoint => ReceiptKind::Checkpoint,
        wire::ReceiptKind::Final => ReceiptKind::Final,
    };
    let epoch = u8::try_from(body.epoch).map_err(|_| FieldError::new("epoch", "must be below 256"))?;
    Ok(ReceiptBody {
        kind,
        job: id_from_wire("job_id", &body.job_id)?,
        lease: id_from_wire("lease_id", &body.lease_id)?,
        epoch: LeaseEpoch::new(epoch),
        model: digest_from_wire("model_digest", &body.model_digest)?,
        prompt: digest_from_wire("prompt_digest", &body.prompt_digest)?,
        prompt_tokens: TokenCount::new(body.prompt_tokens),
        output_tokens: TokenCount::new(body.output_tokens),
        chain: ChainHead::from_digest(digest_from_wire("chain_head", &body.chain_head)?),
        started_at: Timestamp::from_micros(body.started_at_us),
        signed_at: Timestamp::from_micros(body.signed_at_us),
        price: price_from_wire("price", body.price)?,
    })
}

/// A receipt on the wire.
#[must_use]
pub fn receipt_to_wire(receipt: &SignedReceipt) -> wire::SignedReceipt {
    let body = &receipt.body;
    let kind = match body.kind {
        ReceiptKind::Checkpoint => wire::ReceiptKind::Checkpoint,
        ReceiptKind::Final => wire::ReceiptKind::Final,
    };
    let (exchange_signature, exchange_public_key) = receipt
        .countersignature
        .map_or_else(Default::default, |(signature, key)| {
            (signature.to_vec(), key.to_vec())
        });
    wire::SignedReceipt {
        body: Some(wire::ReceiptBody {
            kind: kind.into(),
            job_id: body.job.to_string(),
            lease_id: body.lease.to_string(),
            epoch: body.epoch.get().into(),
            model_digest: body.model.as_bytes().to_vec(),
            prompt_digest: body.prompt.as_bytes().to_vec(),
            prompt_tokens: body.prompt_tokens.get(),
            output_tokens: body.output_tokens.get(),
            chain_head: body.chain.digest().as_bytes().to_vec(),
            started_at_us: body.started_at.as_micros(),
            signed_at_us: body.signed_at.as_micros(),
            price: body.price.get(),
        }),
        island_signature: receipt.island_signature.to_vec(),
        exchange_signature,
        island_public_key: receipt.island_public_key.to_vec(),
        exchange_public_key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Digest, JobId, LeaseId, OrderId, Price};

    fn receipt() -> SignedReceipt {
        SignedReceipt {
            body: ReceiptBody {
                kind: ReceiptKind::Final,
                job: JobId::of_order(OrderId::new(9), 3),
                lease: LeaseId::new(4),
                epoch: LeaseEpoch::new(1),
                model: Digest::of(b"weights"),
                prompt: Digest::of_tokens(&[1, 2]),
                prompt_tokens: TokenCount::new(2),
                output_tokens: TokenCount::new(7),
                chain: ChainHead::start(LeaseId::new(4), LeaseEpoch::new(1)),
                started_at: Timestamp::from_micros(1),
                signed_at: Timestamp::from_micros(2),
                price: Price::MIN,
            },
            island_signature: [1; 64],
            island_public_key: [2; 32],
            countersignature: Some(([3; 64], [4; 32])),
        }
    }

    #[test]
    fn a_receipt_reads_back_as_it_was_written() {
        let receipt = receipt();
        assert_eq!(
            receipt_from_wire("receipt", Some(receipt_to_wire(&receipt))),
            Ok(receipt)
        );
    }

    #[test]
    fn a_malformed_receipt_names_the_field() {
        let broken = |change: fn(&mut wire::SignedReceipt)| {
            let mut receipt = receipt_to_wire(&receipt());
            change(&mut receipt);
            receipt_from_wire("receipt", Some(receipt)).unwrap_err().field
        };
        assert_eq!(broken(|r| r.body = None), "receipt.body");
        assert_eq!(
            broken(|r| r.island_signature = vec![0; 63]),
            "receipt.island_signature"
        );
        assert_eq!(
            broken(|r| r.exchange_public_key.clear()),
            "receipt.exchange_public_key"
        );
        assert_eq!(
            broken(|r| r.body.as_mut().unwrap().epoch = 256),
            "receipt.body.epoch"
        );
        assert_eq!(
            broken(|r| r.body.as_mut().unwrap().price = 0),
            "receipt.body.price"
        );
        assert_eq!(
            broken(|r| r.body.as_mut().unwrap().lease_id = "ord_1".into()),
            "receipt.body.lease_id"
        );
        assert_eq!(broken(|r| r.body.as_mut().unwrap().kind = 0), "receipt.body.kind");
    }
}
