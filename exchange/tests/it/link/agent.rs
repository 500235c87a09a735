//! An agent whose every word a test decides. It answers heartbeats by itself until it is told to be silent.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::{
    ChainHead, Digest, IslandId, LeaseEpoch, LeaseId, PrefixedId, Price, ReceiptBody, ReceiptKind, Timestamp,
    TokenCount,
};
use ed25519_dalek::{Signer, SigningKey};
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::session_request::Message as Say;
use proto::agent::v1::session_response::Message as Hear;
use proto::agent::v1::{
    Acknowledge, AskReport, AskStatus, Assign, CancelAsk, EnrolRequest, EnrolResponse, FinishReason,
    Finished, Heartbeat, Hello, Offer, Output, PostAsk, ReceiptReport, Revoke, SessionRequest,
    SessionResponse, SignedCheckpoint, TierAssigned,
};
use proto::convert::agent::{enrol_bytes, session_bytes};
use proto::convert::{SignedReceipt, receipt_to_wire};
use proto::types::v1 as types;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::house::{House, ISLAND_KEY, MODEL, soon};
use crate::registry::fixture;

/// A machine with a key.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) key: SigningKey,
    pub(crate) island: IslandId,
}

/// A machine's open stream.
pub(crate) struct Agent {
    pub(crate) machine: Machine,
    say: mpsc::Sender<SessionRequest>,
    hear: mpsc::Receiver<Hear>,
    silent: Arc<Mutex<bool>>,
    reading: tokio::task::JoinHandle<()>,
}

pub(crate) async fn client(address: SocketAddr) -> AgentServiceClient<Channel> {
    AgentServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap()
        .max_encoding_message_size(64 << 20)
}

pub(crate) fn enrol_request(house: &House, key: &SigningKey) -> EnrolRequest {
    let public_key = key.verifying_key().to_bytes();
    let signed_at = house.now();
    EnrolRequest {
        public_key: public_key.to_vec(),
        signed_at_us: signed_at.as_micros(),
        signature: key.sign(&enrol_bytes(&public_key, signed_at)).to_bytes().to_vec(),
        display_name: "a machine".to_owned(),
    }
}

pub(crate) async fn enrol(
    house: &House,
    secret: Option<&str>,
    request: EnrolRequest,
) -> Result<EnrolResponse, Status> {
    let mut request = Request::new(request);
    if let Some(secret) = secret {
        let value = format!("Bearer {secret}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let response = client(house.address).await.enrol(request).await?;
    Ok(response.into_inner())
}

/// A machine with the key number `seed`, enrolled.
pub(crate) async fn machine(house: &House, seed: u8) -> Machine {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let enrolled = enrol(house, Some(ISLAND_KEY), enrol_request(house, &key))
        .await
        .unwrap();
    let island = enrolled.island_id.parse().unwrap();
    Machine { key, island }
}

pub(crate) fn hello(house: &House, island: IslandId) -> Hello {
    Hello {
        island_id: island.to_string(),
        region: "eu-west".to_owned(),
        slots: 2,
        offers: vec![offer(house)],
        tier_max: types::Tier::Desktop.into(),
        version: "test".to_owned(),
        proof: Vec::new(),
    }
}

pub(crate) fn offer(house: &House) -> Offer {
    let instrument = house.registry.instrument(MODEL).unwrap();
    Offer {
        model: instrument.model.clone(),
        model_digest: instrument.digest.as_bytes().to_vec(),
        decode_per_second: 1e9,
        prefill_per_second: 1e9,
    }
}

/// An Island that quotes `jobs` at `price` ticks.
pub(crate) async fn quoting(house: &House, seed: u8, price: u64, jobs: u32) -> Agent {
    let mut agent = Agent::join(house, seed).await;
    agent.pass_canary().await;
    agent.ask("first", price, jobs).await;
    agent
}

impl Agent {
    /// A stream that has said nothing yet.
    pub(crate) async fn connect(house: &House, machine: Machine) -> Self {
        Self::try_connect(house, machine).await.unwrap()
    }

    pub(crate) async fn try_connect(house: &House, machine: Machine) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(64);
        let mut client = client(house.address).await;
        // The server answers the call once the first message is there or the stream is open, whichever way tonic goes.
        let stream = client.session(ReceiverStream::new(said)).await?.into_inner();
        let (heard, hear) = mpsc::channel(256);
        let silent = Arc::new(Mutex::new(false));
        let reading = tokio::spawn(read(stream, heard, say.clone(), Arc::clone(&silent)));
        Ok(Self {
            machine,
            say,
            hear,
            silent,
            reading,
        })
    }

    /// An Island that has proved itself and was let in.
    pub(crate) async fn join(house: &House, seed: u8) -> Self {
        let machine = machine(house, seed).await;
        Self::join_with(house, machine, |_| {}).await
    }

    pub(crate) async fn join_with(house: &House, machine: Machine, change: impl Fn(&mut Hello)) -> Self {
        let mut hello = hello(house, machine.island);
        change(&mut hello);
        let mut agent = Self::connect(house, machine).await;
        agent.prove(hello).await;
        agent
    }

    pub(crate) async fn prove(&mut self, hello: Hello) {
        self.say(Say::Hello(hello.clone())).await;
        let proof = self.answer_challenge().await;
        self.say(Say::Hello(Hello { proof, ..hello })).await;
        let Hear::Welcome(_) = self.hear().await else {
            panic!("not welcome")
        };
    }

    /// The proof that the next message asks for.
    pub(crate) async fn answer_challenge(&mut self) -> Vec<u8> {
        let Hear::Challenge(challenge) = self.hear().await else {
            panic!("no challenge")
        };
        let nonce: [u8; 32] = challenge.nonce.try_into().unwrap();
        let key = &self.machine.key;
        let bytes = session_bytes(&nonce, &key.verifying_key().to_bytes());
        key.sign(&bytes).to_bytes().to_vec()
    }

    pub(crate) async fn say(&self, message: Say) {
        let request = SessionRequest {
            message: Some(message),
        };
        // A stream that the exchange has ended takes no more; what was said last is heard in its goodbye.
        drop(self.say.send(request).await);
    }

    pub(crate) async fn hear(&mut self) -> Hear {
        soon("a word of the exchange", self.hear.recv())
            .await
            .unwrap_or_else(|| panic!("the exchange ended the stream"))
    }

    /// Answers no heartbeat any more. Whatever is said after this comes after the last answer.
    pub(crate) async fn fall_silent(&self) {
        *self.silent.lock().await = true;
    }

    /// Reads nothing any more, from the next heartbeat on, until the guard is dropped.
    pub(crate) async fn stop_reading(&self) -> OwnedMutexGuard<bool> {
        Arc::clone(&self.silent).lock_owned().await
    }

    /// Vanishes as a killed process does: the connection breaks.
    pub(crate) fn vanish(self) {
        self.reading.abort();
    }

    pub(crate) async fn assigned(&mut self) -> Assign {
        match self.hear().await {
            Hear::Assign(assign) => assign,
            other => panic!("not assigned: {other:?}"),
        }
    }

    pub(crate) async fn revoked(&mut self) -> Revoke {
        match self.hear().await {
            Hear::Revoke(revoke) => revoke,
            other => panic!("not revoked: {other:?}"),
        }
    }

    pub(crate) async fn tier(&mut self) -> TierAssigned {
        match self.hear().await {
            Hear::TierAssigned(tier) => tier,
            other => panic!("no tier: {other:?}"),
        }
    }

    pub(crate) async fn ask_report(&mut self) -> AskReport {
        match self.hear().await {
            Hear::AskReport(report) => report,
            other => panic!("no report of an ask: {other:?}"),
        }
    }

    pub(crate) async fn receipt_report(&mut self) -> ReceiptReport {
        match self.hear().await {
            Hear::ReceiptReport(report) => report,
            other => panic!("no report of a receipt: {other:?}"),
        }
    }

    /// The last word, after whatever else was on its way.
    pub(crate) async fn goodbye(&mut self) -> String {
        loop {
            if let Hear::Goodbye(goodbye) = self.hear().await {
                return goodbye.reason;
            }
        }
    }

    /// Waits until the stream has ended.
    pub(crate) async fn ended(&mut self) {
        soon("the end of the stream", async {
            while self.hear.recv().await.is_some() {}
        })
        .await;
    }

    /// Runs the canary as an honest machine does.
    pub(crate) async fn pass_canary(&mut self) -> TierAssigned {
        let canary = self.assigned().await;
        assert!(canary.canary);
        self.acknowledge(&canary).await;
        let ids = vec![fixture::byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
        self.emit(&canary, 0, &ids).await;
        self.finish(&canary, FinishReason::Length, &ids).await;
        self.tier().await
    }

    pub(crate) async fn ask(&mut self, name: &str, price: u64, jobs: u32) -> AskReport {
        self.post(name, price, jobs).await;
        let report = self.ask_report().await;
        assert_eq!(report.status(), AskStatus::Accepted, "{report:?}");
        report
    }

    pub(crate) async fn post(&self, name: &str, price: u64, jobs: u32) {
        self.say(Say::PostAsk(PostAsk {
            client_order_id: name.to_owned(),
            model: fixture::MODEL.to_owned(),
            price: Price::from_ticks(price).unwrap().get(),
            jobs,
            time_in_force: None,
            post_only: false,
        }))
        .await;
    }

    pub(crate) async fn cancel_ask(&self, order_id: &str) {
        self.say(Say::CancelAsk(CancelAsk {
            order_id: order_id.to_owned(),
        }))
        .await;
    }

    /// The next job: its ask's report, then its assignment, acknowledged.
    pub(crate) async fn take_job(&mut self) -> Assign {
        let report = self.ask_report().await;
        assert_eq!(report.status(), AskStatus::Traded, "{report:?}");
        let assign = self.assigned().await;
        self.acknowledge(&assign).await;
        assign
    }

    pub(crate) async fn acknowledge(&self, assign: &Assign) {
        self.say(Say::Acknowledge(Acknowledge {
            lease_id: assign.lease_id.clone(),
            epoch: assign.epoch,
        }))
        .await;
    }

    pub(crate) async fn emit(&self, assign: &Assign, first_index: u32, ids: &[u32]) {
        self.say(Say::Output(Output {
            lease_id: assign.lease_id.clone(),
            epoch: assign.epoch,
            first_index,
            ids: ids.to_vec(),
        }))
        .await;
    }

    pub(crate) async fn checkpoint(&self, assign: &Assign, ids: &[u32]) {
        let receipt = self.receipt(assign, ReceiptKind::Checkpoint, ids);
        self.sign_checkpoint(receipt).await;
    }

    pub(crate) async fn sign_checkpoint(&self, receipt: SignedReceipt) {
        let receipt = Some(receipt_to_wire(&receipt));
        self.say(Say::Checkpoint(SignedCheckpoint { receipt })).await;
    }

    pub(crate) async fn finish(&self, assign: &Assign, reason: FinishReason, ids: &[u32]) {
        let receipt = self.receipt(assign, ReceiptKind::Final, ids);
        self.finish_with(assign, reason, Some(receipt)).await;
    }

    pub(crate) async fn finish_with(
        &self,
        assign: &Assign,
        reason: FinishReason,
        receipt: Option<SignedReceipt>,
    ) {
        self.say(Say::Finished(Finished {
            lease_id: assign.lease_id.clone(),
            epoch: assign.epoch,
            reason: reason.into(),
            receipt: receipt.as_ref().map(receipt_to_wire),
            error: String::new(),
        }))
        .await;
    }

    /// What an honest machine signs over `ids`.
    pub(crate) fn receipt(&self, assign: &Assign, kind: ReceiptKind, ids: &[u32]) -> SignedReceipt {
        let lease: LeaseId = assign.lease_id.parse().unwrap();
        let epoch = LeaseEpoch::new(u8::try_from(assign.epoch).unwrap());
        let read = [assign.prompt_ids.as_slice(), assign.emitted_ids.as_slice()].concat();
        // An Island's clock is its own.
        let at = Timestamp::from_micros(1);
        self.sign(ReceiptBody {
            kind,
            job: assign.job_id.parse().unwrap(),
            lease,
            epoch,
            model: model_digest(),
            prompt: Digest::of_tokens(&read),
            prompt_tokens: TokenCount::new(u32::try_from(read.len()).unwrap()),
            output_tokens: TokenCount::new(u32::try_from(ids.len()).unwrap()),
            chain: ids
                .iter()
                .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id)),
            started_at: at,
            signed_at: at,
            price: Price::new(assign.price).unwrap(),
        })
    }

    pub(crate) fn sign(&self, body: ReceiptBody) -> SignedReceipt {
        let key = &self.machine.key;
        SignedReceipt {
            body,
            island_signature: key.sign(&body.signed_bytes()).to_bytes(),
            island_public_key: key.verifying_key().to_bytes(),
            countersignature: None,
        }
    }
}

fn model_digest() -> Digest {
    fixture::registry().instrument(MODEL).unwrap().digest
}

async fn read(
    mut stream: Streaming<SessionResponse>,
    heard: mpsc::Sender<Hear>,
    say: mpsc::Sender<SessionRequest>,
    silent: Arc<Mutex<bool>>,
) {
    while let Ok(Some(response)) = stream.message().await {
        let Some(message) = response.message else { break };
        if let Hear::Heartbeat(Heartbeat { nonce, echo: false }) = message {
            let silent = silent.lock().await;
            if !*silent {
                let echo = Say::Heartbeat(Heartbeat { nonce, echo: true });
                let request = SessionRequest { message: Some(echo) };
                drop(say.send(request).await);
            }
        } else if heard.send(message).await.is_err() {
            break;
        }
    }
}

/// Text ids are parsed, so that a malformed one would be noticed.
pub(crate) fn id<I: PrefixedId + std::str::FromStr>(text: &str) -> I
where
    I::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}
