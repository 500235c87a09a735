//! The floor: a gRPC service that answers a message with bytes and does nothing else.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context as _, Result};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::stage::connect;

/// What goes either way.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    /// Any bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) bytes: Vec<u8>,
}

impl Payload {
    /// A message that is encoded in `size` bytes, or as few more as there must be.
    pub(super) fn of_size(size: usize) -> Self {
        // The field's key and its length take three bytes up to 16 KiB.
        Self {
            bytes: vec![0x5A; size.saturating_sub(3)],
        }
    }
}

type Codec = ProstCodec<Payload, Payload>;

const STREAM: &str = "/measured.Echo/Stream";
const ONCE: &str = "/measured.Echo/Once";

/// A running floor. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Echo {
    url: String,
    serving: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Echo {
    /// Serves a floor whose answers are of that size, on a free port.
    pub(super) async fn serve(answer_size: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answer = Answer {
            payload: Payload::of_size(answer_size),
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tokio::spawn(async move {
            if let Err(error) = Server::builder()
                .add_service(answer)
                .serve_with_incoming(incoming)
                .await
            {
                eprintln!("the floor broke: {error}");
            }
        });
        Ok(Self { url, serving })
    }

    /// A client with a connection of its own.
    pub(super) async fn client(&self) -> Result<EchoClient> {
        Ok(EchoClient(tonic::client::Grpc::new(connect(&self.url).await?)))
    }
}

/// A client of the floor.
#[derive(Debug)]
pub(super) struct EchoClient(tonic::client::Grpc<Channel>);

impl EchoClient {
    /// Opens a stream of messages either way.
    pub(super) async fn stream(&mut self, said: mpsc::Receiver<Payload>) -> Result<Streaming<Payload>> {
        self.0.ready().await?;
        let request = Request::new(ReceiverStream::new(said));
        let path = PathAndQuery::from_static(STREAM);
        let answered = self.0.streaming(request, path, Codec::default()).await;
        Ok(answered.context("the floor refused a stream")?.into_inner())
    }

    /// Sends one message and waits for its answer.
    pub(super) async fn once(&mut self, payload: Payload) -> Result<Payload> {
        self.0.ready().await?;
        let path = PathAndQuery::from_static(ONCE);
        let answered = self.0.unary(Request::new(payload), path, Codec::default()).await;
        Ok(answered.context("the floor refused a call")?.into_inner())
    }
}

/// The service: every message is answered with the same payload.
#[derive(Clone)]
struct Answer {
    payload: Payload,
}

impl tonic::server::NamedService for Answer {
    const NAME: &'static str = "measured.Echo";
}

impl Service<http::Request<Body>> for Answer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(if request.uri().path() == STREAM {
                grpc.streaming(answer, request).await
            } else {
                grpc.unary(answer, request).await
            })
        })
    }
}

impl tonic::server::UnaryService<Payload> for Answer {
    type Response = Payload;
    type Future = Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, _: Request<Payload>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.payload.clone())))
    }
}

impl tonic::server::StreamingService<Payload> for Answer {
    type Response = Payload;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Payload>>) -> Self::Future {
        let payload = self.payload.clone();
        let answers = request
            .into_inner()
            .map(move |message| message.map(|_| payload.clone()));
        std::future::ready(Ok(Response::new(Box::pin(answers))))
    }
}
