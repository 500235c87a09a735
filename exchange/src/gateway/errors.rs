//! What every refusal is called on either wire: one table from stable codes to gRPC and HTTP.
//!
//! Over gRPC a code is the reason of an `ErrorInfo`; over HTTP the same in lower case is `error.code`. Each has a page
//! in `docs/errors/`. Clients in the field retry 408, 409, 429 and 5xx: whatever the market or the account decides is
//! none of these, or the client bids twice; only what passes by itself is.

mod table;

use std::collections::HashMap;
use std::time::Duration;

use domain::{KarmaBand, LeaseFailure, Price, Tier};
use matcher::{EndReason, RejectReason};
use proto::convert::FieldError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::halts::Trading;

pub use table::*;

/// The domain of our reasons over gRPC.
pub const ERROR_DOMAIN: &str = "atoll.exchange";

/// Whether the same request may succeed a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will not: something must change first.
    No,
    /// It may: nothing was done, and the cause passes.
    Yes,
}

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The stable code.
    pub code: &'static str,
    /// What it is over gRPC.
    pub grpc: Code,
    /// What it is over HTTP.
    pub http: u16,
    /// Whether trying again makes sense.
    pub retry: Retry,
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind.
    pub kind: Kind,
    /// What happened and what to do, for people.
    pub message: String,
    /// The field that is wrong, where one is, as the wire that it came over names it.
    pub field: Option<String>,
    /// What could be had instead.
    pub alternative: Option<Box<Alternative>>,
    /// Whether trying again makes sense: as of its kind, unless this cause never passes.
    pub retry: Retry,
    /// When the cause will have passed, where that is known.
    pub again_in: Option<Duration>,
}

/// What could be had instead of what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The region that quotes.
    pub region: String,
    /// Its tier.
    pub tier: Tier,
    /// Its karma.
    pub band: KarmaBand,
    /// Its best price.
    pub price: Price,
}

impl Kind {
    /// The code as HTTP clients see it.
    #[must_use]
    pub fn http_code(self) -> String {
        self.code.to_ascii_lowercase()
    }

    /// The class of error that OpenAI's clients know.
    #[must_use]
    pub fn http_type(self) -> &'static str {
        if self == KEY_SPENDING_LIMIT || self == USER_SPENDING_LIMIT {
            return "insufficient_quota";
        }
        match self.http {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            422 => "market_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// A refusal of this kind.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Refusal {
        Refusal {
            kind: self,
            message: message.into(),
            field: None,
            alternative: None,
            retry: self.retry,
            again_in: None,
        }
    }
}

impl Refusal {
    /// The same, about a field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, with when its cause will have passed.
    #[must_use]
    pub const fn again_in(mut self, span: Duration) -> Self {
        self.again_in = Some(span);
        self
    }

    /// The same, of a cause that does not pass by itself.
    #[must_use]
    pub const fn for_good(mut self) -> Self {
        self.retry = Retry::No;
        self
    }

    /// How long a client that may try again is told to wait.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let shortest = Duration::from_secs(RETRY_AFTER_SECONDS);
        self.again_in.map_or(shortest, |span| span.max(shortest))
    }

    /// The same, with what could be had instead.
    #[must_use]
    pub fn instead(mut self, alternative: Alternative) -> Self {
        self.alternative = Some(Box::new(alternative));
        self
    }

    /// What is shown of it: many clients print nothing but this, so it names the field too, as they know it.
    #[must_use]
    pub fn told_of(&self, field: Option<&str>) -> String {
        match field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// As a gRPC status with rich details.
    #[must_use]
    pub fn into_status(self) -> Status {
        let mut facts = HashMap::new();
        if let Some(alternative) = &self.alternative {
            facts.insert("alternative_region".to_owned(), alternative.region.clone());
            facts.insert("alternative_tier".to_owned(), alternative.tier.to_string());
            facts.insert("alternative_karma_band".to_owned(), alternative.band.to_string());
            facts.insert(
                "alternative_price".to_owned(),
                alternative.price.get().to_string(),
            );
        }
        let mut details = ErrorDetails::with_error_info(self.kind.code, ERROR_DOMAIN, facts);
        if let Some(field) = &self.field {
            details.add_bad_request_violation(field, &self.message);
        }
        if self.retry == Retry::Yes {
            details.set_retry_info(Some(self.patience()));
        }
        let message = self.told_of(self.field.as_deref());
        Status::with_error_details(self.kind.grpc, message, details)
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        INVALID_ARGUMENT.because(error.problem).at(error.field)
    }
}

/// What the engine's reason is called here, and what it means to whoever asked.
#[must_use]
pub const fn of_reject(reason: RejectReason) -> (Kind, &'static str) {
    match reason {
        RejectReason::RegionsConflict => (
            REGIONS_CONFLICT,
            "the region table drops or moves a region in use",
        ),
        RejectReason::InstrumentOutOfOrder => {
            (INSTRUMENT_OUT_OF_ORDER, "the instrument's id is not the next one")
        }
        RejectReason::UnknownInstrument => (UNKNOWN_INSTRUMENT, "there is no such instrument"),
        RejectReason::UnknownSession => (UNKNOWN_SESSION, "the gateway's session has ended; try again"),
        RejectReason::UnknownIsland => (UNKNOWN_ISLAND, "there is no such Island with a live session"),
        RejectReason::NotQuotable => (
            NOT_QUOTABLE,
            "the Island may not quote this model: its canary has not passed",
        ),
        RejectReason::UnknownRegion => (UNKNOWN_REGION, "the region table does not have this region"),
        RejectReason::NoRegion => (NO_REGION, "the bid may be filled nowhere: it names no region"),
        RejectReason::InvalidQuantity => (INVALID_QUANTITY, "no jobs, or too many"),
        RejectReason::InvalidUnits => (INVALID_UNITS, "no work, or more than one job may be"),
        RejectReason::InvalidTimeInForce => (INVALID_TIME_IN_FORCE, "this time in force makes no sense here"),
        RejectReason::DeadlinePassed => (
            DEADLINE_PASSED,
            "the deadline had passed when the bid reached the book",
        ),
        RejectReason::DuplicateClientOrderId => (
            DUPLICATE_CLIENT_ORDER_ID,
            "this client order id was used for another order; choose a new one",
        ),
        RejectReason::TooManyOrders => (TOO_MANY_ORDERS, "the account has as many orders as one may have"),
        RejectReason::OrderToTrade => (
            ORDER_TO_TRADE,
            "the account enters, cancels and amends too much for what it trades; wait a minute",
        ),
        RejectReason::TooManyClasses => (
            TOO_MANY_CLASSES,
            "the model has as many kinds of bids resting as it may; use terms that others use, or do not wait",
        ),
        RejectReason::OutsidePriceBand => (
            OUTSIDE_PRICE_BAND,
            "the limit is outside of the prices at which this model may trade now",
        ),
        RejectReason::Unservable => (UNSERVABLE, "no Island that quotes could ever fill this bid"),
        RejectReason::Halted => (HALTED, "trading in this model is halted; try again later"),
        RejectReason::Overflow => (OVERFLOW, "limit, units and jobs together are out of range"),
        RejectReason::InsufficientBuyingPower => (INSUFFICIENT_CREDITS, "the account has not enough credits"),
        RejectReason::NotFilled => (NOT_FILLED, "not all of it could be filled at once"),
        RejectReason::WouldTrade => (WOULD_TRADE, "it may only rest, and would have traded"),
        RejectReason::UnknownOrder => (UNKNOWN_ORDER, "there is no such order of yours, or it has ended"),
        RejectReason::NotLess => (NOT_LESS, "an amend leaves less than is left now, and not nothing"),
        RejectReason::UnknownLease => (UNKNOWN_LEASE, "there is no such lease, or it has ended"),
        RejectReason::NoSlot => (NO_SLOT, "the slot was given back before"),
        RejectReason::OverBilled => (OVER_BILLED, "that is more work than the lease may bill"),
        RejectReason::TooManyFailovers => (
            TOO_MANY_FAILOVERS,
            "the job was failed over as often as it may be",
        ),
        RejectReason::InvalidAmount => (INVALID_AMOUNT, "this is not a sum that can be moved"),
    }
}

/// What the end of an order without a trade is called, in a model that traded or did not at that moment.
#[must_use]
pub const fn of_end(reason: EndReason, trading: Trading) -> (Kind, &'static str) {
    match reason {
        EndReason::Cancelled => (CANCELLED, "the order was cancelled"),
        EndReason::Immediate => (
            NOT_FILLED,
            "nobody could take it at once at this price; raise the limit, or let it wait",
        ),
        EndReason::Expired => match trading {
            Trading::Open => (
                EXPIRED,
                "nobody took it in time at this price; raise the limit, or let it wait longer",
            ),
            // Not for its price, while nothing trades.
            Trading::Halted => (
                EXPIRED,
                "trading in this model is halted, so nobody could take it in time; let it wait longer, or try again \
                 when it trades",
            ),
        },
        EndReason::SessionLost => (
            SESSION_LOST,
            "the exchange restarted before the job began; nothing is charged",
        ),
        EndReason::DeadMan => (DEAD_MAN, "the session's dead-man switch fired"),
        EndReason::SelfTrade => (SELF_TRADE, "it met an order of the same owner"),
        EndReason::NotQuotable => (NOT_QUOTABLE, "the Island may no longer quote there"),
    }
}

/// What an Island's failure is called.
#[must_use]
pub const fn of_failure(failure: LeaseFailure) -> &'static str {
    match failure {
        LeaseFailure::NotAcknowledged => "NOT_ACKNOWLEDGED",
        LeaseFailure::NoFirstToken => "NO_FIRST_TOKEN",
        LeaseFailure::Stalled => "STALLED",
        LeaseFailure::Overran => "OVERRAN",
        LeaseFailure::SessionLost => "ISLAND_SESSION_LOST",
        LeaseFailure::Refused => "REFUSED",
        LeaseFailure::BadReceipt => "BAD_RECEIPT",
        LeaseFailure::Misbehaved => "MISBEHAVED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// Every variant of an enum without fields: the journal's format numbers them from 0.
    fn variants<T: DeserializeOwned>() -> Vec<T> {
        (0..128u8)
            .map_while(|number| postcard::from_bytes(&[number]).ok())
            .collect()
    }

    fn page(code: &str) -> std::path::PathBuf {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        root.join("../docs/errors").join(format!("{code}.md"))
    }

    #[test]
    fn every_code_has_a_page_that_says_what_to_do() {
        let failures = [
            LeaseFailure::NotAcknowledged,
            LeaseFailure::NoFirstToken,
            LeaseFailure::Stalled,
            LeaseFailure::Overran,
            LeaseFailure::SessionLost,
            LeaseFailure::Refused,
            LeaseFailure::BadReceipt,
            LeaseFailure::Misbehaved,
        ];
        let codes = KINDS.iter().map(|kind| kind.code).chain(failures.map(of_failure));
        for code in codes {
            let text = std::fs::read_to_string(page(code)).unwrap_or_default();
            assert!(
                text.starts_with(&format!("# {code}\n")),
                "docs/errors/{code}.md is missing"
            );
            assert!(
                text.contains("**What to do.**"),
                "docs/errors/{code}.md does not help"
            );
        }
    }

    #[test]
    fn the_engine_s_refusals_keep_their_codes_but_the_one_about_money() {
        let reasons: Vec<RejectReason> = variants();
        assert!(reasons.len() >= 28, "{}", reasons.len());
        for reason in reasons {
            let code = of_reject(reason).0.code;
            if reason == RejectReason::InsufficientBuyingPower {
                assert_eq!(code, "INSUFFICIENT_CREDITS");
            } else {
                assert_eq!(code, reason.code());
            }
        }
        assert!(variants::<EndReason>().len() >= 7);
    }

    #[test]
    fn what_must_not_be_bid_again_is_not_what_clients_retry() {
        for kind in KINDS {
            let retried_by_status = matches!(kind.http, 408 | 409 | 429 | 500..);
            match kind.retry {
                Retry::Yes => assert!(retried_by_status, "{}", kind.code),
                // Broken answers are the server's fault, and only the header can say that they cost something.
                Retry::No if matches!(kind.http, 500 | 502) => {}
                Retry::No => assert!(!retried_by_status, "{}", kind.code),
            }
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), KINDS.len());
    }

    #[test]
    fn a_status_carries_code_field_retry_and_alternative() {
        let alternative = Alternative {
            region: "us-east".to_owned(),
            tier: Tier::Laptop,
            band: KarmaBand::C,
            price: Price::MIN,
        };
        let status = UNSERVABLE.because("nobody").instead(alternative).into_status();
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("UNSERVABLE", ERROR_DOMAIN)
        );
        assert_eq!(info.metadata["alternative_price"], "1000");
        assert!(status.get_details_retry_info().is_none());
        let status = INVALID_ARGUMENT
            .because("is wrong")
            .at("terms.limit")
            .into_status();
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "terms.limit");
        assert!(
            STOPPING
                .because("x")
                .into_status()
                .get_details_retry_info()
                .is_some()
        );
    }
}
