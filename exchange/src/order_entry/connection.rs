//! One connection of a session: a task reads commands, another sends reports, and the end says why.
//!
//! Invariants: a message that arrived is carried out whole, whatever becomes of the connection meanwhile; what was
//! handed out for sending is sent before the goodbye.

use std::sync::Arc;
use std::time::Duration;

use proto::convert::id_from_wire;
use proto::convert::order_entry::COMMANDS_PER_MESSAGE_MAX;
use proto::exchange::v1 as wire;
use proto::exchange::v1::session_request::Start;
use service::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status, Streaming};

use super::OrderEntry;
use super::intake::Intake;
use super::report_log::REPORTS_KEPT_MAX;
use super::session::{Attachment, OnDisconnect, Outgoing, Session};
use crate::gateway::auth::KeyError;
use crate::gateway::errors::{
    BODY_TOO_LARGE, INVALID_ARGUMENT, REQUEST_TIMEOUT, RESUMED_ELSEWHERE, Refusal, STOPPING, STREAM_STALLED,
};
use crate::identity::Identity;

/// Messages that wait for the connection to take them.
pub(super) const MESSAGES_QUEUED_MAX: usize = 2;

/// How often a client hears that his session lives when there is nothing to tell.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// What goes to the client.
pub(super) type Response = Result<wire::SessionResponse, Status>;

/// A connection whose client has proven who he is.
pub(super) struct Connection {
    pub(super) entry: OrderEntry,
    pub(super) caller: Identity,
    pub(super) key: Secret,
    pub(super) requests: Streaming<wire::SessionRequest>,
    pub(super) responses: mpsc::Sender<Response>,
    /// The last message, which finds its place even if the client reads nothing.
    pub(super) last: oneshot::Sender<Response>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run(self) {
        let Self {
            entry,
            caller,
            key,
            mut requests,
            responses,
            last,
        } = self;
        let (session, attachment, first) = match begin(&entry, caller, &mut requests).await {
            Ok(begun) => begun,
            Err(refusal) => {
                // A client who has gone does not miss it.
                drop(last.send(Err(refusal.into_status())));
                return;
            }
        };
        let desk = Arc::clone(&entry.desk);
        let opened = wire::SessionResponse {
            opened: Some(wire::SessionOpened {
                session_id: session.id.to_string(),
                next_report: session.resume_token().next_report,
                resume_within_ms: u64::try_from(desk.resume_within.as_millis()).unwrap_or(u64::MAX),
                reports_kept_max: u64::try_from(REPORTS_KEPT_MAX).unwrap_or(u64::MAX),
                cancels_on_disconnect: session.on_disconnect == OnDisconnect::Cancel,
            }),
            ..wire::SessionResponse::default()
        };
        let outflow = Outflow {
            session: Arc::clone(&session),
            attachment: attachment.clone(),
            responses,
            stall: entry.gateway.limits.stream_stall_timeout,
        };
        let outflow = desk.tasks.spawn(outflow.run(opened, last));
        let keys = Arc::clone(&entry.gateway.keys);
        let key = Arc::new(key);
        let intake = Intake {
            entry,
            session: Arc::clone(&session),
            caller,
            key: Arc::clone(&key),
        };
        let reading = Reading {
            intake,
            attachment: &attachment,
        };
        tokio::select! {
            () = reading.run(first, &mut requests) => {}
            () = revocation(&keys, &key, &attachment) => {}
        }
        // A panic there leaves nothing to wait for.
        drop(outflow.await);
        if session.detach(&attachment) {
            desk.deserted(session, attachment);
        }
    }
}

/// Opens or resumes a session, as the first message says.
async fn begin(
    entry: &OrderEntry,
    caller: Identity,
    requests: &mut Streaming<wire::SessionRequest>,
) -> Result<(Arc<Session>, Attachment, wire::SessionRequest), Refusal> {
    let patience = entry.gateway.limits.request_read_timeout;
    let first = match tokio::time::timeout(patience, requests.message()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => {
            return Err(
                INVALID_ARGUMENT.because("the stream ended before its first message opened a session")
            );
        }
        Ok(Err(status)) => return Err(of_broken(&status)),
        Err(_) => {
            return Err(REQUEST_TIMEOUT.because(format!(
                "no message opened or resumed a session within {} s",
                patience.as_secs()
            )));
        }
    };
    let (session, attachment) = match &first.start {
        Some(Start::Open(open)) => {
            let on_disconnect = if open.keep_orders_on_disconnect {
                OnDisconnect::Keep
            } else {
                OnDisconnect::Cancel
            };
            entry.desk.open(caller.account, on_disconnect).await?
        }
        Some(Start::Resume(resume)) => {
            let id = id_from_wire("resume.session_id", &resume.session_id)?;
            entry.desk.resume(caller.account, id, resume.next_report)?
        }
        None => {
            return Err(INVALID_ARGUMENT
                .because("is required: the first message opens or resumes a session")
                .at("start"));
        }
    };
    Ok((session, attachment, first))
}

/// Ends the connection when the key is no longer good. It is asked about no more often than it is remembered.
async fn revocation(keys: &crate::gateway::auth::Keys, key: &Secret, attachment: &Attachment) {
    loop {
        tokio::select! {
            _ = attachment.ended() => return std::future::pending().await,
            () = tokio::time::sleep(keys.good_for(key.expose())) => {}
        }
        match keys.identify(key.expose()).await {
            Ok(_) | Err(KeyError::Unavailable) => {}
            Err(
                error @ (KeyError::Missing
                | KeyError::Malformed
                | KeyError::Unknown
                | KeyError::Revoked
                | KeyError::Expired),
            ) => {
                attachment.end(Some(error.into()));
                return std::future::pending().await;
            }
        }
    }
}

/// The way in.
struct Reading<'a> {
    intake: Intake,
    attachment: &'a Attachment,
}

impl Reading<'_> {
    async fn run(&self, first: wire::SessionRequest, requests: &mut Streaming<wire::SessionRequest>) {
        let mut next = Some(first);
        let mut is_first = true;
        while let Some(message) = next {
            if let Err(why) = self.message(message, is_first).await {
                return self.attachment.end(Some(why));
            }
            is_first = false;
            let message = async {
                // Who does not read what his commands brought is not read from either.
                self.intake.session.has_room_for_commands().await;
                requests.message().await
            };
            next = tokio::select! {
                biased;
                _ = self.attachment.ended() => return,
                message = message => match message {
                    Ok(message) => message,
                    Err(status) => return self.attachment.end(Some(of_broken(&status))),
                },
            };
        }
        // He has closed his side: he has gone.
        self.attachment.end(None);
    }

    async fn message(&self, message: wire::SessionRequest, is_first: bool) -> Result<(), Refusal> {
        if message.start.is_some() && !is_first {
            return Err(INVALID_ARGUMENT
                .because("is for the first message only")
                .at("start"));
        }
        if message.commands.len() > COMMANDS_PER_MESSAGE_MAX {
            return Err(INVALID_ARGUMENT
                .because(format!(
                    "has more than {COMMANDS_PER_MESSAGE_MAX}; none of them was carried out"
                ))
                .at("commands"));
        }
        if message.received_through > 0 {
            let received = self.intake.session.received(message.received_through);
            received.map_err(|_| {
                INVALID_ARGUMENT
                    .because("is beyond the last report that was sent")
                    .at("received_through")
            })?;
        }
        let carried_out = self.intake.carry_out(message.commands).await;
        carried_out.map_err(|closed| STOPPING.because(closed.to_string()))
    }
}

/// The way out.
struct Outflow {
    session: Arc<Session>,
    attachment: Attachment,
    responses: mpsc::Sender<Response>,
    stall: Duration,
}

impl Outflow {
    async fn run(self, opened: wire::SessionResponse, last: oneshot::Sender<Response>) {
        let why = self.send_all(opened).await;
        let Some(why) = why else { return };
        let may_resume = ![STOPPING, RESUMED_ELSEWHERE].contains(&why.kind);
        let goodbye = wire::SessionGoodbye {
            code: why.kind.code.to_owned(),
            message: match &why.field {
                Some(field) => format!("{field}: {}", why.message),
                None => why.message,
            },
            resume: may_resume.then(|| self.session.resume_token()),
        };
        let response = wire::SessionResponse {
            goodbye: Some(goodbye),
            ..wire::SessionResponse::default()
        };
        // A client who has gone does not miss it.
        drop(last.send(Ok(response)));
    }

    /// Sends until the connection ends; returns why, if somebody may still hear of it.
    async fn send_all(&self, opened: wire::SessionResponse) -> Option<Refusal> {
        match self.place().await {
            Ok(place) => place.send(Ok(opened)),
            Err(ended) => return ended,
        }
        loop {
            // A place first: what is taken from the log is sent, whatever ends the connection meanwhile.
            let place = match self.place().await {
                Ok(place) => place,
                Err(ended) => return ended,
            };
            match self.session.outgoing(&self.attachment) {
                Outgoing::Reports(reports) => place.send(Ok(wire::SessionResponse {
                    reports,
                    ..wire::SessionResponse::default()
                })),
                Outgoing::End(why) => {
                    self.attachment.end(Some(why.clone()));
                    return Some(why);
                }
                Outgoing::Nothing => tokio::select! {
                    ended = self.attachment.ended() => return ended,
                    () = self.responses.closed() => return self.gone(),
                    () = self.session.awake() => {}
                    () = tokio::time::sleep(HEARTBEAT_INTERVAL) => place.send(Ok(wire::SessionResponse::default())),
                },
            }
        }
    }

    /// A place for one message, or the end of the connection if it has come.
    async fn place(&self) -> Result<mpsc::Permit<'_, Response>, Option<Refusal>> {
        tokio::select! {
            biased;
            ended = self.attachment.ended() => Err(ended),
            place = tokio::time::timeout(self.stall, self.responses.reserve()) => match place {
                Ok(Ok(place)) => Ok(place),
                Ok(Err(_gone)) => Err(self.gone()),
                Err(_stalled) => {
                    let why = STREAM_STALLED.because(format!(
                        "the stream was left unread for {} s; its reports are kept, resume from the first that has not \
                         arrived",
                        self.stall.as_secs()
                    ));
                    self.attachment.end(Some(why.clone()));
                    Err(Some(why))
                }
            },
        }
    }

    fn gone(&self) -> Option<Refusal> {
        self.attachment.end(None);
        None
    }
}

/// A message that could not be read, or a connection that broke.
fn of_broken(status: &Status) -> Refusal {
    if matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted) {
        return BODY_TOO_LARGE.because(status.message());
    }
    INVALID_ARGUMENT.because(format!("the message could not be read: {}", status.message()))
}
