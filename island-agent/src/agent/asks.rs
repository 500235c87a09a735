//! The asks of one session: at most one a model, posted once its tier is assigned, renewed when it is
//! filled or ends, and priced anew when the load has moved the price.

use std::time::Duration;

use domain::{OrderId, Price, SessionId, Tier, Timestamp};

use super::backoff::{Backoff, BackoffRule};
use crate::effect::{AskReport, AskStatus, Effect, Notice, Outgoing};
use crate::limits::{ASK_ANSWER_WITHIN, ASK_RETRY_FIRST, ASK_RETRY_MAX};
use crate::pricing::PricingRule;

/// How asks are made.
#[derive(Clone, Debug)]
pub struct AskRule {
    /// The price.
    pub pricing: PricingRule,
    /// Jobs an ask offers.
    pub jobs: u32,
    /// The least time between two prices of one model.
    pub reprice_after: Duration,
}

/// What asks depend on at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) session: SessionId,
    pub(super) busy: u32,
    pub(super) now: Timestamp,
}

/// One model's ask, for the status.
#[derive(Clone, Debug)]
pub(super) struct AskView<'a> {
    pub(super) model: &'a str,
    pub(super) tier: Option<Tier>,
    pub(super) no_tier: Option<&'a str>,
    pub(super) resting: Option<(OrderId, Price, u32)>,
}

#[derive(Debug)]
pub(super) struct Asks {
    rule: AskRule,
    quotes: Vec<Quote>,
    /// Names the next ask; a session's asks never share a name.
    posted: u64,
}

#[derive(Debug)]
struct Quote {
    model: String,
    tier: Option<Tier>,
    /// Why there is no tier, once the exchange has said so.
    no_tier: Option<String>,
    state: State,
    retry: Backoff,
}

#[derive(Clone, Debug)]
enum State {
    Absent {
        not_before: Timestamp,
    },
    Posted {
        ask: Ask,
        answer_by: Timestamp,
        sent: Sent,
    },
    Resting {
        ask: Ask,
        order: OrderId,
        leaves: u32,
    },
    Cancelling {
        ask: Ask,
        order: OrderId,
        send_at: Timestamp,
    },
}

/// How often an ask was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Never,
    Once,
    Again,
}

#[derive(Clone, Debug)]
struct Ask {
    client_order_id: String,
    price: Price,
    posted_at: Timestamp,
}

impl Asks {
    pub(super) fn new(rule: AskRule, models: impl Iterator<Item = String>, seed: u64) -> Self {
        let retry = BackoffRule {
            first: ASK_RETRY_FIRST,
            longest: ASK_RETRY_MAX,
        };
        let quotes = models.zip(seed..).map(|(model, seed)| Quote {
            model,
            tier: None,
            no_tier: None,
            state: State::Absent {
                not_before: Timestamp::ZERO,
            },
            retry: Backoff::new(retry, seed),
        });
        Self {
            rule,
            quotes: quotes.collect(),
            posted: 0,
        }
    }

    /// The session is gone, and its asks with it.
    pub(super) fn forget(&mut self) {
        for quote in &mut self.quotes {
            quote.tier = None;
            quote.no_tier = None;
            quote.state = State::Absent {
                not_before: Timestamp::ZERO,
            };
            quote.retry.reset();
        }
    }

    /// Notes a model's tier, or why it has none; false if the model is not one of this Island's.
    pub(super) fn assign(&mut self, model: &str, tier: Option<Tier>, reason: &str) -> bool {
        let Some(quote) = self.quotes.iter_mut().find(|quote| quote.model == model) else {
            return false;
        };
        quote.tier = tier;
        quote.no_tier = tier.is_none().then(|| reason.to_owned());
        true
    }

    /// Whether the exchange has measured every model and found none that may be quoted.
    pub(super) fn are_hopeless(&self) -> bool {
        self.quotes.iter().all(|quote| quote.no_tier.is_some())
    }

    /// Takes a report. An ask in the book that this session does not want there is cancelled.
    pub(super) fn report(&mut self, report: AskReport, now: Timestamp, effects: &mut impl FnMut(Effect)) {
        let name = &report.client_order_id;
        let is_about = |quote: &&mut Quote| match (&report.status, &quote.state) {
            (AskStatus::CancelRefused { order, .. }, State::Cancelling { order: own, .. }) => order == own,
            _ => quote.ask().is_some_and(|ask| ask.client_order_id == *name),
        };
        if let Some(quote) = self.quotes.iter_mut().find(is_about) {
            if let Some(notice) = quote.report(report.status, now) {
                effects(Effect::Tell(notice));
            }
        } else if let AskStatus::Live { order, leaves: 1.. } = report.status {
            effects(Effect::Send(Outgoing::CancelAsk { order }));
        }
    }

    /// Posts, cancels and repeats what is due.
    pub(super) fn advance(&mut self, at: Circumstances, effects: &mut impl FnMut(Effect)) {
        for quote in &mut self.quotes {
            let price = self.rule.pricing.price(&quote.model, at.busy);
            let client_order_id = format!("{}-{}", at.session, self.posted);
            if quote.post(client_order_id, price, at.now) {
                self.posted = self.posted.saturating_add(1);
            } else {
                let stale = price != quote.ask().map_or(price, |ask| ask.price);
                quote.cancel(stale, self.rule.reprice_after, at.now);
            }
            quote.send(self.rule.jobs, at.now, effects);
        }
    }

    /// When [`Asks::advance`] has something to do without another input.
    pub(super) fn next_deadline(&self, busy: u32) -> Option<Timestamp> {
        let deadlines = self.quotes.iter().filter_map(|quote| match &quote.state {
            State::Absent { not_before } => quote.tier.map(|_| *not_before),
            State::Posted { answer_by: at, .. } | State::Cancelling { send_at: at, .. } => Some(*at),
            State::Resting { ask, .. } => {
                let stale = ask.price != self.rule.pricing.price(&quote.model, busy);
                stale.then(|| ask.posted_at.after(self.rule.reprice_after))
            }
        });
        deadlines.min()
    }

    pub(super) fn views(&self) -> impl Iterator<Item = AskView<'_>> {
        self.quotes.iter().map(|quote| AskView {
            model: &quote.model,
            tier: quote.tier,
            no_tier: quote.no_tier.as_deref(),
            resting: match &quote.state {
                State::Resting { ask, order, leaves } => Some((*order, ask.price, *leaves)),
                State::Absent { .. } | State::Posted { .. } | State::Cancelling { .. } => None,
            },
        })
    }
}

impl Quote {
    fn ask(&self) -> Option<&Ask> {
        match &self.state {
            State::Absent { .. } => None,
            State::Posted { ask, .. } | State::Resting { ask, .. } | State::Cancelling { ask, .. } => {
                Some(ask)
            }
        }
    }

    fn report(&mut self, status: AskStatus, now: Timestamp) -> Option<Notice> {
        let model = self.model.clone();
        let was_cancelling = matches!(self.state, State::Cancelling { .. });
        match status {
            AskStatus::Live { leaves: 0, .. } => {
                self.retry.reset();
                self.state = State::Absent { not_before: now };
                Some(Notice::AskFilled { model })
            }
            AskStatus::Live { order, leaves } => {
                self.retry.reset();
                let was_resting = matches!(self.state, State::Resting { .. });
                let ask = self.ask()?.clone();
                let price = ask.price;
                if !was_cancelling {
                    self.state = State::Resting { ask, order, leaves };
                }
                (!was_resting && !was_cancelling).then_some(Notice::AskRests {
                    model,
                    order,
                    price,
                    leaves,
                })
            }
            AskStatus::Ended { .. } | AskStatus::Rejected { .. } if was_cancelling => {
                // What ended it matters little: it was not wanted, and it is gone.
                self.state = State::Absent { not_before: now };
                None
            }
            AskStatus::CancelRefused { code, .. } => {
                self.cancel_refused(&code, now);
                None
            }
            AskStatus::Rejected { code } if code == "DUPLICATE_CLIENT_ORDER_ID" && self.was_repeated() => {
                None
            }
            AskStatus::Ended { code } => {
                let retry_in = self.retry_from(now);
                Some(Notice::AskEnded {
                    model,
                    code,
                    retry_in,
                })
            }
            AskStatus::Rejected { code } => {
                let retry_in = self.retry_from(now);
                Some(Notice::AskRefused {
                    model,
                    advice: advice(&code),
                    code,
                    retry_in,
                })
            }
        }
    }

    fn retry_from(&mut self, now: Timestamp) -> Duration {
        let retry_in = self.retry.fail();
        self.state = State::Absent {
            not_before: now.after(retry_in),
        };
        retry_in
    }

    /// Names a new ask if one is due; it is sent by [`Quote::send`].
    fn post(&mut self, client_order_id: String, price: Price, now: Timestamp) -> bool {
        let is_due = matches!(self.state, State::Absent { not_before } if not_before <= now);
        if self.tier.is_none() || !is_due {
            return false;
        }
        let ask = Ask {
            client_order_id,
            price,
            posted_at: now,
        };
        self.state = State::Posted {
            ask,
            answer_by: now,
            sent: Sent::Never,
        };
        true
    }

    /// Marks an ask for cancellation if its tier was taken away or its price is stale.
    fn cancel(&mut self, stale: bool, reprice_after: Duration, now: Timestamp) {
        let State::Resting { ask, order, .. } = &self.state else {
            return;
        };
        let reprice = stale && ask.posted_at.after(reprice_after) <= now;
        if self.tier.is_none() || reprice {
            self.state = State::Cancelling {
                ask: ask.clone(),
                order: *order,
                send_at: now,
            };
        }
    }

    /// Sends what is new or went unanswered: the name is the same, so an ask stands once.
    fn send(&mut self, jobs: u32, now: Timestamp, effects: &mut impl FnMut(Effect)) {
        match &mut self.state {
            State::Posted { ask, answer_by, sent } if *answer_by <= now => {
                *answer_by = now.after(ASK_ANSWER_WITHIN);
                *sent = match sent {
                    Sent::Never => Sent::Once,
                    Sent::Once | Sent::Again => Sent::Again,
                };
                effects(Effect::Send(Outgoing::PostAsk {
                    client_order_id: ask.client_order_id.clone(),
                    model: self.model.clone(),
                    price: ask.price,
                    jobs,
                }));
            }
            State::Cancelling { order, send_at, .. } if *send_at <= now => {
                *send_at = now.after(ASK_ANSWER_WITHIN);
                effects(Effect::Send(Outgoing::CancelAsk { order: *order }));
            }
            State::Absent { .. }
            | State::Posted { .. }
            | State::Resting { .. }
            | State::Cancelling { .. } => {}
        }
    }

    /// Whether an ask waits for its answer that was sent twice: its first copy explains a refusal of the second.
    fn was_repeated(&self) -> bool {
        matches!(
            self.state,
            State::Posted {
                sent: Sent::Again,
                ..
            }
        )
    }

    /// An order that is not there needs no cancellation; any other refusal is a reason to try again later.
    fn cancel_refused(&mut self, code: &str, now: Timestamp) {
        let wait = self.retry.fail();
        if let State::Cancelling { send_at, .. } = &mut self.state {
            if code == "UNKNOWN_ORDER" {
                self.state = State::Absent { not_before: now };
            } else {
                *send_at = now.after(wait);
            }
        }
    }
}

/// What the owner can do about a refusal.
fn advice(code: &str) -> &'static str {
    match code {
        "NOT_QUOTABLE" => "the exchange has not assigned a tier; the next canary job decides",
        "UNKNOWN_INSTRUMENT" => "the exchange does not list this model; remove it from `models`",
        "UNKNOWN_REGION" | "NO_REGION" => "the exchange does not know this region; correct `region`",
        "INVALID_QUANTITY" => "correct `pricing.jobs_per_ask`",
        "TOO_MANY_ORDERS" => "this account has too many orders; cancel some",
        "ORDER_TO_TRADE" => "its quotes move too often for what they sell; wait a minute",
        "HALTED" => "the market is halted; wait",
        "DUPLICATE_CLIENT_ORDER_ID" => "another machine may be using this Island's data folder",
        _ => "wait; if it stays, report the code",
    }
}
