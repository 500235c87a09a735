//! Calls to the billing service, typed, with timeouts and bounded retries.
//!
//! Invariants: every call ends within attempts × timeout; only calls that billing can tell a repetition of are
//! repeated; the service token is in the request's metadata and nowhere else.
//!
//! Deliberately absent: what to do without billing. Each caller decides that.

mod wallet;

use std::time::Duration;

use domain::{AccountId, Credits, KeyId, Sequence, ShardId, Timestamp, TransferId};
use proto::billing::v1 as wire;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::convert::billing::{
    CreateAccount, SettleBatch, SpendingTotal, optional_time_from_wire, reserve_to_wire, return_to_wire,
    scope_from_wire, sequence_from_wire, settle_to_wire, spending_from_wire, spending_limit_from_wire,
    spending_to_wire,
};
use proto::convert::{FieldError, FieldResult, id_from_wire};
use service::secret::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

pub use proto::convert::billing::{KeyScope, Reserve, ReturnReserved};
pub use wallet::CreatedKey;

use crate::backoff::Backoff;
use crate::identity::SpendingTerms;

/// How long one attempt at a small call may take: a hundred times what it usually does.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Settling a batch and reading a page of reservations may take so many times as long: a transaction over hundreds of
/// rows.
pub const BATCH_TIMEOUTS: u32 = 5;
/// How long an audit may take: minutes over tens of millions of transfers.
const AUDIT_TIMEOUT: Duration = Duration::from_mins(10);
/// Attempts at a call that may be repeated: enough for a restart of billing to pass unnoticed, few enough that a
/// consumer who waits for credits gets an answer.
pub const ATTEMPTS_MAX: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// What billing calls it when too many changes wait to be written.
const TOO_BUSY: &str = "TOO_BUSY";
/// An audit of a million accounts fits.
const MESSAGE_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// How billing is reached.
#[derive(Clone, Debug)]
pub struct BillingConfig {
    /// Its address, such as `http://127.0.0.1:8081`.
    pub address: String,
    /// The service token.
    pub token: Secret,
    /// How long one attempt at a small call may take; [`TIMEOUT`] if there is no reason for another.
    pub timeout: Duration,
}

/// A configuration that no client can be made from.
#[derive(Debug, thiserror::Error)]
pub enum BillingClientError {
    /// Not an address.
    #[error("billing's address is malformed")]
    Address(#[source] tonic::transport::Error),
    /// Not something that a header can carry.
    #[error("the service token has characters that a header cannot carry")]
    Token,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// Billing answered, and the answer is no. Asking again changes nothing.
    #[error("billing refused: {code}: {message}")]
    Refused {
        /// What it was refused as.
        grpc: Code,
        /// A stable code such as `UNKNOWN_KEY`, or the gRPC code's name where billing gave none.
        code: String,
        /// For people.
        message: String,
    },
    /// No answer, after all attempts. What was asked may have been done: ask again with the same id.
    #[error("billing is not to be reached: {message}")]
    Unavailable {
        /// For people.
        message: String,
    },
    /// An answer that makes no sense.
    #[error("billing's answer makes no sense: {message}")]
    Malformed {
        /// For people.
        message: String,
    },
}

impl From<FieldError> for BillingError {
    fn from(error: FieldError) -> Self {
        Self::Malformed {
            message: error.to_string(),
        }
    }
}

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The account.
    pub account: AccountId,
    /// The key.
    pub key: KeyId,
    /// What it may be used for.
    pub scope: KeyScope,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What may be spent with it.
    pub spending: SpendingTerms,
}

/// Somebody who signed up.
#[derive(Clone, Debug)]
pub struct SignedUp {
    /// His account.
    pub account: AccountId,
    /// His first key.
    pub key: KeyId,
    /// Its secret; none if the account was made before.
    pub secret: Option<Secret>,
    /// Whether the account was made before.
    pub made_before: bool,
    /// What he was granted.
    pub granted: Credits,
}

/// An account's balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Free to spend or to reserve.
    pub available: Credits,
    /// Reserved on shards.
    pub reserved: Credits,
    /// Earned and not yet matured.
    pub pending: Credits,
}

/// A transfer into or out of a reserved account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The transfer.
    pub transfer: TransferId,
    /// Whose.
    pub account: AccountId,
    /// How much; negative for a return.
    pub amount: Credits,
}

/// One page of a shard's reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationPage {
    /// Oldest first.
    pub reservations: Vec<Reservation>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// One page of what a shard's reserved accounts hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservedPage {
    /// By account; those that hold nothing are left out.
    pub balances: Vec<(AccountId, Credits)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What became of a batch of settlements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Everything up to here is covered.
    pub through: Sequence,
    /// What was refused and is kept for an operator.
    pub refusals: Vec<wire::SettlementRefusal>,
}

/// A typed client of the billing service. Cheap to clone; connects when first used.
#[derive(Clone, Debug)]
pub struct BillingClient {
    service: Service,
    timeout: Duration,
}

type Service = BillingServiceClient<InterceptedService<Channel, AddToken>>;

#[derive(Clone, Debug)]
struct AddToken(MetadataValue<Ascii>);

impl Interceptor for AddToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Whether billing can tell that a call repeats an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Never,
    Safe,
}

impl BillingClient {
    /// A client for the service at `config.address`; nothing is sent yet. Needs a runtime around it.
    ///
    /// # Errors
    /// When address or token are malformed.
    pub fn new(config: &BillingConfig) -> Result<Self, BillingClientError> {
        let endpoint = Endpoint::from_shared(config.address.clone())
            .map_err(BillingClientError::Address)?
            .connect_timeout(config.timeout)
            .tcp_nodelay(true);
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", config.token.expose())
            .parse()
            .map_err(|_| BillingClientError::Token)?;
        token.set_sensitive(true);
        let service = BillingServiceClient::with_interceptor(endpoint.connect_lazy(), AddToken(token))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            service,
            timeout: config.timeout,
        })
    }

    /// Tells whose key has this SHA-256.
    ///
    /// # Errors
    /// `Refused` for an unknown, a revoked or an expired key.
    pub async fn authenticate_key(&self, secret_sha256: [u8; 32]) -> Result<Authenticated, BillingError> {
        let request = wire::AuthenticateApiKeyRequest {
            secret_sha256: secret_sha256.to_vec(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.authenticate_api_key(request).await }
        };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        let limit = spending_limit_from_wire("spending_limit", answer.spending_limit.as_ref())?;
        Ok(Authenticated {
            account: id_from_wire("account_id", &answer.account_id)?,
            key: id_from_wire("key_id", &answer.key_id)?,
            spending: SpendingTerms {
                line: id_from_wire("line_key_id", &answer.line_key_id)?,
                key_per_day: limit.key_per_day,
                user_per_day: limit.user_per_day,
            },
            scope: scope_from_wire("scope", answer.scope)?,
            expires_at: optional_time_from_wire("expire_time_us", answer.expire_time_us)?,
        })
    }

    /// Makes an account; repeating the request id returns the same one.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn create_account(
        &self,
        request_id: &str,
        display_name: &str,
    ) -> Result<AccountId, BillingError> {
        let request = wire::CreateAccountRequest {
            request_id: request_id.to_owned(),
            display_name: display_name.to_owned(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.create_account(request).await }
        };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(id_from_wire("account_id", &answer.account_id)?)
    }

    /// Grants credits once per request id; returns what is available now.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn grant(
        &self,
        request_id: &str,
        account: AccountId,
        amount: Credits,
        reason: &str,
    ) -> Result<Credits, BillingError> {
        let request = wire::GrantCreditsRequest {
            request_id: request_id.to_owned(),
            account_id: account.to_string(),
            amount_nano: amount.as_nano(),
            reason: reason.to_owned(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.grant_credits(request).await }
        };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(Credits::from_nano(answer.available_nano))
    }

    /// Makes an account with a key and a grant for somebody who asks for it himself; repeating the request id returns the
    /// same one without its secret.
    ///
    /// # Errors
    /// `Refused` when nobody may sign up, or nobody any more today.
    pub async fn sign_up(&self, asked: CreateAccount) -> Result<SignedUp, BillingError> {
        let request = wire::SignUpRequest {
            request_id: asked.request_id,
            display_name: asked.display_name,
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.sign_up(request).await }
        };
        // Not repeated by itself: the answer to a second attempt has no secret, and the first may have been lost on its way.
        let answer = self.call(Repeat::Never, self.timeout, call).await?;
        Ok(SignedUp {
            account: id_from_wire("account_id", &answer.account_id)?,
            key: id_from_wire("key_id", &answer.key_id)?,
            secret: Some(answer.secret)
                .filter(|secret| !secret.is_empty())
                .map(Secret::new),
            made_before: answer.made_before,
            granted: Credits::from_nano(answer.granted_nano),
        })
    }

    /// Moves credits into a reserved account; returns how much.
    ///
    /// # Errors
    /// `Refused` when less than the minimum is available.
    pub async fn reserve(&self, reserve: Reserve) -> Result<Credits, BillingError> {
        let request = reserve_to_wire(&reserve);
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.reserve(request).await }
        };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        let amount = Credits::from_nano(answer.amount_nano);
        if amount < reserve.minimum || amount > reserve.wanted {
            return Err(BillingError::Malformed {
                message: format!(
                    "it reserved {amount}, not {} to {}",
                    reserve.minimum, reserve.wanted
                ),
            });
        }
        Ok(amount)
    }

    /// Moves credits back that the engine has given up.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn return_reserved(&self, returned: ReturnReserved) -> Result<(), BillingError> {
        let request = return_to_wire(&returned);
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.return_reserved(request).await }
        };
        self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(())
    }

    /// One page of a shard's reservations, oldest first, from where `after` says.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn list_reservations(
        &self,
        shard: ShardId,
        after: Option<&str>,
    ) -> Result<ReservationPage, BillingError> {
        let request = wire::ListReservationsRequest {
            shard: u32::from(shard.get()),
            page_size: 0,
            page_token: after.unwrap_or_default().to_owned(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.list_reservations(request).await }
        };
        let answer = self
            .call(Repeat::Safe, self.timeout.saturating_mul(BATCH_TIMEOUTS), call)
            .await?;
        let reservations = answer.reservations.iter().map(reservation_from_wire);
        Ok(ReservationPage {
            reservations: reservations.collect::<FieldResult<_>>()?,
            next: Some(answer.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// One page of what the accounts of a shard hold in reserve, from where `after` says.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn list_reserved_balances(
        &self,
        shard: ShardId,
        after: Option<&str>,
    ) -> Result<ReservedPage, BillingError> {
        let request = wire::ListReservedBalancesRequest {
            shard: u32::from(shard.get()),
            page_size: 0,
            page_token: after.unwrap_or_default().to_owned(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.list_reserved_balances(request).await }
        };
        let answer = self
            .call(Repeat::Safe, self.timeout.saturating_mul(BATCH_TIMEOUTS), call)
            .await?;
        let balances = answer.balances.iter().map(|balance| {
            let account = id_from_wire("account_id", &balance.account_id)?;
            Ok((account, Credits::from_nano(balance.amount_nano)))
        });
        Ok(ReservedPage {
            balances: balances.collect::<FieldResult<_>>()?,
            next: Some(answer.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// Books a batch of settlements.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn settle(&self, batch: &SettleBatch) -> Result<Settled, BillingError> {
        let request = settle_to_wire(batch);
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.settle(request).await }
        };
        let answer = self
            .call(Repeat::Safe, self.timeout.saturating_mul(BATCH_TIMEOUTS), call)
            .await?;
        Ok(Settled {
            through: sequence_from_wire("through_sequence", answer.through_sequence)?,
            refusals: answer.refusals,
        })
    }

    /// What was spent with a line of keys on a day, counted from 1970: in all, and by end user.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn spending_of(&self, line: KeyId, day: u32) -> Result<Vec<SpendingTotal>, BillingError> {
        let mut totals = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = wire::ListSpendingRequest {
                key_id: line.to_string(),
                day,
                page_size: 0,
                page_token,
            };
            let call = |mut service: Service| {
                let request = request.clone();
                async move { service.list_spending(request).await }
            };
            let answer = self.call(Repeat::Safe, self.timeout, call).await?;
            let page = answer.totals.iter().map(spending_from_wire);
            totals.extend(page.collect::<FieldResult<Vec<_>>>()?);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(totals);
            }
        }
    }

    /// Tells what was spent; at most [`proto::convert::billing::SPENDING_TOTALS_MAX`] at once.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn report_spending(&self, totals: &[SpendingTotal]) -> Result<(), BillingError> {
        let request = wire::ReportSpendingRequest {
            totals: totals.iter().map(spending_to_wire).collect(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.report_spending(request).await }
        };
        let timeout = self.timeout.saturating_mul(BATCH_TIMEOUTS);
        self.call(Repeat::Safe, timeout, call).await?;
        Ok(())
    }

    /// How far a shard is settled.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn cursor(&self, shard: ShardId) -> Result<Sequence, BillingError> {
        let request = wire::GetSettlementCursorRequest {
            shard: u32::from(shard.get()),
        };
        let call = |mut service: Service| async move { service.get_settlement_cursor(request).await };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(sequence_from_wire("through_sequence", answer.through_sequence)?)
    }

    /// An account's balances.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn balance(&self, account: AccountId) -> Result<Balance, BillingError> {
        let request = wire::GetBalanceRequest {
            account_id: account.to_string(),
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.get_balance(request).await }
        };
        let answer = self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(Balance {
            available: Credits::from_nano(answer.available_nano),
            reserved: Credits::from_nano(answer.reserved_nano),
            pending: Credits::from_nano(answer.pending_nano),
        })
    }

    /// Has billing prove its books. Reads all of them, so it takes as long as there are.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn audit(&self) -> Result<wire::AuditResponse, BillingError> {
        let call = |mut service: Service| async move { service.audit(wire::AuditRequest {}).await };
        self.call(Repeat::Never, AUDIT_TIMEOUT, call).await
    }

    async fn call<T, F>(
        &self,
        repeat: Repeat,
        timeout: Duration,
        attempt: impl Fn(Service) -> F + Send,
    ) -> Result<T, BillingError>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut attempts = 1;
        loop {
            let error = match tokio::time::timeout(timeout, attempt(self.service.clone())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => error_of(&status),
                Err(_) => BillingError::Unavailable {
                    message: format!("no answer within {timeout:?}"),
                },
            };
            let again = matches!(error, BillingError::Unavailable { .. }) && repeat == Repeat::Safe;
            if !again || attempts >= ATTEMPTS_MAX {
                return Err(error);
            }
            attempts += 1;
            tokio::time::sleep(backoff.delay()).await;
        }
    }
}

fn reservation_from_wire(reservation: &wire::Reservation) -> FieldResult<Reservation> {
    Ok(Reservation {
        transfer: id_from_wire("transfer_id", &reservation.transfer_id)?,
        account: id_from_wire("account_id", &reservation.account_id)?,
        amount: Credits::from_nano(reservation.amount_nano),
    })
}

/// A refusal is billing's word about the request; everything else may pass. What a broken connection is made into on
/// this side carries none of the codes of a refusal.
fn error_of(status: &Status) -> BillingError {
    let message = status.message().to_owned();
    // Too much of something for today is a word about the request too; a writer who is busy is not.
    let reason = service::errors::reason_of(status);
    if status.code() == Code::ResourceExhausted
        && let Some(code) = reason.filter(|reason| reason != TOO_BUSY)
    {
        return BillingError::Refused {
            grpc: status.code(),
            code,
            message,
        };
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => BillingError::Refused {
            grpc: status.code(),
            code: service::errors::reason_of(status).unwrap_or_else(|| format!("{:?}", status.code())),
            message,
        },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => BillingError::Unavailable { message },
    }
}
