//! Figures for Prometheus: a service registers them, and one small endpoint shows them.
//!
//! Each service has a registry of its own, so that several in one process do not add up. Nothing is worked out when somebody
//! looks: what is shown was counted when it happened. Deliberately absent: HTTP beyond one short request and its answer.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, timeout};

use crate::shutdown::Shutdown;

pub use metrics::{Counter, Gauge, Histogram};

/// What is asked for.
const PATH: &str = "GET /metrics ";
/// The longest request: a scraper's has a few hundred bytes.
const REQUEST_SIZE_MAX: usize = 8 << 10;
/// How many may ask at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a question may take, the answer with it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often samples are put into their buckets if nobody looks, so that they do not pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Bounds of times, in seconds: from a commit in memory to a disk that does not answer.
const SECONDS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Bounds of sizes: powers of two.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A service's figures. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<PrometheusRecorder>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// None yet. Histograms whose name ends in `_seconds` or `_size` get the buckets that fit.
    ///
    /// # Panics
    /// Never: there are buckets.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES))
            .expect("there are buckets");
        Self(Arc::new(builder.build_recorder()))
    }

    /// A number that only grows, such as `billing_transfers_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.0.describe_counter(name.into(), None, help.into());
        self.0.register_counter(&Key::from_static_name(name), &METADATA)
    }

    /// One of several counters of a name, told apart by a label. Labels are few: codes, not ids.
    pub fn labelled(&self, name: &'static str, label: &'static str, value: &str) -> Counter {
        let key = Key::from_parts(name, vec![Label::new(label, value.to_owned())]);
        self.0.register_counter(&key, &METADATA)
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.0.describe_gauge(name.into(), None, help.into());
        self.0.register_gauge(&Key::from_static_name(name), &METADATA)
    }

    /// Many numbers, by size.
    pub fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        self.0.describe_histogram(name.into(), None, help.into());
        self.0.register_histogram(&Key::from_static_name(name), &METADATA)
    }

    /// All of them as Prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.handle().render()
    }

    /// Answers `GET /metrics` until the shutdown.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = shutdown.triggered() => return,
                _ = upkeep.tick() => {
                    self.0.handle().run_upkeep();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            // Who comes when too many are there is hung up on, and comes again.
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                continue;
            };
            let (metrics, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = shutdown.triggered() => {}
                    answered = timeout(ANSWER_WITHIN, metrics.answer(stream)) => drop(answered),
                }
                drop(permit);
            });
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            if request.len() > REQUEST_SIZE_MAX || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let (status, body) = if request.starts_with(PATH.as_bytes()) {
            ("200 OK", self.text())
        } else {
            ("404 Not Found", "ask for GET /metrics\n".to_owned())
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // Who is hung up on may hear of it as a reset.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn what_was_counted_is_shown_and_nothing_else_answered() {
        let metrics = Metrics::new();
        metrics.counter("a_total", "How many.").increment(3);
        metrics.labelled("b_total", "code", "X").increment(1);
        metrics.gauge("c", "How much.").set(7);
        metrics.histogram("d_seconds", "How long.").record(0.02);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::manual();
        let serving = tokio::spawn(metrics.serve(listener, shutdown.clone()));
        let shown = ask(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        for line in [
            "HTTP/1.1 200 OK",
            "# HELP a_total How many.",
            "a_total 3",
            "b_total{code=\"X\"} 1",
            "c 7",
            "d_seconds_bucket{le=\"0.01\"} 0",
            "d_seconds_bucket{le=\"0.025\"} 1",
            "d_seconds_count 1",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(
            ask(address, b"GET / HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 404")
        );
        assert!(
            ask(address, b"POST /metrics HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 404")
        );
        assert_eq!(ask(address, &vec![b'x'; REQUEST_SIZE_MAX + 4_096]).await, "");
        // Those who say nothing do not keep the others out for ever, nor the endpoint from ending.
        let silent = TcpStream::connect(address).await.unwrap();
        assert!(
            ask(address, b"GET /metrics HTTP/1.1\r\n\r\n")
                .await
                .contains("a_total 3")
        );
        shutdown.trigger();
        serving.await.unwrap();
        drop(silent);
    }
}
