//! An Island that is connected, has passed its canary, and leaves quoting to its owner: without one no ask is taken.

use anyhow::{Context, Result, bail, ensure};
use domain::{
    ChainHead, Digest, LeaseEpoch, LeaseId, Price, ReceiptBody, ReceiptKind, Timestamp, TokenCount,
};
use ed25519_dalek::{Signer, SigningKey};
use exchange::registry::Registry;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::session_request::Message as Say;
use proto::agent::v1::session_response::Message as Hear;
use proto::agent::v1::{
    Acknowledge, Assign, EnrolRequest, FinishReason, Finished, Heartbeat, Hello, Offer, Output,
    SessionRequest, SessionResponse,
};
use proto::convert::agent::{enrol_bytes, session_bytes};
use proto::convert::{SignedReceipt, receipt_to_wire};
use proto::types::v1 as types;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::stage::bearer;

/// Messages to the exchange that wait for the connection.
const MESSAGES_QUEUED_MAX: usize = 64;

/// The token that every answer consists of: any one of the vocabulary will do.
const TOKEN: u32 = 101;

/// A connected Island. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Island {
    /// What the exchange calls it.
    pub(super) id: String,
    listening: JoinHandle<()>,
}

impl Drop for Island {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Island {
    /// Enrols with an owner's key, joins, and passes the canary.
    pub(super) async fn join(channel: Channel, key: &str, registry: &Registry) -> Result<Self> {
        let signing_key = SigningKey::from_bytes(&[7; 32]);
        let mut client = AgentServiceClient::new(channel);
        let public_key = signing_key.verifying_key().to_bytes();
        let signed_at = service::clock::unix_micros();
        let bytes = enrol_bytes(&public_key, Timestamp::from_micros(signed_at));
        let mut request = Request::new(EnrolRequest {
            public_key: public_key.to_vec(),
            signed_at_us: signed_at,
            signature: signing_key.sign(&bytes).to_bytes().to_vec(),
            display_name: "measured".to_owned(),
        });
        request.metadata_mut().insert("authorization", bearer(key)?);
        let enrolled = client.enrol(request).await.context("could not enrol an Island")?;
        let (say, said) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let hear = client.session(ReceiverStream::new(said)).await;
        let mut link = Link {
            id: enrolled.into_inner().island_id,
            signing_key,
            say,
            hear: hear.context("could not open an Island's session")?.into_inner(),
        };
        link.prove(registry).await?;
        link.pass_canary(registry).await?;
        Ok(Self {
            id: link.id.clone(),
            listening: tokio::spawn(link.listen()),
        })
    }
}

/// The Island's stream.
struct Link {
    id: String,
    signing_key: SigningKey,
    say: mpsc::Sender<SessionRequest>,
    hear: Streaming<SessionResponse>,
}

impl Link {
    async fn say(&self, message: Say) -> Result<()> {
        let request = SessionRequest {
            message: Some(message),
        };
        self.say
            .send(request)
            .await
            .context("the Island's stream has ended")
    }

    /// The next message; heartbeats are answered here.
    async fn hear(&mut self) -> Result<Hear> {
        loop {
            let response = self.hear.message().await.context("the Island's stream broke")?;
            let message = response.and_then(|response| response.message);
            let message = message.context("the exchange ended the Island's stream")?;
            let Hear::Heartbeat(Heartbeat { nonce, echo: false }) = message else {
                return Ok(message);
            };
            self.say(Say::Heartbeat(Heartbeat { nonce, echo: true })).await?;
        }
    }

    async fn listen(mut self) {
        while self.hear().await.is_ok() {}
    }

    async fn prove(&mut self, registry: &Registry) -> Result<()> {
        let (_, instrument) = registry.models().next().context("no model is there")?;
        let hello = Hello {
            island_id: self.id.clone(),
            region: exchange::config::REGION.to_owned(),
            slots: 4,
            offers: vec![Offer {
                model: instrument.model.clone(),
                model_digest: instrument.digest.as_bytes().to_vec(),
                decode_per_second: 1e6,
                prefill_per_second: 1e6,
            }],
            tier_max: types::Tier::Laptop.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            proof: Vec::new(),
        };
        self.say(Say::Hello(hello.clone())).await?;
        let heard = self.hear().await?;
        let Hear::Challenge(challenge) = heard else {
            bail!("no challenge, but {heard:?}")
        };
        let nonce: [u8; 32] = challenge
            .nonce
            .try_into()
            .ok()
            .context("a challenge of another size")?;
        let public_key = self.signing_key.verifying_key().to_bytes();
        let proof = self.signing_key.sign(&session_bytes(&nonce, &public_key));
        let proof = proof.to_bytes().to_vec();
        self.say(Say::Hello(Hello { proof, ..hello })).await?;
        let heard = self.hear().await?;
        ensure!(
            matches!(heard, Hear::Welcome(_)),
            "the Island is not welcome: {heard:?}"
        );
        Ok(())
    }

    /// Answers the canary at once, which earns the fastest tier that was offered.
    async fn pass_canary(&mut self, registry: &Registry) -> Result<()> {
        let heard = self.hear().await?;
        let Hear::Assign(assign) = heard else {
            bail!("no canary, but {heard:?}")
        };
        let (lease_id, epoch) = (assign.lease_id.clone(), assign.epoch);
        self.say(Say::Acknowledge(Acknowledge { lease_id, epoch }))
            .await?;
        let ids = vec![TOKEN; usize::try_from(assign.max_tokens)?];
        let receipt = self.receipt(&assign, &ids, registry)?;
        self.say(Say::Output(Output {
            lease_id: assign.lease_id.clone(),
            epoch: assign.epoch,
            first_index: 0,
            ids,
        }))
        .await?;
        self.say(Say::Finished(Finished {
            lease_id: assign.lease_id,
            epoch: assign.epoch,
            reason: FinishReason::Length.into(),
            receipt: Some(receipt_to_wire(&receipt)),
            error: String::new(),
        }))
        .await?;
        let heard = self.hear().await?;
        let has_tier = matches!(&heard, Hear::TierAssigned(tier) if tier.tier() != types::Tier::Unspecified);
        ensure!(has_tier, "the Island has no tier: {heard:?}");
        Ok(())
    }

    fn receipt(&self, assign: &Assign, ids: &[u32], registry: &Registry) -> Result<SignedReceipt> {
        let (_, instrument) = registry.models().next().context("no model is there")?;
        let lease: LeaseId = assign.lease_id.parse()?;
        let epoch = LeaseEpoch::new(u8::try_from(assign.epoch)?);
        let count = |ids: &[u32]| u32::try_from(ids.len()).map(TokenCount::new);
        let at = Timestamp::from_micros(service::clock::unix_micros());
        let body = ReceiptBody {
            kind: ReceiptKind::Final,
            job: assign.job_id.parse()?,
            lease,
            epoch,
            model: instrument.digest,
            prompt: Digest::of_tokens(&assign.prompt_ids),
            prompt_tokens: count(&assign.prompt_ids)?,
            output_tokens: count(ids)?,
            chain: ids
                .iter()
                .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id)),
            started_at: at,
            signed_at: at,
            price: Price::new(assign.price).context("a canary without a price")?,
        };
        Ok(SignedReceipt {
            body,
            island_signature: self.signing_key.sign(&body.signed_bytes()).to_bytes(),
            island_public_key: self.signing_key.verifying_key().to_bytes(),
            countersignature: None,
        })
    }
}
