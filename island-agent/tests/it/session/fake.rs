//! An exchange in the hands of the test: it serves real gRPC, and says only what the test says.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the messages that may come and fails on any other"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{ChainHead, Digest, LeaseEpoch, LeaseId, ReceiptKind};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use proto::agent::v1::session_request::Message as Heard;
use proto::agent::v1::session_response::Message as Said;
use proto::agent::v1::{
    AskReport, AskStatus, Assign, Challenge, EnrolRequest, EnrolResponse, Finished, Goodbye, Heartbeat,
    Hello, PostAsk, ReceiptReport, Revoke, Sampling, SessionRequest, SessionResponse, TierAssigned, Welcome,
};
use proto::convert::{SignedReceipt, receipt_from_wire, receipt_to_wire};
use proto::types::v1 as types;
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{API_KEY, MODEL};

/// A step that takes longer is a failure. Long, because a new Island syncs its key to a disk that others may flood.
const PATIENCE: Duration = Duration::from_secs(240);
const NONCE: [u8; 32] = [42; 32];
pub(super) const PRICE: u64 = 20_000_000;

/// A port that nobody else gets while this lives, whether or not anything listens on it.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    _bound: TcpSocket,
}

/// The server; dropping it kills it with all its connections.
pub(super) struct FakeExchange {
    pub(super) address: SocketAddr,
    port: Option<Port>,
    pub(super) enrolments: Arc<Mutex<Vec<EnrolRequest>>>,
    sessions: mpsc::Receiver<FakeSession>,
    runtime: Option<Runtime>,
}

/// One session, as the exchange sees it.
pub(super) struct FakeSession {
    pub(super) key: VerifyingKey,
    exchange: SigningKey,
    requests: Streaming<SessionRequest>,
    responses: mpsc::Sender<Result<SessionResponse, Status>>,
}

/// What a job sent until it was finished.
#[derive(Debug)]
pub(super) struct JobRecord {
    pub(super) ids: Vec<u32>,
    pub(super) checkpoints: Vec<u32>,
    pub(super) finished: Finished,
    pub(super) receipt: SignedReceipt,
}

struct Service {
    exchange: SigningKey,
    enrolments: Arc<Mutex<Vec<EnrolRequest>>>,
    sessions: mpsc::Sender<FakeSession>,
}

pub(super) fn exchange_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

impl FakeExchange {
    pub(super) async fn start() -> Self {
        Self::start_on(Port::reserve()).await
    }

    pub(super) async fn start_on(port: Port) -> Self {
        let address = port.address;
        let enrolments = Arc::new(Mutex::new(Vec::new()));
        let (sender, sessions) = mpsc::channel(8);
        let service = Service {
            exchange: exchange_key(),
            enrolments: Arc::clone(&enrolments),
            sessions: sender,
        };
        // A runtime of its own can be killed with everything that runs in it, as a process can.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let serve = async move {
            let listener = bound(address).listen(64).unwrap();
            let server = tonic::transport::Server::builder().add_service(AgentServiceServer::new(service));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        };
        runtime.spawn(serve).await.unwrap();
        Self {
            address,
            port: Some(port),
            enrolments,
            sessions,
            runtime: Some(runtime),
        }
    }

    /// The next session that is opened, before anything was said.
    pub(super) async fn session(&mut self) -> FakeSession {
        timeout(PATIENCE, self.sessions.recv()).await.unwrap().unwrap()
    }

    /// The next session, proven and welcomed.
    pub(super) async fn welcomed(&mut self) -> (FakeSession, Hello) {
        let mut session = self.session().await;
        let hello = session.handshake().await;
        (session, hello)
    }

    /// The next session, with an ask in the book.
    pub(super) async fn quoting(&mut self) -> FakeSession {
        let (mut session, _) = self.welcomed().await;
        session.say(tier(types::Tier::Laptop)).await;
        let ask = session.ask().await;
        session.accept(&ask, "ord_1").await;
        session
    }

    /// Kills the server; its port may be used again.
    pub(super) async fn die(mut self) -> Port {
        let runtime = self.runtime.take().unwrap();
        // Its sockets are closed when this returns.
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE))
            .await
            .unwrap();
        self.port.take().unwrap()
    }
}

impl Port {
    pub(super) fn reserve() -> Self {
        let socket = bound("127.0.0.1:0".parse().unwrap());
        Self {
            address: socket.local_addr().unwrap(),
            _bound: socket,
        }
    }
}

/// A socket on that address, which may be shared with the sockets that this function made, and with no others.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Drop for FakeExchange {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let expected = format!("Bearer {API_KEY}");
        let authorization = request.metadata().get("authorization");
        if authorization.is_none_or(|value| value != expected.as_str()) {
            return Err(Status::unauthenticated("this key is not known"));
        }
        let request = request.into_inner();
        let key = <[u8; 32]>::try_from(request.public_key.as_slice()).unwrap();
        let signed = [
            b"atoll-enrol-v1\0".as_slice(),
            &key,
            &request.signed_at_us.to_be_bytes(),
        ];
        verify(
            &VerifyingKey::from_bytes(&key).unwrap(),
            &signed.concat(),
            &request.signature,
        );
        self.enrolments.lock().unwrap().push(request);
        Ok(Response::new(EnrolResponse {
            island_id: "isl_1".to_owned(),
            account_id: "acc_1".to_owned(),
            exchange_public_key: self.exchange.verifying_key().to_bytes().to_vec(),
        }))
    }

    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let key = self.enrolments.lock().unwrap().last().unwrap().public_key.clone();
        let session = FakeSession {
            key: VerifyingKey::from_bytes(&key.try_into().unwrap()).unwrap(),
            exchange: self.exchange.clone(),
            requests: request.into_inner(),
            responses,
        };
        self.sessions.send(session).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl FakeSession {
    pub(super) async fn say(&self, message: Said) {
        let response = SessionResponse {
            message: Some(message),
        };
        self.responses.send(Ok(response)).await.unwrap();
    }

    pub(super) async fn say_nothing_known(&self) {
        self.responses
            .send(Ok(SessionResponse { message: None }))
            .await
            .unwrap();
    }

    /// The next message; heartbeats are answered on the way. `None` is the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        loop {
            let message = timeout(PATIENCE, self.requests.message()).await.unwrap();
            let heard = message.ok().flatten()?.message.unwrap();
            if let Heard::Heartbeat(Heartbeat { nonce, echo: false }) = heard {
                let echo = SessionResponse {
                    message: Some(Said::Heartbeat(Heartbeat { nonce, echo: true })),
                };
                // An agent that leaves no longer listens.
                let _ = self.responses.send(Ok(echo)).await;
                continue;
            }
            return Some(heard);
        }
    }

    pub(super) async fn hello(&mut self) -> Hello {
        match self.next().await {
            Some(Heard::Hello(hello)) => hello,
            other => panic!("{other:?} is no hello"),
        }
    }

    async fn handshake(&mut self) -> Hello {
        let first = self.hello().await;
        assert_eq!((first.island_id.as_str(), first.proof.len()), ("isl_1", 0));
        self.say(Said::Challenge(Challenge {
            nonce: NONCE.to_vec(),
        }))
        .await;
        let second = self.hello().await;
        let proven = [b"atoll-session-v1\0".as_slice(), &NONCE, self.key.as_bytes()];
        verify(&self.key, &proven.concat(), &second.proof);
        self.say(Said::Welcome(Welcome {
            session_id: "ses_1".to_owned(),
            heartbeat_ms: 20_000,
        }))
        .await;
        second
    }

    pub(super) async fn ask(&mut self) -> PostAsk {
        match self.next().await {
            Some(Heard::PostAsk(ask)) => ask,
            other => panic!("{other:?} is no ask"),
        }
    }

    pub(super) async fn accept(&self, ask: &PostAsk, order: &str) {
        self.report(ask, order, AskStatus::Accepted, ask.jobs, "").await;
    }

    pub(super) async fn report(
        &self,
        ask: &PostAsk,
        order: &str,
        status: AskStatus,
        leaves: u32,
        code: &str,
    ) {
        self.say(Said::AskReport(AskReport {
            client_order_id: ask.client_order_id.clone(),
            order_id: order.to_owned(),
            status: status.into(),
            leaves,
            code: code.to_owned(),
            price: ask.price,
            model: ask.model.clone(),
        }))
        .await;
    }

    pub(super) async fn acknowledged(&mut self, lease: &str) {
        match self.next().await {
            Some(Heard::Acknowledge(message)) => assert_eq!(message.lease_id, lease),
            other => panic!("{other:?} is no acknowledgement of {lease}"),
        }
    }

    pub(super) async fn declined(&mut self, lease: &str) -> String {
        match self.next().await {
            Some(Heard::Decline(message)) => {
                assert_eq!(message.lease_id, lease);
                message.reason
            }
            other => panic!("{other:?} does not decline {lease}"),
        }
    }

    /// Reads an acknowledged job to its end; every index, chain and signature is checked.
    pub(super) async fn finish(&mut self, assign: &Assign) -> JobRecord {
        self.finish_from(assign, Vec::new()).await
    }

    /// The same, after these ids were read.
    pub(super) async fn finish_from(&mut self, assign: &Assign, ids: Vec<u32>) -> JobRecord {
        let (mut ids, mut checkpoints) = (ids, Vec::new());
        loop {
            match self.next().await.unwrap() {
                Heard::Output(output) => {
                    assert_eq!((&output.lease_id, output.epoch), (&assign.lease_id, assign.epoch));
                    assert_eq!(usize::try_from(output.first_index).unwrap(), ids.len());
                    ids.extend(output.ids);
                }
                Heard::Checkpoint(checkpoint) => {
                    let receipt = self.check(checkpoint.receipt, assign, &ids);
                    assert_eq!(receipt.body.kind, ReceiptKind::Checkpoint);
                    checkpoints.push(receipt.body.output_tokens.get());
                }
                Heard::Finished(finished) => {
                    let receipt = self.check(finished.receipt.clone(), assign, &ids);
                    assert_eq!(receipt.body.kind, ReceiptKind::Final);
                    return JobRecord {
                        ids,
                        checkpoints,
                        finished,
                        receipt,
                    };
                }
                other => panic!("{other:?} is no part of a job"),
            }
        }
    }

    fn check(&self, receipt: Option<types::SignedReceipt>, assign: &Assign, ids: &[u32]) -> SignedReceipt {
        let receipt = receipt_from_wire("receipt", receipt).unwrap();
        let body = &receipt.body;
        let lease: LeaseId = assign.lease_id.parse().unwrap();
        let epoch = LeaseEpoch::new(assign.epoch.try_into().unwrap());
        let chain = ids
            .iter()
            .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id));
        let read = [assign.prompt_ids.as_slice(), &assign.emitted_ids].concat();
        assert_eq!(receipt.island_public_key, self.key.to_bytes());
        verify(&self.key, &body.signed_bytes(), &receipt.island_signature);
        assert_eq!((body.lease, body.epoch, body.chain), (lease, epoch, chain));
        assert_eq!(body.job.to_string(), assign.job_id);
        assert_eq!(usize::try_from(body.output_tokens.get()).unwrap(), ids.len());
        assert_eq!(usize::try_from(body.prompt_tokens.get()).unwrap(), read.len());
        assert_eq!(body.prompt, Digest::of_tokens(&read));
        assert!(body.started_at <= body.signed_at);
        receipt
    }

    /// Countersigns and pays.
    pub(super) async fn pay(&self, receipt: &SignedReceipt, earned_nano: i64) {
        let signed = countersign(receipt, &self.exchange);
        self.pay_with(receipt, Some(signed), earned_nano).await;
    }

    pub(super) async fn pay_with(
        &self,
        receipt: &SignedReceipt,
        signed: Option<types::SignedReceipt>,
        earned_nano: i64,
    ) {
        self.say(Said::ReceiptReport(ReceiptReport {
            receipt: signed,
            code: String::new(),
            earned_nano,
            lease_id: receipt.body.lease.to_string(),
        }))
        .await;
    }
}

pub(super) fn countersign(receipt: &SignedReceipt, key: &SigningKey) -> types::SignedReceipt {
    let mut bytes = receipt.body.signed_bytes();
    bytes.extend_from_slice(&receipt.island_signature);
    receipt_to_wire(&SignedReceipt {
        countersignature: Some((key.sign(&bytes).to_bytes(), key.verifying_key().to_bytes())),
        ..*receipt
    })
}

fn verify(key: &VerifyingKey, bytes: &[u8], signature: &[u8]) {
    let signature = Signature::from_slice(signature).unwrap();
    key.verify_strict(bytes, &signature).unwrap();
}

pub(super) fn tier(tier: types::Tier) -> Said {
    Said::TierAssigned(TierAssigned {
        model: MODEL.to_owned(),
        tier: tier.into(),
        decode_per_second: 48.5,
        reason: "measured".to_owned(),
    })
}

/// A job of `max_tokens` ids.
pub(super) fn assign(number: u32, max_tokens: u32) -> Assign {
    Assign {
        lease_id: format!("lse_{number}"),
        epoch: 0,
        job_id: format!("job_{number}"),
        model: MODEL.to_owned(),
        price: PRICE,
        prompt_ids: vec![1, 2, 3],
        emitted_ids: Vec::new(),
        max_tokens,
        sampling: Some(Sampling {
            seed: 5,
            ..Sampling::default()
        }),
        stop_ids: Vec::new(),
        acknowledge_within_ms: 1_000,
        canary: false,
    }
}

pub(super) fn revoke(number: u32) -> Said {
    Said::Revoke(Revoke {
        lease_id: format!("lse_{number}"),
        epoch: 0,
        reason: "the consumer left".to_owned(),
    })
}

pub(super) fn goodbye(retry_after_ms: u32) -> Said {
    Said::Goodbye(Goodbye {
        reason: "maintenance".to_owned(),
        retry_after_ms,
    })
}
