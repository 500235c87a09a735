//! The consumer's door: one port that speaks gRPC and OpenAI-compatible HTTP.
//!
//! Owns who may come in ([`auth`], [`admission`]), how a request becomes a bid with its payloads (`order`), how a job's
//! events become an answer (`reports`), and what every refusal is called on either wire ([`errors`]).
//!
//! Deliberately absent: any decision about orders, leases or money.

pub mod admission;
pub mod auth;
pub mod errors;
pub(crate) mod grpc;
mod http;
mod openai;
pub(crate) mod order;
mod payload_key;
pub(crate) mod reports;
mod server;
mod sign_up;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::HeaderMap;
use domain::{Digest, InstrumentId, OrderId, Region, Sequence, SessionId, Side, Timestamp};
use matcher::IndicativeVolume;
use service::secret::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::billing_client::BillingClient;
use crate::buying_power::BuyingPower;
use crate::config::GatewayLimits;
use crate::identity::Identity;
use crate::leasing::LeasingHandle;
use crate::names::Names;
use crate::reconcile::ReconcileParts;
use crate::registry::Registry;
use crate::sequencer::SequencerHandle;
use crate::spending::Spending;

pub use server::{Served, serve};

pub use payload_key::PayloadKey;

use admission::Admission;
use auth::{Keys, bearer};
use errors::{OPERATOR_ONLY, Refusal, WRONG_KEY_SCOPE};
use sign_up::SignUpLimiter;

/// What the gateway works with.
#[derive(Debug)]
pub struct Parts {
    /// The one way into the engine.
    pub sequencer: SequencerHandle,
    /// The jobs in flight.
    pub leasing: LeasingHandle,
    /// The models.
    pub registry: Registry,
    /// What the engine's ids are called.
    pub names: Arc<Names>,
    /// Balances.
    pub billing: BillingClient,
    /// Top-ups.
    pub buying_power: BuyingPower,
    /// What keys may spend.
    pub spending: Spending,
    /// What an audit compares.
    pub books: ReconcileParts,
    /// Who calls.
    pub keys: Arc<Keys>,
    /// The session that this gateway's bids belong to.
    pub session: SessionId,
    /// Where the exchange stands.
    pub home: Region,
    /// What an operator proves himself with.
    pub operator_token: Option<Secret>,
    /// What a bid's payloads are digested with.
    pub payload_key: PayloadKey,
    /// What is bounded.
    pub limits: GatewayLimits,
}

/// The consumer's door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    operator: Option<Digest>,
    admission: Admission,
    sign_ups: SignUpLimiter,
    /// Tasks that carry a stream to its client.
    streams: TaskTracker,
    started: Timestamp,
    /// The latest indicative volume of each halted instrument, and when it was worked out.
    indicative: Mutex<BTreeMap<InstrumentId, Indicative>>,
}

/// What a halted instrument would trade, and when that was worked out.
#[derive(Clone, Debug)]
struct Indicative {
    at: Instant,
    sequence: Sequence,
    volumes: Arc<[IndicativeVolume]>,
}

impl std::ops::Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Gateway {
    /// A gateway that works with these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let limits = parts.limits;
        let operator = parts.operator_token.as_ref().map(digest_of);
        Self(Arc::new(Inner {
            parts,
            operator,
            admission: Admission::new(limits.jobs_per_account_max, limits.jobs_max),
            sign_ups: SignUpLimiter::new(limits.sign_ups_per_hour),
            streams: TaskTracker::new(),
            started: now(),
            indicative: Mutex::default(),
        }))
    }

    /// Who is let in for how much.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Every route of the port but those of others' services.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// When it began, in seconds since the Unix epoch.
    fn started_at(&self) -> u64 {
        self.0.started.as_micros().div_euclid(1_000_000)
    }

    /// Whose key came with the request, whatever it may be used for.
    async fn caller(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        Ok(self.keys.identify(bearer(headers)?).await?)
    }

    /// Whose key came with the request, if it may be used for buying.
    async fn consumer(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        let caller = self.caller(headers).await?;
        if !caller.scope.may_buy() {
            return Err(WRONG_KEY_SCOPE.because("this key is for enrolling Islands; use one that may buy"));
        }
        Ok(caller)
    }

    /// Refuses a key that may not handle an order of its account. What is not on the book any more was a bid whose jobs
    /// may still run, or is nobody's.
    async fn check_scope(&self, caller: Identity, order: OrderId) -> Result<(), Refusal> {
        if caller.scope.may_buy() && caller.scope.may_enrol() {
            return Ok(());
        }
        let found = self.sequencer.read(move |engine| engine.order(order)).await?;
        let own = found.filter(|found| found.account == caller.account);
        let side = own.map_or(Side::Bid, |own| own.detail.side());
        if !caller.scope.may_handle(side) {
            return Err(WRONG_KEY_SCOPE.because(format!("this key is not for {side}s; use one that is")));
        }
        Ok(())
    }

    /// Whether the request proves to be an operator's.
    fn operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = || OPERATOR_ONLY.because("this is for the operator: send his token as the bearer");
        let given = Secret::new(bearer(headers)?);
        // Digests are compared, so the time it takes tells nothing about the token.
        if self.0.operator == Some(digest_of(&given)) {
            return Ok(());
        }
        Err(refused())
    }
}

fn digest_of(secret: &Secret) -> Digest {
    Digest::of(secret.expose().as_bytes())
}

fn now() -> Timestamp {
    Timestamp::from_micros(service::clock::unix_micros())
}
