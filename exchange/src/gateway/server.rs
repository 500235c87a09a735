//! One port for all: HTTP/1.1 and HTTP/2, gRPC and JSON, with bounds on connections and on patience.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use service::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::sign_up::ClientAddress;
use crate::config::GatewayLimits;

/// How often an HTTP/2 peer is asked whether it lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Streams of one HTTP/2 connection: as many as an account may have jobs, and some to look around.
const STREAMS_PER_CONNECTION_MAX: u32 = 512;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 64 * 1_024;

/// How long nothing is accepted after the machine has run out of something, such as files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// A port that is being served.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    /// Accept nobody new.
    pub stop_accepting: Shutdown,
    /// Say goodbye to those who are there.
    pub stop: Shutdown,
    /// Ends after both, when all connections have.
    pub ended: JoinHandle<()>,
}

/// Serves `router` on a port that is bound.
///
/// # Errors
/// When the port's address cannot be told.
pub fn serve(listener: TcpListener, router: Router, limits: GatewayLimits) -> io::Result<Served> {
    let address = listener.local_addr()?;
    let (stop_accepting, stop) = (Shutdown::manual(), Shutdown::manual());
    let ended = tokio::spawn(accept(
        listener,
        router,
        limits,
        stop_accepting.clone(),
        stop.clone(),
    ));
    Ok(Served {
        address,
        stop_accepting,
        stop,
        ended,
    })
}

async fn accept(
    listener: TcpListener,
    router: Router,
    limits: GatewayLimits,
    stop_accepting: Shutdown,
    stop: Shutdown,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let hard_stop = Shutdown::manual();
    loop {
        let accepted = tokio::select! {
            () = stop_accepting.triggered() => break,
            accepted = next(&listener, &room) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let served = connection(
            stream,
            ClientAddress(peer.ip()),
            router.clone(),
            limits,
            &graceful,
        );
        let hard_stop = hard_stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                () = hard_stop.triggered() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    stop.triggered().await;
    if tokio::time::timeout(GOODBYE_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("connections that did not end by themselves are cut");
        hard_stop.trigger();
    }
}

async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(|_| io::Error::other("no more connections are taken"))?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn connection(
    stream: TcpStream,
    peer: ClientAddress,
    router: Router,
    limits: GatewayLimits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let watcher = graceful.watcher();
    let patience = limits.request_read_timeout;
    async move {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small packets may wait");
        }
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(HEAD_BYTES_MAX.try_into().unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(HEAD_BYTES_MAX);
        let spoke = Arc::new(Notify::new());
        let heard = Arc::clone(&spoke);
        let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            heard.notify_one();
            request.extensions_mut().insert(peer);
            request.map(Body::new)
        });
        let connection = builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!(error, "a connection broke");
            },
            () = silence(patience, &spoke) => tracing::debug!("a connection brought no request and is closed"),
        }
    }
}

/// Resolves when no request has come in that time: who connects and says nothing, or drips, is not waited for. Once one
/// has, the connection has timers of its own.
async fn silence(patience: Duration, spoke: &Notify) {
    if tokio::time::timeout(patience, spoke.notified()).await.is_ok() {
        std::future::pending().await
    }
}
