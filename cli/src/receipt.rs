//! Checks receipts from the tokens that arrived and the two signatures.
//!
//! That proves that one holder of the Island's key and one of the exchange's signed for exactly these tokens. It does not prove
//! who they are: both keys come with the receipt.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use domain::{ChainHead, LeaseId, ReceiptKind};
use ed25519_dalek::{Signature, VerifyingKey};
use proto::convert::{SignedReceipt, receipt_from_wire};
use proto::exchange::v1::Bill;
use proto::types::v1 as wire;

/// The token ids that arrived, by the lease under which they were emitted.
pub(crate) type Emitted = BTreeMap<LeaseId, Vec<u32>>;

/// Verifies a receipt against the tokens that arrived under its lease.
///
/// # Errors
/// When a signature does not verify, the receipt is not countersigned, or it claims other tokens than arrived.
pub(crate) fn verify(receipt: wire::SignedReceipt, emitted: &Emitted) -> Result<SignedReceipt> {
    let receipt = receipt_from_wire("receipt", Some(receipt))?;
    let Some((countersignature, exchange_key)) = receipt.countersignature else {
        bail!("the exchange has not countersigned it")
    };
    let mut bytes = receipt.body.signed_bytes();
    check(&receipt.island_public_key, &bytes, &receipt.island_signature)
        .context("the Island's signature is wrong")?;
    bytes.extend_from_slice(&receipt.island_signature);
    check(&exchange_key, &bytes, &countersignature).context("the exchange's signature is wrong")?;

    let ids = emitted.get(&receipt.body.lease).map_or(&[][..], Vec::as_slice);
    let claimed = usize::try_from(receipt.body.output_tokens.get()).context("too many tokens")?;
    ensure!(
        claimed <= ids.len(),
        "it claims {claimed} tokens, {} arrived",
        ids.len()
    );
    if receipt.body.kind == ReceiptKind::Final {
        ensure!(
            claimed == ids.len(),
            "it claims {claimed} tokens, {} arrived",
            ids.len()
        );
    }
    let start = ChainHead::start(receipt.body.lease, receipt.body.epoch);
    let chain = ids[..claimed].iter().fold(start, |head, id| head.extend(*id));
    ensure!(
        chain == receipt.body.chain,
        "its hash chain is of other tokens than arrived"
    );
    Ok(receipt)
}

/// Compares a bill with the receipts of its job, which were verified: each segment was signed for by its Island, at its
/// price and for no fewer tokens than are billed, and the segments' charges are the bill's.
///
/// # Errors
/// Says what differs.
pub(crate) fn check_bill(bill: &Bill, receipts: &[SignedReceipt]) -> Result<()> {
    for segment in &bill.segments {
        let lease: LeaseId = segment
            .lease_id
            .parse()
            .context("the bill names a malformed lease")?;
        let signed = receipts
            .iter()
            .map(|receipt| &receipt.body)
            .filter(|body| body.lease == lease)
            .max_by_key(|body| body.output_tokens)
            .with_context(|| format!("no receipt covers the segment of {lease}"))?;
        ensure!(
            signed.price.get() == segment.price,
            "{lease} is billed at {} and was signed for at {}",
            segment.price,
            signed.price.get()
        );
        ensure!(
            segment.output_tokens <= signed.output_tokens.get(),
            "{lease} is billed for {} tokens and was signed for with {}",
            segment.output_tokens,
            signed.output_tokens.get()
        );
    }
    let charges = bill.segments.iter().map(|segment| segment.charge_nano);
    let sum = charges
        .into_iter()
        .try_fold(0_i64, i64::checked_add)
        .context("the charges do not fit")?;
    ensure!(
        sum == bill.charge_nano,
        "the segments' charges are {sum}, the bill's is {}",
        bill.charge_nano
    );
    Ok(())
}

fn check(key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> Result<()> {
    let key = VerifyingKey::from_bytes(key).context("not a public key")?;
    key.verify_strict(bytes, &Signature::from_bytes(signature))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Digest, JobId, LeaseEpoch, OrderId, Price, ReceiptBody, Timestamp, TokenCount};
    use ed25519_dalek::{Signer, SigningKey};
    use proto::convert::receipt_to_wire;
    use proto::exchange::v1::Segment;

    fn signed(ids: &[u32]) -> wire::SignedReceipt {
        let (island, exchange) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let (lease, epoch) = (LeaseId::new(1), LeaseEpoch::FIRST);
        let body = ReceiptBody {
            kind: ReceiptKind::Final,
            job: JobId::of_order(OrderId::new(1), 0),
            lease,
            epoch,
            model: Digest::of(b"m"),
            prompt: Digest::of_tokens(&[7]),
            prompt_tokens: TokenCount::new(1),
            output_tokens: TokenCount::new(u32::try_from(ids.len()).unwrap()),
            chain: ids
                .iter()
                .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id)),
            started_at: Timestamp::ZERO,
            signed_at: Timestamp::ZERO,
            price: Price::MIN,
        };
        let mut bytes = body.signed_bytes();
        let island_signature = island.sign(&bytes).to_bytes();
        bytes.extend_from_slice(&island_signature);
        receipt_to_wire(&SignedReceipt {
            body,
            island_signature,
            island_public_key: island.verifying_key().to_bytes(),
            countersignature: Some((
                exchange.sign(&bytes).to_bytes(),
                exchange.verifying_key().to_bytes(),
            )),
        })
    }

    fn arrived(ids: &[u32]) -> Emitted {
        Emitted::from([(LeaseId::new(1), ids.to_vec())])
    }

    #[test]
    fn a_receipt_of_what_arrived_is_accepted() {
        verify(signed(&[5, 6]), &arrived(&[5, 6])).unwrap();
    }

    #[test]
    fn a_receipt_of_anything_else_is_refused() {
        for ids in [&[5][..], &[5, 7], &[6, 5], &[5, 6, 7], &[]] {
            assert!(verify(signed(&[5, 6]), &arrived(ids)).is_err(), "{ids:?}");
        }
    }

    fn bill(change: impl FnOnce(&mut Bill)) -> Bill {
        let mut bill = Bill {
            charge_nano: 5,
            fee_nano: 0,
            segments: vec![Segment {
                lease_id: LeaseId::new(1).to_string(),
                price: Price::MIN.get(),
                output_tokens: 2,
                charge_nano: 5,
                ..Segment::default()
            }],
        };
        change(&mut bill);
        bill
    }

    #[test]
    fn a_bill_is_what_was_signed_for() {
        let receipts = [verify(signed(&[5, 6]), &arrived(&[5, 6])).unwrap()];
        check_bill(&bill(|_| {}), &receipts).unwrap();
        check_bill(&bill(|bill| bill.segments[0].output_tokens = 1), &receipts).unwrap();
        let wrong: [fn(&mut Bill); 5] = [
            |bill| bill.segments[0].output_tokens = 3,
            |bill| bill.segments[0].price += 1_000,
            |bill| bill.segments[0].lease_id = LeaseId::new(2).to_string(),
            |bill| bill.segments[0].charge_nano = 6,
            |bill| bill.charge_nano = 6,
        ];
        for change in wrong {
            assert!(check_bill(&bill(change), &receipts).is_err());
        }
    }

    #[test]
    fn a_forged_or_missing_signature_is_refused() {
        let mut forged = signed(&[5]);
        forged.island_signature[0] ^= 1;
        assert!(verify(forged, &arrived(&[5])).is_err());
        let mut forged = signed(&[5]);
        forged.exchange_signature[0] ^= 1;
        assert!(verify(forged, &arrived(&[5])).is_err());
        let mut alone = signed(&[5]);
        alone.exchange_signature.clear();
        assert!(verify(alone, &arrived(&[5])).is_err());
        let mut altered = signed(&[5]);
        altered.body.as_mut().unwrap().price += 1_000;
        assert!(verify(altered, &arrived(&[5])).is_err());
    }
}
