//! An Island of a whole exchange: honest about everything, and its jobs write what a test says.

use domain::{ChainHead, Digest, IslandId, LeaseEpoch, LeaseId, Price, ReceiptBody, ReceiptKind, TokenCount};
use ed25519_dalek::{Signer, SigningKey};
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::session_request::Message as Say;
use proto::agent::v1::session_response::Message as Hear;
use proto::agent::v1::{
    Acknowledge, AskReport, AskStatus, Assign, EnrolRequest, FinishReason, Finished, Heartbeat, Hello, Offer,
    Output, PostAsk, SessionRequest,
};
use proto::convert::agent::{enrol_bytes, session_bytes};
use proto::convert::{SignedReceipt, receipt_to_wire};
use proto::types::v1 as types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::whole::Whole;
use crate::registry::fixture;

/// What an Island offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) region: &'static str,
    pub(crate) tier_max: types::Tier,
    /// In ticks.
    pub(crate) price: u64,
    pub(crate) jobs: u32,
    pub(crate) slots: u32,
}

impl Default for Quote {
    fn default() -> Self {
        Self {
            region: "eu-west",
            tier_max: types::Tier::Laptop,
            price: 1_000,
            jobs: 100,
            slots: 4,
        }
    }
}

/// An Island that quotes.
pub(crate) struct Island {
    pub(crate) id: IslandId,
    key: SigningKey,
    say: mpsc::Sender<SessionRequest>,
    hear: mpsc::Receiver<Hear>,
    reading: tokio::task::JoinHandle<()>,
}

/// A job that an Island has acknowledged.
pub(crate) struct Work {
    pub(crate) assign: Assign,
    pub(crate) emitted: Vec<u32>,
}

fn now() -> u64 {
    service::clock::unix_micros()
}

/// The ids of a text, a byte each.
pub(crate) fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(fixture::byte).collect()
}

impl Island {
    /// Enrols, joins, passes its canary and quotes.
    pub(crate) async fn quoting(exchange: &Whole, seed: u8, quote: Quote) -> Self {
        let mut island = Self::join(exchange, seed, quote).await;
        island.pass_canary().await;
        let report = island.post("first", quote).await;
        assert_eq!(report.status(), AskStatus::Accepted, "{report:?}");
        island
    }

    /// Posts an ask, and hears what came of it.
    pub(crate) async fn post(&mut self, name: &str, quote: Quote) -> AskReport {
        self.say(Say::PostAsk(PostAsk {
            client_order_id: name.to_owned(),
            model: fixture::MODEL.to_owned(),
            price: Price::from_ticks(quote.price).unwrap().get(),
            jobs: quote.jobs,
            time_in_force: None,
            post_only: false,
        }))
        .await;
        match self.hear().await {
            Hear::AskReport(report) => report,
            other => panic!("no report of the ask: {other:?}"),
        }
    }

    async fn join(exchange: &Whole, seed: u8, quote: Quote) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public_key = key.verifying_key().to_bytes();
        let mut client = AgentServiceClient::new(exchange.channel().await);
        let signed_at = now();
        let bytes = enrol_bytes(&public_key, domain::Timestamp::from_micros(signed_at));
        let mut request = Request::new(EnrolRequest {
            public_key: public_key.to_vec(),
            signed_at_us: signed_at,
            signature: key.sign(&bytes).to_bytes().to_vec(),
            display_name: String::from("a machine"),
        });
        let bearer = format!("Bearer {}", exchange.island_key).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let enrolled = client.enrol(request).await.unwrap().into_inner();
        let (say, said) = mpsc::channel(64);
        let mut stream = client
            .session(ReceiverStream::new(said))
            .await
            .unwrap()
            .into_inner();
        let (heard, hear) = mpsc::channel(256);
        let echo = say.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                let Some(message) = response.message else { break };
                if let Hear::Assign(assign) = &message {
                    // At once, whatever the test is at: an Island that is slow to say so is taken for lost.
                    let (lease_id, epoch) = (assign.lease_id.clone(), assign.epoch);
                    let message = Some(Say::Acknowledge(Acknowledge { lease_id, epoch }));
                    drop(echo.send(SessionRequest { message }).await);
                }
                if let Hear::Heartbeat(Heartbeat { nonce, echo: false }) = message {
                    let message = Some(Say::Heartbeat(Heartbeat { nonce, echo: true }));
                    drop(echo.send(SessionRequest { message }).await);
                } else if heard.send(message).await.is_err() {
                    break;
                }
            }
        });
        let mut island = Self {
            id: enrolled.island_id.parse().unwrap(),
            key,
            say,
            hear,
            reading,
        };
        island.prove(quote).await;
        island
    }

    async fn prove(&mut self, quote: Quote) {
        let instrument = fixture::registry();
        let (_, instrument) = instrument.models().next().unwrap();
        let hello = Hello {
            island_id: self.id.to_string(),
            region: quote.region.to_owned(),
            slots: quote.slots,
            offers: vec![Offer {
                model: instrument.model.clone(),
                model_digest: instrument.digest.as_bytes().to_vec(),
                decode_per_second: 1e6,
                prefill_per_second: 1e6,
            }],
            tier_max: quote.tier_max.into(),
            version: "test".to_owned(),
            proof: Vec::new(),
        };
        self.say(Say::Hello(hello.clone())).await;
        let Hear::Challenge(challenge) = self.hear().await else {
            panic!("no challenge")
        };
        let nonce: [u8; 32] = challenge.nonce.try_into().unwrap();
        let proof = self
            .key
            .sign(&session_bytes(&nonce, &self.key.verifying_key().to_bytes()));
        self.say(Say::Hello(Hello {
            proof: proof.to_bytes().to_vec(),
            ..hello
        }))
        .await;
        let Hear::Welcome(_) = self.hear().await else {
            panic!("not welcome")
        };
    }

    async fn pass_canary(&mut self) {
        let Hear::Assign(assign) = self.hear().await else {
            panic!("no canary")
        };
        assert!(assign.canary);
        let mut work = Work {
            emitted: Vec::new(),
            assign,
        };
        let ids = vec![fixture::byte(b'a'); usize::try_from(work.assign.max_tokens).unwrap()];
        self.emit(&mut work, &ids).await;
        self.finish(&work, FinishReason::Length).await;
        let Hear::TierAssigned(tier) = self.hear().await else {
            panic!("no tier")
        };
        assert_ne!(tier.tier(), types::Tier::Unspecified, "{tier:?}");
    }

    async fn say(&self, message: Say) {
        // What is said to an exchange that has stopped is not heard.
        drop(
            self.say
                .send(SessionRequest {
                    message: Some(message),
                })
                .await,
        );
    }

    pub(crate) async fn hear(&mut self) -> Hear {
        self.hear
            .recv()
            .await
            .unwrap_or_else(|| panic!("the exchange ended the stream"))
    }

    /// The next job, acknowledged; reports are passed over.
    pub(crate) async fn job(&mut self) -> Work {
        loop {
            if let Hear::Assign(assign) = self.hear().await {
                return Work {
                    assign,
                    emitted: Vec::new(),
                };
            }
        }
    }

    /// Waits until it is told to stop a job, and stops it as told.
    pub(crate) async fn revoked(&mut self, work: &Work) {
        loop {
            if let Hear::Revoke(revoke) = self.hear().await {
                assert_eq!(revoke.lease_id, work.assign.lease_id);
                return self.finish(work, FinishReason::Cancelled).await;
            }
        }
    }

    async fn emit(&self, work: &mut Work, ids: &[u32]) {
        self.say(Say::Output(Output {
            lease_id: work.assign.lease_id.clone(),
            epoch: work.assign.epoch,
            first_index: u32::try_from(work.emitted.len()).unwrap(),
            ids: ids.to_vec(),
        }))
        .await;
        work.emitted.extend_from_slice(ids);
    }

    /// Writes a text.
    pub(crate) async fn write(&self, work: &mut Work, text: &str) {
        self.emit(work, &ids(text)).await;
    }

    /// Ends a job, with a receipt over what it wrote.
    pub(crate) async fn finish(&self, work: &Work, reason: FinishReason) {
        self.say(Say::Finished(Finished {
            lease_id: work.assign.lease_id.clone(),
            epoch: work.assign.epoch,
            reason: reason.into(),
            receipt: Some(receipt_to_wire(&self.receipt(work))),
            error: String::new(),
        }))
        .await;
    }

    fn receipt(&self, work: &Work) -> SignedReceipt {
        let lease: LeaseId = work.assign.lease_id.parse().unwrap();
        let epoch = LeaseEpoch::new(u8::try_from(work.assign.epoch).unwrap());
        let read = [
            work.assign.prompt_ids.as_slice(),
            work.assign.emitted_ids.as_slice(),
        ]
        .concat();
        let count = |ids: &[u32]| TokenCount::new(u32::try_from(ids.len()).unwrap());
        let at = domain::Timestamp::from_micros(now());
        let registry = fixture::registry();
        let body = ReceiptBody {
            kind: ReceiptKind::Final,
            job: work.assign.job_id.parse().unwrap(),
            lease,
            epoch,
            model: registry.models().next().unwrap().1.digest,
            prompt: Digest::of_tokens(&read),
            prompt_tokens: count(&read),
            output_tokens: count(&work.emitted),
            chain: work
                .emitted
                .iter()
                .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id)),
            started_at: at,
            signed_at: at,
            price: Price::new(work.assign.price).unwrap(),
        };
        SignedReceipt {
            body,
            island_signature: self.key.sign(&body.signed_bytes()).to_bytes(),
            island_public_key: self.key.verifying_key().to_bytes(),
            countersignature: None,
        }
    }

    /// Takes its next job, writes `text` and stops.
    pub(crate) async fn answer(&mut self, text: &str) -> Work {
        let mut work = self.job().await;
        self.write(&mut work, text).await;
        self.finish(&work, FinishReason::Stop).await;
        work
    }

    /// Vanishes as a killed process does.
    pub(crate) fn vanish(self) {
        self.reading.abort();
    }
}
