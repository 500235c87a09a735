//! The hash chain over the transfers: each batch's transfers are sealed together with the seal before.
//!
//! Whoever knows a seal's hash can tell whether anything that was booked up to there was changed, moved, added or taken
//! away since. A seal is written in the transaction of the transfers that it covers. It is computed here and not by the
//! database, so that the same facts make the same chain in every store.

use ledger::{Mode, Transfer};
use sha2::{Digest as _, Sha256};

use super::BookedTransfer;

/// A SHA-256.
pub type Digest = [u8; 32];

/// What every seal begins with: no other hash of ours can be taken for one.
const DOMAIN: &[u8] = b"atoll-seal-v1\0";

/// The hash over transfers that follow one another, and over the seal before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The number of the first transfer that it covers.
    pub first: u64,
    /// The number of the last one.
    pub through: u64,
    /// The hash.
    pub hash: Digest,
}

/// Where the chain ended at some moment: whoever knows it can tell whether anything before was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The number of the last transfer that is sealed.
    pub through: u64,
    /// The last seal's hash.
    pub hash: Digest,
}

impl Seal {
    /// The seal over these transfers, which follow one another; none over none.
    #[must_use]
    pub fn over(previous: Digest, transfers: &[BookedTransfer]) -> Option<Self> {
        let (first, last) = (transfers.first()?, transfers.last()?);
        let mut sealing = Sealing::after(previous);
        for transfer in transfers {
            sealing.add(transfer);
        }
        Some(Self {
            first: first.number,
            through: last.number,
            hash: sealing.finish(),
        })
    }
}

/// A seal in the making, for more transfers than fit in memory.
#[derive(Clone, Debug)]
pub struct Sealing(Sha256);

impl Sealing {
    /// Begins the seal that follows one with that hash.
    #[must_use]
    pub fn after(previous: Digest) -> Self {
        let mut sha = Sha256::new();
        sha.update(DOMAIN);
        sha.update(previous);
        Self(sha)
    }

    /// Adds the next transfer.
    pub fn add(&mut self, booked: &BookedTransfer) {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&booked.number.to_be_bytes());
        bytes.extend_from_slice(&booked.at.as_micros().to_be_bytes());
        encode(&booked.transfer, &mut bytes);
        self.0.update(bytes);
    }

    /// The hash over all that was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// A transfer in bytes, such that two different ones never make the same: what varies in length says its length.
fn encode(transfer: &Transfer, bytes: &mut Vec<u8>) {
    let Transfer {
        id,
        kind,
        mode,
        debit,
        credit,
        amount,
        job,
        memo,
    } = transfer;
    bytes.extend_from_slice(&id.get().to_be_bytes());
    text(kind.name(), bytes);
    bytes.push(Mode::code(*mode));
    bytes.extend_from_slice(&mode.resolves().map_or(0, |id| id.get()).to_be_bytes());
    bytes.extend_from_slice(&debit.number().to_be_bytes());
    bytes.extend_from_slice(&credit.number().to_be_bytes());
    bytes.extend_from_slice(&amount.as_nano().to_be_bytes());
    bytes.push(u8::from(job.is_some()));
    bytes.extend_from_slice(&job.map_or(0, |job| job.get()).to_be_bytes());
    text(memo, bytes);
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    let length = u64::try_from(text.len()).expect("a length fits 64 bits");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AccountId, Credits, JobId, Timestamp, TransferId};
    use ledger::{AccountKey, Owner, TransferKind};

    fn booked() -> BookedTransfer {
        let owner = Owner::new(AccountId::new(1)).unwrap();
        BookedTransfer {
            number: 1,
            at: Timestamp::from_micros(5),
            transfer: Transfer {
                id: TransferId::new(7),
                kind: TransferKind::Grant,
                mode: Mode::Plain,
                debit: AccountKey::Grants,
                credit: AccountKey::Available(owner),
                amount: Credits::from_nano(9),
                job: None,
                memo: "hello".into(),
            },
        }
    }

    #[test]
    fn every_field_counts() {
        let same = booked();
        let seal = |booked: &BookedTransfer| Seal::over([0; 32], std::slice::from_ref(booked)).unwrap().hash;
        let other = Owner::new(AccountId::new(2)).unwrap();
        let changed: [fn(&mut BookedTransfer, Owner); 10] = [
            |booked, _| booked.number = 2,
            |booked, _| booked.at = Timestamp::from_micros(6),
            |booked, _| booked.transfer.id = TransferId::new(8),
            |booked, _| booked.transfer.kind = TransferKind::Return,
            |booked, _| booked.transfer.mode = Mode::Pending,
            |booked, _| booked.transfer.debit = AccountKey::Fees,
            |booked, other| booked.transfer.credit = AccountKey::Available(other),
            |booked, _| booked.transfer.amount = Credits::from_nano(10),
            |booked, _| booked.transfer.job = Some(JobId::new(0)),
            |booked, _| booked.transfer.memo = "hell".into(),
        ];
        for (index, change) in changed.into_iter().enumerate() {
            let mut different = same.clone();
            change(&mut different, other);
            assert_ne!(seal(&same), seal(&different), "{index}");
        }
        assert_ne!(
            Seal::over([1; 32], std::slice::from_ref(&same)).unwrap().hash,
            seal(&same),
            "the seal before"
        );
        assert_eq!(Seal::over([0; 32], &[]), None);
    }
}
