//! The core's shell: carries out its effects, reads its inputs, fires its timer.
//!
//! One task owns the core. What goes to the exchange waits in a bounded outbox; while that is full, neither the
//! exchange nor the runners are listened to, so a slow link slows the runners and loses nothing.

mod clock;
mod connection;
mod jobs;
mod notices;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use domain::Tier;
use proto::agent::v1::{Offer, SessionRequest, SessionResponse};
use service::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use connection::AddressError;

use clock::Clock;
use connection::{Address, Exchange, Stream, Unreached};
use jobs::Jobs;
use wire::Card;

use crate::agent::{Agent, Settings};
use crate::config::Config;
use crate::earnings::{EarningLine, EarningsLog};
use crate::effect::{Closing, Effect, Input, Outgoing, Stopped};
use crate::identity::Identity;
use crate::limits::{FLUSH_WITHIN, OUTBOX_MAX};
use crate::offers::Prepared;
use crate::status::Status;

/// An Island that is ready to connect.
#[derive(Debug)]
pub(crate) struct Shell {
    agent: Agent,
    clock: Clock,
    identity: Arc<Identity>,
    address: Arc<Address>,
    display_name: String,
    card: Card,
    link: Link,
    outbox: VecDeque<SessionRequest>,
    exchange: Option<Exchange>,
    jobs: Jobs,
    earnings: EarningsLog,
    status: watch::Sender<Status>,
}

/// What connects this Island with the exchange at the moment.
#[derive(Debug)]
enum Link {
    None,
    Enrolling {
        answer: oneshot::Receiver<Result<Exchange, Unreached>>,
        _task: AbortOnDropHandle<()>,
    },
    Session(Stream),
}

/// What the loop woke up for.
enum Event {
    ShutdownRequested,
    Enrolled(Result<Exchange, Unreached>),
    Said(Result<SessionResponse, String>),
    Room(mpsc::OwnedPermit<SessionRequest>),
    StreamClosed,
    Job(Input),
    Timeout,
}

/// What a shell is made of besides its configuration.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) earnings: EarningsLog,
    pub(crate) offers: Vec<Prepared>,
    pub(crate) settings: Settings,
    pub(crate) status: watch::Sender<Status>,
}

impl Shell {
    pub(crate) fn new(config: &Config, parts: Parts) -> Result<Self, AddressError> {
        let clock = Clock::start();
        let address = Address::new(&config.exchange, config.exchange_ca.as_deref(), &config.api_key)?;
        let runners = parts
            .offers
            .iter()
            .map(|offer| (offer.model().to_owned(), Arc::clone(&offer.runner)));
        Ok(Self {
            jobs: Jobs::new(runners.collect::<BTreeMap<_, _>>()),
            card: card(config, &parts.offers),
            agent: Agent::new(parts.settings, clock.now()),
            clock,
            identity: Arc::new(parts.identity),
            address: Arc::new(address),
            display_name: config.display_name.clone(),
            link: Link::None,
            outbox: VecDeque::new(),
            exchange: None,
            earnings: parts.earnings,
            status: parts.status,
        })
    }

    /// Runs until the Island was drained or is not wanted.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Stopped {
        let mut heard_shutdown = false;
        loop {
            let now = self.clock.now();
            if self.agent.poll_timeout().is_some_and(|at| at <= now) {
                self.agent.handle_timeout(now);
            }
            while let Some(effect) = self.agent.next_effect() {
                if let Some(stopped) = self.carry_out(effect).await {
                    self.publish();
                    return stopped;
                }
            }
            self.publish();
            let event = self.next_event(&shutdown, heard_shutdown).await;
            heard_shutdown |= matches!(event, Event::ShutdownRequested);
            self.take_in(event);
        }
    }

    async fn next_event(&mut self, shutdown: &Shutdown, heard_shutdown: bool) -> Event {
        let wake_at = self.agent.poll_timeout().map(|at| self.clock.instant_of(at));
        let has_room = self.outbox.len() < OUTBOX_MAX;
        tokio::select! {
            biased;
            () = shutdown.triggered(), if !heard_shutdown => Event::ShutdownRequested,
            event = self.link.next(!self.outbox.is_empty(), has_room) => event,
            input = self.jobs.next(), if has_room => Event::Job(input),
            () = sleep_until_some(wake_at.map(Instant::from_std)) => Event::Timeout,
        }
    }

    fn take_in(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Timeout => {}
            Event::ShutdownRequested => self.agent.handle(Input::DrainRequested, now),
            Event::Job(input) => self.agent.handle(input, now),
            Event::Room(permit) => {
                if let Some(message) = self.outbox.pop_front() {
                    permit.send(message);
                }
            }
            Event::Enrolled(Ok(exchange)) => {
                self.note_exchange(&exchange);
                let island = exchange.island;
                self.exchange = Some(exchange);
                self.link = Link::None;
                self.agent.handle(Input::Enrolled { island }, now);
            }
            Event::Enrolled(Err(Unreached { reason, remedy })) => {
                self.link = Link::None;
                self.agent.handle(Input::ConnectFailed { reason, remedy }, now);
            }
            Event::Said(Ok(response)) => {
                let exchange = self.exchange.as_ref().expect("a session follows an enrolment");
                let incoming = wire::from_wire(response, &self.identity, &exchange.key);
                self.agent.handle(Input::Received(incoming), now);
            }
            Event::Said(Err(reason)) => self.end_session(reason),
            Event::StreamClosed => self.end_session("the connection was lost".to_owned()),
        }
    }

    fn end_session(&mut self, reason: String) {
        self.link = Link::None;
        self.outbox.clear();
        self.agent
            .handle(Input::SessionEnded { reason }, self.clock.now());
    }

    /// An exchange that changes its key is another exchange, or has lost its own.
    fn note_exchange(&self, exchange: &Exchange) {
        if self
            .exchange
            .as_ref()
            .is_some_and(|known| known.key != exchange.key)
        {
            tracing::warn!("the exchange signs with another key than before");
        }
        tracing::info!(island = %exchange.island, "enrolled");
    }

    async fn carry_out(&mut self, effect: Effect) -> Option<Stopped> {
        match effect {
            Effect::Connect => {
                self.clock.catch_up();
                self.link = Link::enrol(
                    Arc::clone(&self.address),
                    Arc::clone(&self.identity),
                    self.display_name.clone(),
                );
            }
            Effect::OpenSession => {
                let exchange = self.exchange.as_ref().expect("a session follows an enrolment");
                self.outbox.clear();
                self.link = Link::Session(exchange.open());
            }
            Effect::Send(outgoing) => self.send(outgoing),
            Effect::CloseSession(Closing::Abrupt) => {
                self.outbox.clear();
                self.link = Link::None;
            }
            Effect::CloseSession(Closing::Orderly) => self.close_in_order().await,
            Effect::StartRun { run, assignment } => {
                let input = self.jobs.start(run, *assignment);
                self.agent.handle(input, self.clock.now());
            }
            Effect::CancelRun { run } => self.jobs.cancel(run),
            Effect::Record(earning) => {
                if let Err(error) = self.earnings.append(&EarningLine::from(&*earning)) {
                    tracing::warn!(%error, lease = %earning.body.lease, "could not write the earnings log");
                }
            }
            Effect::Tell(notice) => notices::log(&notice),
            Effect::Stop(stopped) => return Some(stopped),
        }
        None
    }

    fn send(&mut self, outgoing: Outgoing) {
        if let Link::Session(_) = self.link {
            let message = wire::to_wire(outgoing, &self.identity, &self.card);
            self.outbox.push_back(message);
        }
    }

    /// Lets everything that was said reach the exchange, for a bounded time.
    async fn close_in_order(&mut self) {
        let Link::Session(stream) = std::mem::replace(&mut self.link, Link::None) else {
            return;
        };
        let outbox = std::mem::take(&mut self.outbox);
        let flush = async {
            for message in outbox {
                if stream.outgoing.send(message).await.is_err() {
                    return;
                }
            }
            stream.finish().await;
        };
        if timeout(FLUSH_WITHIN, flush).await.is_err() {
            tracing::debug!("the exchange did not end the session in time");
        }
    }

    fn publish(&self) {
        let status = self.agent.status();
        self.status.send_if_modified(|current| {
            let is_new = *current != status;
            if is_new {
                *current = status;
            }
            is_new
        });
    }
}

impl Link {
    fn enrol(address: Arc<Address>, identity: Arc<Identity>, display_name: String) -> Self {
        let (sender, answer) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _ = sender.send(address.enrol(&identity, &display_name).await);
        });
        Self::Enrolling {
            answer,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The next thing that happens on this link; never, if it has none.
    async fn next(&mut self, wants_room: bool, listens: bool) -> Event {
        match self {
            Self::None => std::future::pending().await,
            Self::Enrolling { answer, .. } => {
                let answer = answer.await.unwrap_or_else(|_| {
                    Err(Unreached {
                        reason: "the attempt to enrol ended unexpectedly".to_owned(),
                        remedy: crate::effect::Remedy::Retry,
                    })
                });
                Event::Enrolled(answer)
            }
            Self::Session(stream) => {
                let outgoing = stream.outgoing.clone();
                tokio::select! {
                    biased;
                    permit = outgoing.reserve_owned(), if wants_room => {
                        // A closed sender is explained by the last item of the other direction.
                        match permit {
                            Ok(permit) => Event::Room(permit),
                            Err(_) => stream.last_word().await,
                        }
                    }
                    said = stream.incoming.recv(), if listens => said.map_or(Event::StreamClosed, Event::Said),
                }
            }
        }
    }
}

impl Stream {
    async fn last_word(&mut self) -> Event {
        self.incoming
            .recv()
            .await
            .map_or(Event::StreamClosed, Event::Said)
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn card(config: &Config, offers: &[Prepared]) -> Card {
    let tier_max: Option<Tier> = config.tier_max;
    Card {
        region: config.region.clone(),
        slots: config.slots,
        offers: offers
            .iter()
            .map(|offer| Offer {
                model: offer.model().to_owned(),
                model_digest: offer.digest.as_bytes().to_vec(),
                decode_per_second: offer.decode_per_second,
                prefill_per_second: offer.prefill_per_second,
            })
            .collect(),
        tier_max,
    }
}
