//! What the exchange asks of billing, both ways: the exchange writes these values, billing reads them.

mod keys;

use domain::{
    AccountId, Bill, Credits, IslandId, JobId, LeaseEpoch, LeaseId, Price, Sequence, ShardId, Standing,
    Timestamp, TransferId, UNITS_MAX, Units,
};

use super::error::{FieldError, FieldResult};
use super::values::{id_from_wire, liquidity_from_wire, liquidity_to_wire, price_from_wire, text_from_wire};
use crate::billing::v1 as wire;

pub use keys::{
    CreateKey, KeyScope, ROTATION_GRACE_MAX, RotateKey, SPENDING_TOTALS_MAX, SpendingLimit, SpendingTotal,
    create_key_from_wire, day_from_wire, rotate_key_from_wire, scope_from_wire, scope_to_wire,
    spending_from_wire, spending_limit_from_wire, spending_limit_to_wire, spending_report_from_wire,
    spending_to_wire,
};

/// The most settlements in one batch: a message of a quarter of a megabyte, and a transaction of a fraction of a
/// second.
pub const SETTLEMENTS_MAX: usize = 1_000;

/// The longest request id.
pub const REQUEST_ID_LENGTH_MAX: usize = 64;

/// The longest name of an account or a key.
pub const DISPLAY_NAME_LENGTH_MAX: usize = 100;

/// The longest reason for a grant.
pub const REASON_LENGTH_MAX: usize = 200;

/// The longest name of a model.
pub const MODEL_LENGTH_MAX: usize = 200;

/// Asks for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateAccount {
    /// The key of idempotence.
    pub request_id: String,
    /// A name for people.
    pub display_name: String,
}

/// Asks for credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantCredits {
    /// The key of idempotence.
    pub request_id: String,
    /// Who gets them.
    pub account: AccountId,
    /// How much; above zero.
    pub amount: Credits,
    /// Why.
    pub reason: String,
}

/// Asks for buying power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The key of idempotence.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// The shard that will spend it.
    pub shard: ShardId,
    /// At least so much; above zero.
    pub minimum: Credits,
    /// As much of this as there is; not below the minimum.
    pub wanted: Credits,
}

/// Asks to return buying power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnReserved {
    /// The key of idempotence.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// The shard that had it.
    pub shard: ShardId,
    /// How much; above zero.
    pub amount: Credits,
}

/// One ended lease. Its amounts are claims: billing computes them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The command that ended it.
    pub sequence: Sequence,
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Which attempt at the job.
    pub epoch: LeaseEpoch,
    /// The consumer.
    pub consumer: AccountId,
    /// The Island's owner.
    pub island_owner: AccountId,
    /// The Island.
    pub island: IslandId,
    /// The model.
    pub model: String,
    /// The execution price.
    pub price: Price,
    /// What the segment moves.
    pub bill: Bill,
    /// The job's exact bill before this segment, in thousandths of a nano-credit.
    pub billed_before_thousandths: u128,
    /// What the exchange pays for a job that it lost.
    pub compensation: Credits,
    /// How far the Island was trusted when the lease ended.
    pub standing: Standing,
}

/// A batch of ended leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleBatch {
    /// The shard whose journal they come from.
    pub shard: ShardId,
    /// The last command that the batch covers.
    pub through: Sequence,
    /// The settlements, in the order of the journal.
    pub settlements: Vec<Settlement>,
}

/// A shard.
///
/// # Errors
/// When the number does not fit.
pub fn shard_from_wire(field: &str, number: u32) -> FieldResult<ShardId> {
    u16::try_from(number)
        .map(ShardId::new)
        .map_err(|_| FieldError::new(field, "must be below 65536"))
}

/// A command's sequence.
///
/// # Errors
/// When it is beyond what a journal can reach.
pub fn sequence_from_wire(field: &str, number: u64) -> FieldResult<Sequence> {
    if i64::try_from(number).is_err() {
        return Err(FieldError::new(field, "must be below 2^63"));
    }
    Ok(Sequence::new(number))
}

/// An amount above zero.
///
/// # Errors
/// When it is zero or below.
pub fn amount_from_wire(field: &str, nano: i64) -> FieldResult<Credits> {
    if nano <= 0 {
        return Err(FieldError::new(field, "must be above 0"));
    }
    Ok(Credits::from_nano(nano))
}

/// See [`CreateAccount`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn create_account_from_wire(request: wire::CreateAccountRequest) -> FieldResult<CreateAccount> {
    Ok(CreateAccount {
        request_id: text_from_wire("request_id", request.request_id, REQUEST_ID_LENGTH_MAX)?,
        display_name: text_from_wire("display_name", request.display_name, DISPLAY_NAME_LENGTH_MAX)?,
    })
}

/// What a sign-up asks for: an account.
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn sign_up_from_wire(request: wire::SignUpRequest) -> FieldResult<CreateAccount> {
    Ok(CreateAccount {
        request_id: text_from_wire("request_id", request.request_id, REQUEST_ID_LENGTH_MAX)?,
        display_name: text_from_wire("display_name", request.display_name, DISPLAY_NAME_LENGTH_MAX)?,
    })
}

/// See [`GrantCredits`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn grant_from_wire(request: wire::GrantCreditsRequest) -> FieldResult<GrantCredits> {
    Ok(GrantCredits {
        request_id: text_from_wire("request_id", request.request_id, REQUEST_ID_LENGTH_MAX)?,
        account: id_from_wire("account_id", &request.account_id)?,
        amount: amount_from_wire("amount_nano", request.amount_nano)?,
        reason: text_from_wire("reason", request.reason, REASON_LENGTH_MAX)?,
    })
}

/// A moment; none if it is 0.
///
/// # Errors
/// When it is beyond what can be stored.
pub fn optional_time_from_wire(field: &str, micros: u64) -> FieldResult<Option<Timestamp>> {
    if i64::try_from(micros).is_err() {
        return Err(FieldError::new(field, "must be below 2^63"));
    }
    Ok((micros != 0).then_some(Timestamp::from_micros(micros)))
}

/// See [`Reserve`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn reserve_from_wire(request: &wire::ReserveRequest) -> FieldResult<Reserve> {
    let minimum = amount_from_wire("minimum_nano", request.minimum_nano)?;
    let wanted = amount_from_wire("wanted_nano", request.wanted_nano)?;
    if wanted < minimum {
        return Err(FieldError::new("wanted_nano", "must not be below minimum_nano"));
    }
    Ok(Reserve {
        transfer: exchanges_transfer_from_wire("transfer_id", &request.transfer_id)?,
        account: id_from_wire("account_id", &request.account_id)?,
        shard: shard_from_wire("shard", request.shard)?,
        minimum,
        wanted,
    })
}

/// A reservation on the wire.
#[must_use]
pub fn reserve_to_wire(reserve: &Reserve) -> wire::ReserveRequest {
    wire::ReserveRequest {
        transfer_id: reserve.transfer.to_string(),
        account_id: reserve.account.to_string(),
        shard: u32::from(reserve.shard.get()),
        minimum_nano: reserve.minimum.as_nano(),
        wanted_nano: reserve.wanted.as_nano(),
    }
}

/// See [`ReturnReserved`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn return_from_wire(request: &wire::ReturnReservedRequest) -> FieldResult<ReturnReserved> {
    Ok(ReturnReserved {
        transfer: exchanges_transfer_from_wire("transfer_id", &request.transfer_id)?,
        account: id_from_wire("account_id", &request.account_id)?,
        shard: shard_from_wire("shard", request.shard)?,
        amount: amount_from_wire("amount_nano", request.amount_nano)?,
    })
}

/// A return on the wire.
#[must_use]
pub fn return_to_wire(request: &ReturnReserved) -> wire::ReturnReservedRequest {
    wire::ReturnReservedRequest {
        transfer_id: request.transfer.to_string(),
        account_id: request.account.to_string(),
        shard: u32::from(request.shard.get()),
        amount_nano: request.amount.as_nano(),
    }
}

/// See [`SettleBatch`].
///
/// # Errors
/// Names the field that is missing or malformed, or says that there are more than [`SETTLEMENTS_MAX`].
pub fn settle_from_wire(request: wire::SettleRequest) -> FieldResult<SettleBatch> {
    if request.settlements.len() > SETTLEMENTS_MAX {
        return Err(FieldError::new(
            "settlements",
            format!("must be at most {SETTLEMENTS_MAX} in one batch"),
        ));
    }
    let settlements = request.settlements.into_iter().enumerate();
    Ok(SettleBatch {
        shard: shard_from_wire("shard", request.shard)?,
        through: sequence_from_wire("through_sequence", request.through_sequence)?,
        settlements: settlements
            .map(|(index, settlement)| {
                settlement_from_wire(settlement)
                    .map_err(|error| error.within(&format!("settlements[{index}]")))
            })
            .collect::<FieldResult<_>>()?,
    })
}

/// A batch on the wire.
#[must_use]
pub fn settle_to_wire(batch: &SettleBatch) -> wire::SettleRequest {
    wire::SettleRequest {
        shard: u32::from(batch.shard.get()),
        through_sequence: batch.through.get(),
        settlements: batch.settlements.iter().map(settlement_to_wire).collect(),
    }
}

fn settlement_from_wire(settlement: wire::Settlement) -> FieldResult<Settlement> {
    let epoch = u8::try_from(settlement.epoch).map_err(|_| FieldError::new("epoch", "must be below 256"))?;
    let sequence = sequence_from_wire("sequence", settlement.sequence)?;
    if sequence == Sequence::ZERO {
        return Err(FieldError::new("sequence", "must be above 0"));
    }
    let bill = Bill {
        units: units_from_wire("units", settlement.units)?,
        charge: Credits::from_nano(settlement.charge_nano),
        fee: Credits::from_nano(settlement.fee_nano),
        bid_liquidity: liquidity_from_wire("bid_liquidity", settlement.bid_liquidity)?,
        pool_subsidy: Credits::from_nano(settlement.pool_subsidy_nano),
    };
    Ok(Settlement {
        sequence,
        lease: id_from_wire("lease_id", &settlement.lease_id)?,
        job: id_from_wire("job_id", &settlement.job_id)?,
        epoch: LeaseEpoch::new(epoch),
        consumer: id_from_wire("consumer_account_id", &settlement.consumer_account_id)?,
        island_owner: id_from_wire("island_account_id", &settlement.island_account_id)?,
        island: id_from_wire("island_id", &settlement.island_id)?,
        model: text_from_wire("model", settlement.model, MODEL_LENGTH_MAX)?,
        price: price_from_wire("price", settlement.price)?,
        bill,
        billed_before_thousandths: thousandths_from_wire(
            "billed_before_thousandths",
            &settlement.billed_before_thousandths,
        )?,
        compensation: Credits::from_nano(settlement.compensation_nano),
        standing: standing_from_wire("island_standing", settlement.island_standing)?,
    })
}

fn settlement_to_wire(settlement: &Settlement) -> wire::Settlement {
    let bill = settlement.bill;
    wire::Settlement {
        sequence: settlement.sequence.get(),
        lease_id: settlement.lease.to_string(),
        job_id: settlement.job.to_string(),
        epoch: u32::from(settlement.epoch.get()),
        consumer_account_id: settlement.consumer.to_string(),
        island_account_id: settlement.island_owner.to_string(),
        island_id: settlement.island.to_string(),
        model: settlement.model.clone(),
        price: settlement.price.get(),
        units: bill.units.get(),
        charge_nano: bill.charge.as_nano(),
        fee_nano: bill.fee.as_nano(),
        bid_liquidity: liquidity_to_wire(bill.bid_liquidity).into(),
        pool_subsidy_nano: bill.pool_subsidy.as_nano(),
        compensation_nano: settlement.compensation.as_nano(),
        billed_before_thousandths: settlement.billed_before_thousandths.to_be_bytes().to_vec(),
        island_standing: standing_to_wire(settlement.standing).into(),
    }
}

/// An Island's standing; established if it is unspecified.
///
/// # Errors
/// When the number is unknown.
pub fn standing_from_wire(field: &str, number: i32) -> FieldResult<Standing> {
    let standing = wire::IslandStanding::try_from(number)
        .map_err(|_| FieldError::new(field, format!("{number} is not a known value")))?;
    Ok(match standing {
        wire::IslandStanding::Unspecified | wire::IslandStanding::Established => Standing::Established,
        wire::IslandStanding::Probation => Standing::Probation,
    })
}

/// An Island's standing on the wire.
#[must_use]
pub const fn standing_to_wire(standing: Standing) -> wire::IslandStanding {
    match standing {
        Standing::Established => wire::IslandStanding::Established,
        Standing::Probation => wire::IslandStanding::Probation,
    }
}

fn units_from_wire(field: &str, units: u64) -> FieldResult<Units> {
    if units > UNITS_MAX {
        return Err(FieldError::new(field, format!("must be at most {UNITS_MAX}")));
    }
    Ok(Units::new(units))
}

fn thousandths_from_wire(field: &str, bytes: &[u8]) -> FieldResult<u128> {
    if bytes.is_empty() {
        return Ok(0);
    }
    <[u8; 16]>::try_from(bytes)
        .map(u128::from_be_bytes)
        .map_err(|_| FieldError::new(field, "must be 16 bytes or empty"))
}

/// A transfer id that the exchange derived: billing keeps the upper half of the ids for its own.
fn exchanges_transfer_from_wire(field: &str, text: &str) -> FieldResult<TransferId> {
    let id: TransferId = id_from_wire(field, text)?;
    if id.get() >> 127 != 0 {
        return Err(FieldError::new(
            field,
            "must have 0 as its highest bit, the others are billing's",
        ));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Liquidity;

    fn batch() -> SettleBatch {
        let settlement = Settlement {
            sequence: Sequence::new(9),
            lease: LeaseId::new(3),
            job: JobId::new(u128::MAX),
            epoch: LeaseEpoch::new(1),
            consumer: AccountId::new(1),
            island_owner: AccountId::new(2),
            island: IslandId::new(4),
            model: "smollm2".into(),
            price: Price::new(20_000_000).unwrap(),
            bill: Bill {
                units: Units::new(1_500),
                charge: Credits::from_nano(30_000_000),
                fee: Credits::from_nano(600_000),
                bid_liquidity: Liquidity::Taker,
                pool_subsidy: Credits::from_nano(5),
            },
            billed_before_thousandths: 1 << 100,
            compensation: Credits::ZERO,
            standing: Standing::Probation,
        };
        SettleBatch {
            shard: ShardId::new(7),
            through: Sequence::new(10),
            settlements: vec![settlement],
        }
    }

    #[test]
    fn a_batch_reads_back_as_it_was_written() {
        assert_eq!(settle_from_wire(settle_to_wire(&batch())), Ok(batch()));
    }

    #[test]
    fn a_malformed_settlement_names_its_place_and_field() {
        let broken = |change: fn(&mut wire::Settlement)| {
            let mut request = settle_to_wire(&batch());
            change(&mut request.settlements[0]);
            settle_from_wire(request).unwrap_err().field
        };
        assert_eq!(broken(|s| s.lease_id = "job_1".into()), "settlements[0].lease_id");
        assert_eq!(broken(|s| s.price = 1), "settlements[0].price");
        assert_eq!(broken(|s| s.units = u64::MAX), "settlements[0].units");
        assert_eq!(broken(|s| s.epoch = 256), "settlements[0].epoch");
        assert_eq!(broken(|s| s.sequence = 0), "settlements[0].sequence");
        assert_eq!(broken(|s| s.sequence = u64::MAX), "settlements[0].sequence");
        assert_eq!(broken(|s| s.bid_liquidity = 0), "settlements[0].bid_liquidity");
        assert_eq!(broken(|s| s.model = String::new()), "settlements[0].model");
        assert_eq!(
            broken(|s| s.billed_before_thousandths = vec![0; 15]),
            "settlements[0].billed_before_thousandths"
        );
    }

    #[test]
    fn a_batch_has_a_bound() {
        let mut request = settle_to_wire(&batch());
        request.settlements = vec![request.settlements[0].clone(); SETTLEMENTS_MAX + 1];
        assert_eq!(settle_from_wire(request).unwrap_err().field, "settlements");
    }

    #[test]
    fn reservations_read_back_and_refuse_what_makes_no_sense() {
        let reserve = Reserve {
            transfer: TransferId::new(u128::MAX >> 1),
            account: AccountId::new(1),
            shard: ShardId::new(0),
            minimum: Credits::from_nano(5),
            wanted: Credits::from_nano(6),
        };
        assert_eq!(reserve_from_wire(&reserve_to_wire(&reserve)), Ok(reserve));
        let broken = |change: fn(&mut wire::ReserveRequest)| {
            let mut request = reserve_to_wire(&reserve);
            change(&mut request);
            reserve_from_wire(&request).unwrap_err().field
        };
        assert_eq!(broken(|r| r.minimum_nano = 0), "minimum_nano");
        assert_eq!(broken(|r| r.wanted_nano = -1), "wanted_nano");
        assert_eq!(broken(|r| r.wanted_nano = 4), "wanted_nano");
        assert_eq!(broken(|r| r.shard = 65_536), "shard");
        assert_eq!(
            broken(|r| r.transfer_id = TransferId::new(1 << 127).to_string()),
            "transfer_id"
        );
        let returned = ReturnReserved {
            transfer: TransferId::new(1),
            account: AccountId::new(1),
            shard: ShardId::new(3),
            amount: Credits::from_nano(5),
        };
        assert_eq!(return_from_wire(&return_to_wire(&returned)), Ok(returned));
    }
}
