//! One table from what went wrong to the gRPC status and the stable code. Each code has a page in `docs/errors/`.

use std::collections::HashMap;

use ledger::Refusal;
use proto::convert::FieldError;
use service::errors::{bad_field, status, status_with};
use tonic::{Code, Status};

use crate::store::{Rejection, StoreError};
use crate::writer::WriteError;

/// Whose codes these are.
pub const DOMAIN: &str = "atoll.billing";

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The caller did not prove himself.
    #[error("the service token is missing or wrong")]
    Unauthenticated,
    /// Refused by the rules.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No such key.
    #[error("no key has this hash")]
    UnknownSecret,
    /// The key was revoked.
    #[error("the key with this hash was revoked")]
    RevokedSecret,
    /// Nobody may sign up by himself.
    #[error("nobody may sign up here; ask the operator for an account")]
    SignUpOff,
    /// The key has expired.
    #[error("the key with this hash has expired")]
    ExpiredSecret,
    /// Not written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Not read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// More lines than a statement may have.
    #[error("the statement has too many lines; ask for shorter spans of time")]
    StatementTooLong,
    /// The system has no randomness.
    #[error("could not make a secret")]
    NoRandomness,
    /// The store answered what it was not asked.
    #[error("the store gave an outcome that does not fit the change")]
    WrongOutcome,
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        match error {
            ApiError::Field(error) => bad_field(DOMAIN, &error.field, &error.problem),
            ApiError::Unauthenticated => {
                status(Code::Unauthenticated, "SERVICE_TOKEN_REQUIRED", DOMAIN, message)
            }
            ApiError::Rejected(rejection) => rejected(&rejection),
            ApiError::UnknownSecret => status(Code::NotFound, "UNKNOWN_KEY", DOMAIN, message),
            ApiError::StatementTooLong => status(Code::OutOfRange, "STATEMENT_TOO_LONG", DOMAIN, message),
            ApiError::RevokedSecret => status(Code::PermissionDenied, "REVOKED_API_KEY", DOMAIN, message),
            ApiError::SignUpOff => status(Code::FailedPrecondition, "SIGN_UP_OFF", DOMAIN, message),
            ApiError::ExpiredSecret => status(Code::PermissionDenied, "EXPIRED_API_KEY", DOMAIN, message),
            ApiError::Write(WriteError::Busy) => status(Code::ResourceExhausted, "TOO_BUSY", DOMAIN, message),
            ApiError::Write(WriteError::Stopped) => status(Code::Unavailable, "STOPPING", DOMAIN, message),
            ApiError::Write(WriteError::Store(error)) | ApiError::Read(error) => store(&error),
            ApiError::NoRandomness | ApiError::WrongOutcome => {
                tracing::error!(message, "a call failed");
                status(Code::Internal, "INTERNAL", DOMAIN, message)
            }
        }
    }
}

fn rejected(rejection: &Rejection) -> Status {
    let (code, metadata) = match rejection {
        Rejection::Ledger(refusal) => (refused(*refusal), details(*refusal)),
        Rejection::RequestDiffers => (Code::AlreadyExists, HashMap::new()),
        Rejection::UnknownAccount(_)
        | Rejection::UnknownKey(_)
        | Rejection::UnknownPayout(_)
        | Rejection::UnknownJob(_)
        | Rejection::UnknownReset
        | Rejection::UnknownSettlement(_) => (Code::NotFound, HashMap::new()),
        Rejection::PayoutTooSmall | Rejection::ExpiryPassed | Rejection::ResetPassed => {
            (Code::InvalidArgument, HashMap::new())
        }
        Rejection::PayoutToday | Rejection::TooManyKeys | Rejection::SignUpsToday => {
            (Code::ResourceExhausted, HashMap::new())
        }
        Rejection::AlreadyRotated { successor } => (
            Code::FailedPrecondition,
            HashMap::from([("successor_key_id".to_owned(), successor.to_string())]),
        ),
        Rejection::NotEarned { left } | Rejection::RefundTooLarge { left } => {
            let left = left.as_nano().to_string();
            (
                Code::FailedPrecondition,
                HashMap::from([("left_nano".to_owned(), left)]),
            )
        }
        Rejection::NotNextToMature
        | Rejection::PayoutState(_)
        | Rejection::ResetAnnounced
        | Rejection::KeyRevoked(_)
        | Rejection::KeyExpired(_) => (Code::FailedPrecondition, HashMap::new()),
    };
    status_with(code, rejection.code(), DOMAIN, rejection.to_string(), metadata)
}

fn refused(refusal: Refusal) -> Code {
    match refusal {
        Refusal::NoLegs
        | Refusal::TooManyLegs { .. }
        | Refusal::AmountNotPositive { .. }
        | Refusal::WrongAccounts { .. }
        | Refusal::DuplicateLeg { .. }
        | Refusal::EmptyRange { .. } => Code::InvalidArgument,
        Refusal::TransferDiffers { .. } => Code::AlreadyExists,
        Refusal::UnknownAccount { .. } | Refusal::UnknownPending { .. } => Code::NotFound,
        Refusal::NotPending { .. }
        | Refusal::PendingDiffers { .. }
        | Refusal::AlreadyPosted { .. }
        | Refusal::AlreadyVoided { .. }
        | Refusal::InsufficientFunds { .. } => Code::FailedPrecondition,
        Refusal::CounterOverflow { .. } => Code::OutOfRange,
    }
}

/// What a program needs beside the code.
fn details(refusal: Refusal) -> HashMap<String, String> {
    match refusal {
        Refusal::InsufficientFunds {
            spendable, wanted, ..
        } => HashMap::from([
            ("spendable_nano".to_owned(), spendable.as_nano().to_string()),
            ("wanted_nano".to_owned(), wanted.as_nano().to_string()),
        ]),
        Refusal::NoLegs
        | Refusal::TooManyLegs { .. }
        | Refusal::AmountNotPositive { .. }
        | Refusal::WrongAccounts { .. }
        | Refusal::DuplicateLeg { .. }
        | Refusal::EmptyRange { .. }
        | Refusal::TransferDiffers { .. }
        | Refusal::UnknownAccount { .. }
        | Refusal::UnknownPending { .. }
        | Refusal::NotPending { .. }
        | Refusal::PendingDiffers { .. }
        | Refusal::AlreadyPosted { .. }
        | Refusal::AlreadyVoided { .. }
        | Refusal::CounterOverflow { .. } => HashMap::new(),
    }
}

fn store(error: &StoreError) -> Status {
    // The database's own words are for the log: they may name files and rows.
    tracing::error!(%error, cause = ?std::error::Error::source(error), "the store failed");
    match error {
        StoreError::Unavailable { .. } => {
            status(Code::Unavailable, "STORE_UNAVAILABLE", DOMAIN, error.to_string())
        }
        StoreError::Refused { .. } => status(Code::Internal, "STORE_REFUSED", DOMAIN, error.to_string()),
        StoreError::Damaged { .. } => status(
            Code::DataLoss,
            "STORE_DAMAGED",
            DOMAIN,
            "the database is damaged; the log says where",
        ),
    }
}
