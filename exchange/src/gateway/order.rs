//! From a request to a bid on the book: tokenise, work out the units, find the buying power, place it.

use std::sync::Arc;
use std::time::Duration;

use domain::{
    AccountId, ClientOrderId, Credits, Instrument, InstrumentId, Jobs, PayloadDigest, Price, SessionId, Task,
    TimeInForce, Timestamp, TokenCount, Units,
};
use matcher::{BidAccepted, BidLimit, Engine, PlaceBid, RejectReason, Rejected};
use proto::convert::{BidTerms, JobInput, JobRequest, Market, Speaker};
use sha2::{Digest, Sha256};

use super::admission::Admitted;
use super::errors::{
    ACCOUNT_SUSPENDED, Alternative, BILLING_UNAVAILABLE, CONTEXT_LENGTH_EXCEEDED, EMPTY_PROMPT,
    INSUFFICIENT_CREDITS, INTERNAL, INVALID_ARGUMENT, MODEL_NOT_FOUND, PROMPT_REFUSED, Refusal, STOPPING,
    STORAGE_FULL, TOO_MANY_JOBS, UNSUPPORTED_PARAMETER, of_reject,
};
use super::payload_key::Wishes;
use super::reports::Reports;
use super::{Gateway, now};
use crate::buying_power::EnsureError;
use crate::identity::Identity;
use crate::leasing::{JobEvent, JobEvents, JobPayload, JobSubmission, Sampling};
use crate::registry::{ChatMessage, PromptError, Role, StopStrings};
use crate::spending::Hold;

/// Tokens of an answer that names no bound: a long paragraph or two.
pub(super) const MAX_TOKENS_DEFAULT: u32 = 512;

/// How long a chat bid waits that does not say: the longest that a person waits gladly.
pub(super) const WAIT_DEFAULT: Duration = Duration::from_secs(2);

/// What an unservable bid is told that no other terms would help.
const NOBODY_QUOTES: &str = "no Island that may serve this account quotes this model right now; try again in a moment, \
                             or start one with `atoll island run`";

/// Bytes of prompts that are tokenised where they are: some tens of microseconds, which is what a hand-over to another
/// thread costs on a busy machine.
const INLINE_BYTES_MAX: usize = 1_024;

/// Top-ups for one bid. One is the rule; a second and a third are for other bids of the same account that spend what
/// the one before brought.
const TOP_UPS_MAX: u32 = 3;

/// A bid that was accepted, and its reports to come.
#[derive(Debug)]
pub(crate) struct Placed {
    /// What the engine took in.
    pub(crate) accepted: BidAccepted,
    /// What it is called outside.
    pub(crate) client_order_id: String,
    /// The terms in force.
    pub(crate) terms: BidTerms,
    /// Tokens of each job's prompt.
    pub(crate) prompt_tokens: Vec<TokenCount>,
    /// What becomes of it.
    pub(crate) reports: Reports,
}

/// What came of a bid.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It is on the book.
    Placed(Box<Placed>),
    /// It was placed before: what became of it follows, without text.
    Repeated {
        /// The order that it is.
        order: domain::OrderId,
        /// What it is called outside.
        client_order_id: String,
        /// What became of it.
        reports: Reports,
    },
}

/// A bid that is ready to be placed, and holds the room for its jobs. Its deadline is a span until it is entered.
#[derive(Debug)]
pub(crate) struct PreparedBid {
    pub(crate) submission: JobSubmission,
    /// What it is called outside.
    pub(crate) client_order_id: String,
    /// The terms in force.
    pub(crate) terms: BidTerms,
    stops: Vec<StopStrings>,
    admitted: Admitted,
    /// What its key may spend, and it has bound.
    pub(crate) hold: Option<Arc<Hold>>,
}

struct Prepared {
    payloads: Vec<JobPayload>,
    stops: Vec<StopStrings>,
    units_max: Units,
    digest: PayloadDigest,
}

impl Gateway {
    /// What a request is read against. Deadlines are read as spans, counted from zero: the clock of a bid starts when it
    /// is placed, whatever was waited for before.
    pub(crate) fn market(&self) -> Market<'_> {
        Market {
            regions: self.names.regions(),
            home: self.home,
            now: Timestamp::ZERO,
        }
    }

    /// The instrument of a model's id.
    pub(crate) fn instrument(&self, model: &str) -> Result<(InstrumentId, &Instrument), Refusal> {
        let found = self
            .registry
            .find(model)
            .and_then(|id| Some((id, self.registry.instrument(id)?)));
        found.ok_or_else(|| {
            let models: Vec<&str> = self
                .registry
                .models()
                .map(|(_, known)| known.model.as_str())
                .collect();
            let model: String = model.chars().take(64).collect();
            MODEL_NOT_FOUND
                .because(format!(
                    "there is no model `{model}` here; there are: {}",
                    models.join(", ")
                ))
                .at("model")
        })
    }

    /// Places a bid with its jobs. Dropping what it returns cancels what is left of them.
    pub(crate) async fn submit(&self, caller: Identity, request: JobRequest) -> Result<Submitted, Refusal> {
        let bid = self.prepare_bid(caller, self.session, request).await?;
        let events = self.enter(&bid.submission, bid.hold.as_ref()).await?;
        self.placed(bid, events).await
    }

    /// Reads a request, makes room for its jobs and turns its prompts into ids: all that is done before the market
    /// hears of it. The bid will belong to `session`.
    pub(crate) async fn prepare_bid(
        &self,
        caller: Identity,
        session: SessionId,
        request: JobRequest,
    ) -> Result<PreparedBid, Refusal> {
        let (instrument, specification) = self.instrument(&request.model)?;
        if specification.task != Task::Chat {
            return Err(UNSUPPORTED_PARAMETER
                .because("this model does not chat")
                .at("model"));
        }
        let jobs = u32::try_from(request.inputs.len()).unwrap_or(u32::MAX);
        let admitted = self.admission().enter(caller.account, jobs)?;
        let (client_order_id, shown_id) = name_order(request.client_order_id)?;
        self.check_space(caller.account, client_order_id).await?;
        self.buying_power.check(caller.account).map_err(of_ensure)?;
        let JobRequest {
            inputs,
            mut terms,
            user,
            ..
        } = request;
        let prepared = self.prepare(instrument, inputs).await?;
        let waits = terms
            .time_in_force
            .unwrap_or(TimeInForce::Gtd(Timestamp::ZERO.after(WAIT_DEFAULT)));
        terms.time_in_force = Some(waits);
        let bid = PlaceBid {
            account: caller.account,
            session,
            client_order_id,
            instrument,
            limit: terms.limit.map_or(BidLimit::Protection, BidLimit::At),
            jobs: Jobs::new(jobs),
            units_max: prepared.units_max,
            eligibility: terms.eligibility,
            latency_value: terms.latency_value,
            excluded: terms.excluded.clone(),
            time_in_force: waits,
            self_trade: terms.self_trade,
            jobs_min: terms.jobs_min,
            payload: prepared.digest,
        };
        let hold = match self.hold_spending(caller, user.as_deref(), &bid).await {
            Ok(hold) => hold,
            // A retry costs nothing: what the order bound when it was placed is all that it may cost.
            Err(refusal) => {
                self.expect_placed(caller.account, client_order_id, refusal)
                    .await?;
                None
            }
        };
        Ok(PreparedBid {
            submission: JobSubmission {
                bid,
                payloads: prepared.payloads,
            },
            client_order_id: shown_id,
            terms,
            stops: prepared.stops,
            admitted,
            hold,
        })
    }

    /// Binds what the bid may cost under the limits of its key. Without a price limit the protection price is guessed from
    /// the market as it is now, and what the engine then sets aside is bound instead.
    async fn hold_spending(
        &self,
        caller: Identity,
        user: Option<&str>,
        bid: &PlaceBid,
    ) -> Result<Option<Arc<Hold>>, Refusal> {
        if caller.spending.is_unlimited() {
            return Ok(None);
        }
        let limit = match bid.limit {
            BidLimit::At(price) => Some(price),
            BidLimit::Protection => {
                let (instrument, excluded) = (bid.instrument, bid.excluded.clone());
                let eligibility = bid.eligibility;
                let best = self
                    .sequencer
                    .read(move |engine| engine.best_ask(instrument, &eligibility, &excluded));
                best.await?.map(Price::doubled)
            }
        };
        let cost = limit.map_or(Credits::ZERO, |limit| {
            worst_case(limit, bid.units_max, bid.jobs).unwrap_or(Credits::MAX)
        });
        self.spending.hold(caller.spending, user, cost, now()).await
    }

    /// Refuses a new order while the disk is full. One that was placed before under its name goes on, to be told how it
    /// stands: that takes no more of the journal than the cancels for which the rest of it is kept.
    pub(crate) async fn check_space(
        &self,
        account: AccountId,
        client_order_id: ClientOrderId,
    ) -> Result<(), Refusal> {
        if self.sequencer.has_space() {
            return Ok(());
        }
        let refusal = STORAGE_FULL.because(
            "the exchange's disk is full, so no new order is placed; try again later under the same name",
        );
        self.expect_placed(account, client_order_id, refusal).await
    }

    /// Refuses an order, unless one was placed before under its name: that goes on, to be told how it stands.
    async fn expect_placed(
        &self,
        account: AccountId,
        client_order_id: ClientOrderId,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let read = move |engine: &Engine| engine.order_named(account, client_order_id);
        let placed = self.sequencer.read(read).await?;
        placed.map(|_| ()).ok_or(refusal)
    }

    /// Hands a bid to leasing. Its deadline, a span until now, is counted from here.
    pub(crate) async fn enter(
        &self,
        submission: &JobSubmission,
        hold: Option<&Arc<Hold>>,
    ) -> Result<JobEvents, Refusal> {
        let mut submission = submission.clone();
        if let Some(hold) = hold {
            self.spending.entering(&submission.bid, hold);
        }
        submission.bid.time_in_force = from_now(submission.bid.time_in_force);
        self.leasing
            .submit(submission)
            .await
            .map_err(|error| STOPPING.because(error.to_string()))
    }

    /// What came of a bid that was entered. It is entered again after topping up the account's buying power, if it is
    /// that which was missing.
    pub(crate) async fn placed(&self, bid: PreparedBid, events: JobEvents) -> Result<Submitted, Refusal> {
        let (first, events) = self.first_event(&bid, events).await?;
        let PreparedBid {
            submission,
            client_order_id,
            mut terms,
            stops,
            admitted,
            // From here on the engine's events say what is bound.
            hold: _,
        } = bid;
        let reports = Reports::new(self, submission.bid.instrument, events, stops, admitted);
        Ok(match first {
            First::Accepted(accepted) => {
                terms.limit = Some(accepted.limit);
                let prompt_tokens = submission
                    .payloads
                    .iter()
                    .map(|payload| tokens_of(&payload.prompt_ids))
                    .collect();
                Submitted::Placed(Box::new(Placed {
                    accepted,
                    client_order_id,
                    terms,
                    prompt_tokens,
                    reports,
                }))
            }
            First::Repeated(order) => Submitted::Repeated {
                order,
                client_order_id,
                reports,
            },
        })
    }

    async fn first_event(
        &self,
        bid: &PreparedBid,
        mut events: JobEvents,
    ) -> Result<(First, JobEvents), Refusal> {
        let mut top_ups = 0;
        loop {
            let rejected = match events.next().await {
                Some(JobEvent::Accepted(accepted)) => return Ok((First::Accepted(accepted), events)),
                Some(JobEvent::Repeated { order }) => return Ok((First::Repeated(order), events)),
                Some(JobEvent::Rejected(rejected)) => rejected,
                Some(other) => {
                    tracing::error!(?other, "an order began with another event than its acceptance");
                    return Err(INTERNAL.because("the order began out of order; nothing is charged"));
                }
                None => return Err(STOPPING.because("the exchange is stopping")),
            };
            if rejected.reason != RejectReason::InsufficientBuyingPower || top_ups == TOP_UPS_MAX {
                return Err(self.rejection(&rejected));
            }
            top_ups += 1;
            self.buying_power
                .ensure(bid.submission.bid.account, rejected.shortfall)
                .await
                .map_err(of_ensure)?;
            events = self.enter(&bid.submission, bid.hold.as_ref()).await?;
        }
    }

    /// What the engine refused, with what would have been possible.
    pub(crate) fn rejection(&self, rejected: &Rejected) -> Refusal {
        let (kind, meaning) = of_reject(rejected.reason);
        let stopped = [RejectReason::Unservable, RejectReason::UnknownSession].contains(&rejected.reason);
        if stopped && !self.admission().is_open() {
            // The sessions of Islands and gateway have ended with it: that says nothing about the bid.
            return STOPPING.because("the exchange is stopping and takes no new jobs");
        }
        let Some(alternative) = rejected.alternative else {
            let nobody_quotes = rejected.reason == RejectReason::Unservable;
            return kind.because(if nobody_quotes { NOBODY_QUOTES } else { meaning });
        };
        let alternative = Alternative {
            region: self
                .names
                .region(alternative.cell.region)
                .unwrap_or("?")
                .to_owned(),
            tier: alternative.cell.tier,
            band: alternative.cell.band,
            price: alternative.price,
        };
        let Alternative {
            region,
            tier,
            band,
            price,
        } = &alternative;
        kind.because(format!(
            "{meaning}; the nearest that quotes is region {region}, tier {tier}, karma band {band}, at {price} credits \
             per 1,000 units"
        ))
        .instead(alternative)
    }

    /// Prompts to token ids; long ones off the threads that serve others.
    async fn prepare(&self, instrument: InstrumentId, inputs: Vec<JobInput>) -> Result<Prepared, Refusal> {
        let bytes = inputs
            .iter()
            .flat_map(|input| &input.turns)
            .fold(0, |bytes: usize, turn| bytes.saturating_add(turn.content.len()));
        let registry = self.registry.clone();
        let key = self.payload_key;
        let weight = registry
            .instrument(instrument)
            .map(|specification| specification.input_weight)
            .unwrap_or(domain::InputWeight::DEFAULT);
        let work = move || {
            let mut prepared = Prepared {
                payloads: Vec::new(),
                stops: Vec::new(),
                units_max: Units::ZERO,
                digest: PayloadDigest::NONE,
            };
            let mut digest = key.digest();
            for (index, input) in inputs.into_iter().enumerate() {
                let field = format!("inputs[{index}]");
                let wishes = Wishes::of(&input);
                let (payload, stops) = payload(&registry, instrument, &field, input)?;
                digest.add(&payload, &wishes);
                let units = weight.units_of_job(tokens_of(&payload.prompt_ids), payload.max_tokens);
                prepared.units_max = prepared.units_max.max(units);
                prepared.payloads.push(payload);
                prepared.stops.push(stops);
            }
            prepared.digest = digest.finish();
            Ok(prepared)
        };
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| INTERNAL.because("the prompt could not be tokenised"))?
    }
}

/// What a bid may cost at most: all its work at the limit, and the fee if it takes. As the engine sets it aside.
fn worst_case(limit: Price, units_max: Units, jobs: Jobs) -> Option<Credits> {
    let charge = limit.cost_of(units_max)?;
    charge.checked_add(domain::fee_on(charge))?.times(jobs.get())
}

/// A deadline that was a span, counted from now.
pub(crate) fn from_now(waits: TimeInForce) -> TimeInForce {
    match waits {
        TimeInForce::Gtd(span) => TimeInForce::Gtd(now().after(span.since(Timestamp::ZERO))),
        TimeInForce::Ioc | TimeInForce::Fok | TimeInForce::Gtc => waits,
    }
}

enum First {
    Accepted(BidAccepted),
    Repeated(domain::OrderId),
}

fn payload(
    registry: &crate::registry::Registry,
    instrument: InstrumentId,
    field: &str,
    input: JobInput,
) -> Result<(JobPayload, StopStrings), Refusal> {
    let messages: Vec<ChatMessage> = input
        .turns
        .into_iter()
        .map(|turn| ChatMessage {
            role: match turn.speaker {
                Speaker::System => Role::System,
                Speaker::User => Role::User,
                Speaker::Assistant => Role::Assistant,
            },
            content: turn.content,
        })
        .collect();
    let prompt = registry
        .prompt(instrument, &messages)
        .map_err(|error| of_prompt(&error).at(format!("{field}.messages")))?;
    let room = prompt.room.get();
    let max_tokens = match input.max_tokens {
        Some(asked) if asked > room => {
            let read = prompt.ids.len();
            return Err(CONTEXT_LENGTH_EXCEEDED
                .because(format!(
                    "{asked} tokens of answer do not fit: the prompt has {read} and the model's context leaves {room}"
                ))
                .at(format!("{field}.max_tokens")));
        }
        Some(asked) => asked,
        None => room.min(MAX_TOKENS_DEFAULT),
    };
    let stops = StopStrings::new(input.stop).map_err(|error| {
        INVALID_ARGUMENT
            .because(error.to_string())
            .at(format!("{field}.stop"))
    })?;
    let seed = match input.seed {
        Some(seed) => seed,
        None => random_u64()?,
    };
    let payload = JobPayload {
        prompt_ids: prompt.ids,
        max_tokens: TokenCount::new(max_tokens),
        sampling: Sampling {
            temperature: input.temperature,
            top_p: input.top_p,
            top_k: 0,
            seed,
        },
        stop_ids: registry.stop_ids(instrument),
    };
    Ok((payload, stops))
}

fn tokens_of(ids: &Arc<[u32]>) -> TokenCount {
    TokenCount::new(u32::try_from(ids.len()).unwrap_or(u32::MAX))
}

/// The client's name for an order as sixteen bytes, and as he wrote it: a UUID as it is, any other text by its
/// SHA-256, nothing at random.
pub(crate) fn name_order(text: Option<String>) -> Result<(ClientOrderId, String), Refusal> {
    let Some(text) = text else {
        let id = ClientOrderId::new(u128::from(random_u64()?) << 64 | u128::from(random_u64()?));
        return Ok((id, id.to_string()));
    };
    let id = uuid(&text).unwrap_or_else(|| {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        u128::from_be_bytes(half)
    });
    Ok((ClientOrderId::new(id), text))
}

/// The number of a UUID in its usual form of 8-4-4-4-12 digits.
fn uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    let dash_places = [8, 13, 18, 23];
    let shaped = bytes.len() == 36
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| match dash_places.contains(&at) {
                true => *byte == b'-',
                false => byte.is_ascii_hexdigit(),
            });
    shaped.then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok())?
}

pub(super) fn random_u64() -> Result<u64, Refusal> {
    getrandom::u64().map_err(|_| INTERNAL.because("the machine gives no random numbers"))
}

fn of_prompt(error: &PromptError) -> Refusal {
    let kind = match error {
        PromptError::UnknownInstrument { .. } => MODEL_NOT_FOUND,
        PromptError::Empty => EMPTY_PROMPT,
        PromptError::TooLong { .. } => CONTEXT_LENGTH_EXCEEDED,
        PromptError::Refused { .. } => PROMPT_REFUSED,
        PromptError::Broken { .. } => {
            tracing::error!(%error, "a prompt could not be made");
            INTERNAL
        }
    };
    kind.because(error.to_string())
}

fn of_ensure(error: EnsureError) -> Refusal {
    match error {
        EnsureError::NoCredits { needed } => INSUFFICIENT_CREDITS.because(format!(
            "not enough credits: {needed} more are needed to cover the limit, all units and the fee; lower the limit or \
             max_tokens, or add credits (virtual, no cash value)"
        )),
        EnsureError::Suspended => ACCOUNT_SUSPENDED.because(error.to_string()),
        EnsureError::Busy => TOO_MANY_JOBS.because(error.to_string()),
        EnsureError::Billing(source) => {
            tracing::warn!(error = %source, "credits could not be reserved");
            BILLING_UNAVAILABLE.because("credits cannot be reserved at the moment; nothing was done, try again")
        }
        EnsureError::Closed(closed) => STOPPING.because(closed.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_named_by_its_uuid_by_its_digest_or_at_random() {
        let named = |text: &str| name_order(Some(text.into())).unwrap();
        let (id, shown) = named("67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(id.get(), 0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        assert_eq!(shown, "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(named("mine").0, named("mine").0);
        assert_ne!(named("mine").0, named("thine").0);
        assert_ne!(named("67e55044-10b1-426f-9247-bb680e5fe0cg").0, id);
        assert_ne!(name_order(None).unwrap().0, name_order(None).unwrap().0);
    }
}
