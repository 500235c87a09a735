//! Reaches the exchange, enrols, and carries a session's messages in both directions.

use std::path::Path;

use domain::IslandId;
use ed25519_dalek::VerifyingKey;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::{EnrolRequest, SessionRequest, SessionResponse};
use proto::convert::id_from_wire;
use service::clock::unix_micros;
use service::secret::Secret;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::wire::shorten;
use crate::effect::Remedy;
use crate::identity::Identity;
use crate::limits::{HANDSHAKE_WITHIN, MESSAGE_SIZE_MAX};

/// How often an idle connection is probed, and how long the answer may take.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(10);
/// Messages in each direction between the loop and the connection.
const CHANNEL_SIZE: usize = 64;

/// Where the exchange is and how to speak to it.
#[derive(Debug)]
pub(super) struct Address {
    endpoint: Endpoint,
    authorization: MetadataValue<Ascii>,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The URL or the TLS settings.
    #[error("could not use the exchange's URL")]
    Endpoint(#[from] tonic::transport::Error),
    /// The certificate authority.
    #[error("could not read the certificate authority")]
    Authority(#[from] std::io::Error),
    /// The key has characters that a header cannot carry.
    #[error("the API key has characters that no key has")]
    Key,
}

/// An exchange that knows this Island.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) island: IslandId,
    pub(super) key: VerifyingKey,
    client: AgentServiceClient<Channel>,
    authorization: MetadataValue<Ascii>,
}

/// Why the exchange did not let this Island in.
#[derive(Debug)]
pub(super) struct Unreached {
    pub(super) reason: String,
    pub(super) remedy: Remedy,
}

/// A session's stream; dropping it ends it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) outgoing: mpsc::Sender<SessionRequest>,
    pub(super) incoming: mpsc::Receiver<Result<SessionResponse, String>>,
    reader: AbortOnDropHandle<()>,
}

impl Address {
    pub(super) fn new(url: &str, authority: Option<&Path>, api_key: &Secret) -> Result<Self, AddressError> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(HANDSHAKE_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new().with_webpki_roots();
            if let Some(path) = authority {
                tls = tls.ca_certificate(Certificate::from_pem(std::fs::read(path)?));
            }
            endpoint = endpoint.tls_config(tls)?;
        }
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", api_key.expose())
            .parse()
            .map_err(|_| AddressError::Key)?;
        authorization.set_sensitive(true);
        Ok(Self {
            endpoint,
            authorization,
        })
    }

    /// Connects and enrols, in bounded time.
    pub(super) async fn enrol(&self, identity: &Identity, display_name: &str) -> Result<Exchange, Unreached> {
        let attempt = self.try_enrol(identity, display_name);
        timeout(HANDSHAKE_WITHIN.saturating_mul(2), attempt)
            .await
            .unwrap_or_else(|_| Err(Unreached::retry("the exchange did not answer in time")))
    }

    async fn try_enrol(&self, identity: &Identity, display_name: &str) -> Result<Exchange, Unreached> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            let reason = format!("could not reach the exchange: {}", with_sources(&error));
            Unreached::retry(&reason)
        })?;
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MESSAGE_SIZE_MAX);
        let signed_at_us = unix_micros();
        let mut request = Request::new(EnrolRequest {
            public_key: identity.public_key().to_vec(),
            signed_at_us,
            signature: identity.enrolment_proof(signed_at_us).to_vec(),
            display_name: display_name.to_owned(),
        });
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        let response = client
            .enrol(request)
            .await
            .map_err(|status| Unreached::by(&status))?;
        let response = response.into_inner();
        let island = id_from_wire("island_id", &response.island_id)
            .map_err(|error| Unreached::retry(&error.to_string()))?;
        let key = <[u8; 32]>::try_from(response.exchange_public_key.as_slice())
            .ok()
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .ok_or_else(|| Unreached::retry("exchange_public_key: is not an ed25519 key"))?;
        Ok(Exchange {
            island,
            key,
            client,
            authorization: self.authorization.clone(),
        })
    }
}

impl Exchange {
    /// Opens a session's stream. It may be written to before the exchange has answered.
    pub(super) fn open(&self) -> Stream {
        let (outgoing, requests) = mpsc::channel(CHANNEL_SIZE);
        let (responses, incoming) = mpsc::channel(CHANNEL_SIZE);
        let reader = read(
            self.client.clone(),
            self.authorization.clone(),
            requests,
            responses,
        );
        Stream {
            outgoing,
            incoming,
            reader: AbortOnDropHandle::new(tokio::spawn(reader)),
        }
    }
}

impl Stream {
    /// Says no more, and listens until the exchange has heard everything and ends the stream too.
    pub(super) async fn finish(self) {
        let Self {
            outgoing,
            mut incoming,
            reader,
        } = self;
        drop(outgoing);
        while incoming.recv().await.is_some() {}
        drop(reader);
    }
}

/// Reads a session to its end; the last item says why it ended.
async fn read(
    mut client: AgentServiceClient<Channel>,
    authorization: MetadataValue<Ascii>,
    requests: mpsc::Receiver<SessionRequest>,
    responses: mpsc::Sender<Result<SessionResponse, String>>,
) {
    let mut request = Request::new(ReceiverStream::new(requests));
    request.metadata_mut().insert("authorization", authorization);
    let mut stream = match client.session(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            let _ = responses.send(Err(describe(&status))).await;
            return;
        }
    };
    loop {
        let item = match stream.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the exchange ended the session".to_owned()),
            Err(status) => Err(describe(&status)),
        };
        let is_last = item.is_err();
        if responses.send(item).await.is_err() || is_last {
            return;
        }
    }
}

impl Unreached {
    fn retry(reason: &str) -> Self {
        Self {
            reason: shorten(reason),
            remedy: Remedy::Retry,
        }
    }

    fn by(status: &Status) -> Self {
        let by_owner = [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::InvalidArgument,
        ];
        let remedy = if by_owner.contains(&status.code()) {
            Remedy::Owner
        } else {
            Remedy::Retry
        };
        Self {
            reason: describe(status),
            remedy,
        }
    }
}

fn describe(status: &Status) -> String {
    shorten(&format!("{:?}: {}", status.code(), status.message()))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
