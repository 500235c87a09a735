//! The agents' door: Islands enrol here, open a session, are measured, quote and run jobs.
//!
//! One task a session; it verifies what it can by itself (proofs, signatures, token ids) and hands the rest to
//! leasing. Invariants:
//! - an Island has at most one live session; a newer one ends the older one in the engine before it joins;
//! - nothing may be quoted before the exchange has measured it;
//! - whatever breaks the protocol ends the session with a reason, and its jobs go on elsewhere.
//!
//! Deliberately absent: what a lease may do (`dispatch`), and a check of the declared region against round trips that
//! were measured from several places, for one exchange alone measures only its own.

mod asks;
mod enrolment;
mod handshake;
mod live;
mod session;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::{RegionTable, Timestamp};
use proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use proto::agent::v1::{EnrolRequest, EnrolResponse, SessionRequest, SessionResponse};
use proto::convert::agent::{enrol_bytes, enrol_from_wire};
use service::errors::{bad_field, status};
use service::shutdown::Shutdown;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::identity::{AuthError, Authenticator, Identity};
use crate::leasing::AgentLink;
use crate::receipts::{ExchangeKey, is_signed};
use crate::registry::Registry;
use crate::sequencer::{Clock, SequencerHandle};

pub use enrolment::{
    EnrolError, Enrolment, Enrolments, EnrolmentsError, ISLANDS_PER_ACCOUNT_MAX, island_of_key,
};
use live::Live;

/// Bytes of one message of an agent. The largest honest one, a full batch of tokens, has some 6 KiB.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Sessions at once, handshakes included: about 100 KiB each.
pub const SESSIONS_MAX: usize = 16_384;

/// How far an enrolment's time may be from ours: clocks of phones are minutes off, a stolen message is older.
pub const ENROL_CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// Messages that wait for an agent's connection to take them. One that takes none for so long is not reading.
const OUTBOUND_MAX: usize = 256;

/// The domain of our errors.
const DOMAIN: &str = "atoll.exchange";

/// What the agents' door works with.
pub struct AgentParts {
    /// The one way into the engine.
    pub sequencer: SequencerHandle,
    /// The jobs in flight.
    pub link: AgentLink,
    /// The models.
    pub registry: Registry,
    /// The regions.
    pub regions: RegionTable,
    /// The Islands.
    pub enrolments: Enrolments,
    /// Whose key a secret is.
    pub authenticator: Arc<dyn Authenticator>,
    /// The exchange's own key.
    pub key: Arc<ExchangeKey>,
    /// The time.
    pub clock: Clock,
    /// Ends every session.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for AgentParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentParts").finish_non_exhaustive()
    }
}

/// The agents' door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentSessions(Arc<Shared>);

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    parts: AgentParts,
    live: Live,
    canaries: AtomicU64,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// No session opens any more.
    closed: AtomicBool,
}

impl AgentSessions {
    /// A door that nobody has come through.
    #[must_use]
    pub fn new(parts: AgentParts) -> Self {
        Self(Arc::new(Shared {
            parts,
            live: Live::default(),
            canaries: AtomicU64::new(1),
            places: Arc::new(Semaphore::new(SESSIONS_MAX)),
            tasks: TaskTracker::new(),
            closed: AtomicBool::new(false),
        }))
    }

    /// The gRPC service.
    #[must_use]
    pub fn service(&self) -> AgentServiceServer<Self> {
        AgentServiceServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Opens no more sessions; those that are open go on. One that is lost from now on hears that the exchange stops.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Waits until every session has ended, after the shutdown was triggered.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[tonic::async_trait]
impl AgentService for AgentSessions {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let identity = self.0.identify(&request).await?;
        if !identity.scope.may_enrol() {
            return Err(status(
                Code::PermissionDenied,
                "WRONG_KEY_SCOPE",
                DOMAIN,
                "this API key may not enrol Islands; make one whose scope allows it",
            ));
        }
        let enrol = enrol_from_wire(request.into_inner())
            .map_err(|error| bad_field(DOMAIN, &error.field, &error.problem))?;
        let now = self.0.parts.clock.now();
        if !is_near(enrol.signed_at, now) {
            return Err(bad_field(
                DOMAIN,
                "signed_at_us",
                "must be within 5 minutes of the exchange's clock; set this machine's clock",
            ));
        }
        let bytes = enrol_bytes(&enrol.public_key, enrol.signed_at);
        if !is_signed(&enrol.public_key, &bytes, &enrol.signature) {
            return Err(status(
                Code::Unauthenticated,
                "BAD_SIGNATURE",
                DOMAIN,
                "the signature is not this key's over these fields",
            ));
        }
        let enrolments = self.0.parts.enrolments.clone();
        let enrolled = tokio::task::spawn_blocking(move || {
            enrolments.enrol(enrol.public_key, identity.account, &enrol.display_name, now)
        })
        .await
        .unwrap_or(Err(EnrolError::Store))
        .map_err(|error| refusal_of(&error))?;
        tracing::info!(island = %enrolled.island, account = %enrolled.owner, "an Island enrolled");
        Ok(Response::new(EnrolResponse {
            island_id: enrolled.island.to_string(),
            account_id: enrolled.owner.to_string(),
            exchange_public_key: self.0.parts.key.public_key().to_vec(),
        }))
    }

    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.0.is_closed() {
            return Err(unavailable(
                "STOPPING",
                "the exchange is stopping; come back in a moment",
            ));
        }
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            return Err(unavailable(
                "TOO_MANY_SESSIONS",
                "as many agents are connected as may be",
            ));
        };
        let (outbound, stream) = mpsc::channel(OUTBOUND_MAX);
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            session::run(&shared, request.into_inner(), wire::Wire::new(outbound)).await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.parts.shutdown.is_triggered()
    }

    async fn identify<T: Sync>(&self, request: &Request<T>) -> Result<Identity, Status> {
        let secret = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim())
            .ok_or_else(|| {
                status(
                    Code::Unauthenticated,
                    "MISSING_API_KEY",
                    DOMAIN,
                    "no API key: send `authorization: Bearer atoll_sk_…`",
                )
            })?;
        let found = self.parts.authenticator.authenticate(secret).await;
        found.map_err(|error| match error {
            AuthError::Unknown => unauthenticated("INVALID_API_KEY", error),
            AuthError::Revoked => unauthenticated("REVOKED_API_KEY", error),
            AuthError::Expired => unauthenticated("EXPIRED_API_KEY", error),
            AuthError::Unavailable => unavailable("KEY_CHECK_UNAVAILABLE", &error.to_string()),
        })
    }
}

fn unauthenticated(reason: &str, error: AuthError) -> Status {
    status(Code::Unauthenticated, reason, DOMAIN, error.to_string())
}

fn unavailable(reason: &str, message: &str) -> Status {
    status(Code::Unavailable, reason, DOMAIN, message)
}

fn refusal_of(error: &EnrolError) -> Status {
    let (code, reason) = match error {
        EnrolError::OtherOwner => (Code::PermissionDenied, "OTHER_OWNER"),
        EnrolError::Collision => (Code::AlreadyExists, "ISLAND_ID_TAKEN"),
        EnrolError::TooMany => (Code::ResourceExhausted, "TOO_MANY_ISLANDS"),
        EnrolError::Store => (Code::Unavailable, "ENROLMENT_NOT_STORED"),
    };
    status(code, reason, DOMAIN, error.to_string())
}

fn is_near(signed_at: Timestamp, now: Timestamp) -> bool {
    signed_at.since(now).max(now.since(signed_at)) <= ENROL_CLOCK_SKEW_MAX
}
