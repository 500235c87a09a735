//! The asks of one session: what the agent calls them, and what it is told about them.

use std::collections::HashMap;
use std::time::Duration;

use domain::{ClientOrderId, Digest, InstrumentId, Jobs, OrderId, Price, SessionId, Timestamp};
use matcher::EndReason;
use proto::agent::v1::{AskReport, AskStatus};
use proto::convert::agent::PostAsk;

use crate::leasing::agents::AskUpdate;

/// Asks that one session may have on the book or on their way.
pub(super) const ASKS_MAX: usize = 4_096;

/// Asks and cancels a second that one session may send: a pricing rule that reprices a hundred quotes a second is a
/// mistake in a rule.
const RATE_PER_SECOND: u32 = 20;

/// Asks and cancels that may come at once: all quotes of a large machine.
const RATE_BURST: u32 = 200;

/// What a session knows of its asks.
#[derive(Debug)]
pub(super) struct Asks {
    session: SessionId,
    /// Asks that were posted so far: a name may be used again when its ask has ended.
    posted: u64,
    names: HashMap<String, ClientOrderId>,
    known: HashMap<ClientOrderId, Ask>,
    by_order: HashMap<OrderId, ClientOrderId>,
    allowance: Allowance,
}

#[derive(Clone, Debug)]
struct Ask {
    name: String,
    model: String,
    price: Price,
    jobs: Jobs,
    order: Option<OrderId>,
}

/// A refusal that the engine never hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskRefusal {
    UnknownModel,
    RateLimited,
    TooMany,
    DuplicateName,
    UnknownOrder,
    StorageFull,
    Busy,
}

impl AskRefusal {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::UnknownModel => "UNKNOWN_INSTRUMENT",
            Self::RateLimited => "RATE_LIMITED",
            Self::TooMany => "TOO_MANY_ORDERS",
            Self::DuplicateName => "DUPLICATE_CLIENT_ORDER_ID",
            Self::UnknownOrder => "UNKNOWN_ORDER",
            Self::StorageFull => "STORAGE_FULL",
            Self::Busy => "BUSY",
        }
    }
}

impl Asks {
    pub(super) fn new(session: SessionId, now: Timestamp) -> Self {
        Self {
            session,
            posted: 0,
            names: HashMap::new(),
            known: HashMap::new(),
            by_order: HashMap::new(),
            allowance: Allowance::full(now),
        }
    }

    /// Takes note of an ask that is about to be placed, and names it for the engine: apart from those of all other
    /// Islands and sessions of the same owner.
    pub(super) fn post(
        &mut self,
        ask: &PostAsk,
        instrument: Option<InstrumentId>,
        now: Timestamp,
    ) -> Result<(ClientOrderId, InstrumentId), AskRefusal> {
        if !self.allowance.take(now) {
            return Err(AskRefusal::RateLimited);
        }
        let instrument = instrument.ok_or(AskRefusal::UnknownModel)?;
        if self.names.contains_key(&ask.client_order_id) {
            return Err(AskRefusal::DuplicateName);
        }
        if self.known.len() >= ASKS_MAX {
            return Err(AskRefusal::TooMany);
        }
        let client_order_id = self.next_name();
        self.names.insert(ask.client_order_id.clone(), client_order_id);
        self.known.insert(
            client_order_id,
            Ask {
                name: ask.client_order_id.clone(),
                model: ask.model.clone(),
                price: ask.price,
                jobs: ask.jobs,
                order: None,
            },
        );
        Ok((client_order_id, instrument))
    }

    /// Forgets an ask that did not get to the engine.
    pub(super) fn withdraw(&mut self, client_order_id: ClientOrderId) {
        drop(self.remove(client_order_id));
    }

    /// Whether an order may be cancelled by this session: it is one of its own asks.
    pub(super) fn cancel(&mut self, order: OrderId, now: Timestamp) -> Result<(), AskRefusal> {
        if !self.allowance.take(now) {
            return Err(AskRefusal::RateLimited);
        }
        if !self.by_order.contains_key(&order) {
            return Err(AskRefusal::UnknownOrder);
        }
        Ok(())
    }

    /// What the agent is told about an update; `None` for an ask that it was told the end of.
    pub(super) fn report(&mut self, update: AskUpdate) -> Option<AskReport> {
        match update {
            AskUpdate::Accepted {
                client_order_id,
                order,
                jobs,
            } => {
                let ask = self.known.get_mut(&client_order_id)?;
                ask.order = Some(order);
                ask.jobs = jobs;
                self.by_order.insert(order, client_order_id);
                Some(ask.report(AskStatus::Accepted, jobs, ""))
            }
            AskUpdate::Repeated {
                client_order_id,
                order,
            } => {
                // Every ask is named anew, so this is somebody else's order under a name that clashes.
                let mut ask = self.remove(client_order_id)?;
                ask.order = Some(order);
                Some(ask.report(AskStatus::Rejected, Jobs::ZERO, AskRefusal::DuplicateName.code()))
            }
            AskUpdate::Refused {
                client_order_id,
                reason,
            } => {
                let ask = self.remove(client_order_id)?;
                Some(ask.report(AskStatus::Rejected, Jobs::ZERO, reason.code()))
            }
            AskUpdate::Traded { order, leaves } => {
                let client_order_id = *self.by_order.get(&order)?;
                let ask = self.known.get_mut(&client_order_id)?;
                ask.jobs = leaves;
                let report = ask.report(AskStatus::Traded, leaves, "");
                if leaves == Jobs::ZERO {
                    self.forget(order);
                }
                Some(report)
            }
            AskUpdate::Ended {
                order,
                leaves,
                reason,
            } => {
                let ask = self.forget(order)?;
                Some(ask.report(AskStatus::Ended, leaves, end_code(reason)))
            }
            AskUpdate::CancelRefused { order, reason } => Some(refused_order(order, reason.code())),
        }
    }

    fn forget(&mut self, order: OrderId) -> Option<Ask> {
        let client_order_id = self.by_order.remove(&order)?;
        self.remove(client_order_id)
    }

    fn remove(&mut self, client_order_id: ClientOrderId) -> Option<Ask> {
        let ask = self.known.remove(&client_order_id)?;
        self.names.remove(&ask.name);
        Some(ask)
    }

    fn next_name(&mut self) -> ClientOrderId {
        self.posted = self.posted.saturating_add(1);
        let mut bytes = b"atoll-ask\0".to_vec();
        bytes.extend_from_slice(&self.session.get().to_be_bytes());
        bytes.extend_from_slice(&self.posted.to_be_bytes());
        let digest = Digest::of(&bytes);
        let first = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
        ClientOrderId::new(u128::from_be_bytes(first))
    }
}

impl Ask {
    fn report(&self, status: AskStatus, leaves: Jobs, code: &str) -> AskReport {
        AskReport {
            client_order_id: self.name.clone(),
            order_id: self.order.map_or_else(String::new, |order| order.to_string()),
            status: status.into(),
            leaves: leaves.get(),
            code: code.to_owned(),
            price: self.price.get(),
            model: self.model.clone(),
        }
    }
}

/// An ask that was refused before the engine heard of it.
pub(super) fn refused_ask(ask: &PostAsk, refusal: AskRefusal) -> AskReport {
    AskReport {
        client_order_id: ask.client_order_id.clone(),
        order_id: String::new(),
        status: AskStatus::Rejected.into(),
        leaves: 0,
        code: refusal.code().to_owned(),
        price: ask.price.get(),
        model: ask.model.clone(),
    }
}

/// A cancel that was refused.
pub(super) fn refused_order(order: OrderId, code: &str) -> AskReport {
    AskReport {
        order_id: order.to_string(),
        status: AskStatus::Rejected.into(),
        code: code.to_owned(),
        ..AskReport::default()
    }
}

fn end_code(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Cancelled => "CANCELLED",
        EndReason::Immediate => "IMMEDIATE",
        EndReason::Expired => "EXPIRED",
        EndReason::SessionLost => "SESSION_LOST",
        EndReason::DeadMan => "DEAD_MAN",
        EndReason::SelfTrade => "SELF_TRADE",
        EndReason::NotQuotable => "NOT_QUOTABLE",
    }
}

/// A bucket of tokens that fills with time.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    filled_at: Timestamp,
}

impl Allowance {
    fn full(now: Timestamp) -> Self {
        Self {
            left: RATE_BURST,
            filled_at: now,
        }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        let each = Duration::from_secs(1)
            .checked_div(RATE_PER_SECOND)
            .unwrap_or_default();
        while self.left < RATE_BURST && self.filled_at.after(each) <= now {
            self.left += 1;
            self.filled_at = self.filled_at.after(each);
        }
        if self.left == RATE_BURST {
            self.filled_at = self.filled_at.max(now);
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TimeInForce;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn ask(name: &str) -> PostAsk {
        PostAsk {
            client_order_id: name.to_owned(),
            model: "m".to_owned(),
            price: Price::MIN,
            jobs: Jobs::new(3),
            time_in_force: TimeInForce::Gtc,
            post_only: false,
        }
    }

    fn post(asks: &mut Asks, name: &str, now: Timestamp) -> Result<ClientOrderId, AskRefusal> {
        asks.post(&ask(name), Some(InstrumentId::new(0)), now)
            .map(|(id, _)| id)
    }

    #[test]
    fn a_name_is_free_again_when_its_ask_has_ended() {
        let mut asks = Asks::new(SessionId::new(1), NOW);
        let id = post(&mut asks, "a", NOW).unwrap();
        assert_eq!(post(&mut asks, "a", NOW), Err(AskRefusal::DuplicateName));
        let order = OrderId::new(5);
        let accepted = AskUpdate::Accepted {
            client_order_id: id,
            order,
            jobs: Jobs::new(3),
        };
        assert_eq!(asks.report(accepted).unwrap().order_id, order.to_string());
        assert_eq!(asks.cancel(order, NOW), Ok(()));
        let traded = |leaves| AskUpdate::Traded {
            order,
            leaves: Jobs::new(leaves),
        };
        assert_eq!(asks.report(traded(1)).unwrap().leaves, 1);
        assert_eq!(asks.report(traded(0)).unwrap().client_order_id, "a");
        assert_eq!(asks.report(traded(0)), None);
        assert_eq!(asks.cancel(order, NOW), Err(AskRefusal::UnknownOrder));
        assert!(post(&mut asks, "a", NOW).is_ok());
    }

    #[test]
    fn the_same_name_in_two_sessions_is_two_names() {
        let mut one = Asks::new(SessionId::new(1), NOW);
        let mut two = Asks::new(SessionId::new(2), NOW);
        assert_ne!(post(&mut one, "a", NOW), post(&mut two, "a", NOW));
    }

    #[test]
    fn the_rate_is_bounded_and_recovers_with_time() {
        let mut asks = Asks::new(SessionId::new(1), NOW);
        for number in 0..RATE_BURST {
            assert!(post(&mut asks, &number.to_string(), NOW).is_ok());
        }
        assert_eq!(post(&mut asks, "more", NOW), Err(AskRefusal::RateLimited));
        assert_eq!(asks.cancel(OrderId::new(1), NOW), Err(AskRefusal::RateLimited));
        let later = NOW.after(Duration::from_millis(100));
        assert!(post(&mut asks, "x", later).is_ok());
        assert!(post(&mut asks, "y", later).is_ok());
        assert_eq!(post(&mut asks, "z", later), Err(AskRefusal::RateLimited));
    }

    #[test]
    fn a_session_has_a_bounded_number_of_asks() {
        let mut asks = Asks::new(SessionId::new(1), NOW);
        let mut now = NOW;
        for number in 0..ASKS_MAX {
            now = now.after(Duration::from_millis(50));
            assert!(post(&mut asks, &number.to_string(), now).is_ok());
        }
        now = now.after(Duration::from_millis(50));
        assert_eq!(post(&mut asks, "more", now), Err(AskRefusal::TooMany));
    }
}
