//! The consumer's requests: a bid's terms and what its jobs read.

use domain::{
    EXCLUDED_ISLANDS_MAX, Eligibility, Excluded, IslandId, Jobs, Karma, KarmaBand, LatencyValue, Price,
    Region, RegionSet, RegionTable, RoundTrip, SelfTradeMode, Tier, TimeInForce, Timestamp,
};

use super::error::{FieldError, FieldResult};
use super::values::{
    id_from_wire, price_from_wire, self_trade_from_wire, self_trade_to_wire, text_from_wire, tier_from_wire,
    tier_to_wire, time_in_force_from_wire, time_in_force_to_wire,
};
use crate::exchange::v1 as wire;

/// Jobs that one request may carry: as many as a person compares, few enough that one request's prompts fit a message.
pub const JOBS_PER_REQUEST_MAX: usize = 16;
/// Messages of one conversation.
pub const MESSAGES_MAX: usize = 2_048;
/// The longest name of an order or a model.
pub const NAME_LENGTH_MAX: usize = 64;
/// The hottest that a model may be sampled.
pub const TEMPERATURE_MAX: f32 = 2.0;

/// The longest word for an end user.
const USER_LENGTH_MAX: usize = 256;

/// A request for jobs, checked as far as it can be without the market.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The client's name for the order, if he gave one.
    pub client_order_id: Option<String>,
    /// The model.
    pub model: String,
    /// What the jobs read: at least one.
    pub inputs: Vec<JobInput>,
    /// What the bid is willing to accept.
    pub terms: BidTerms,
    /// For whom the caller asks, in his own words.
    pub user: Option<String>,
}

/// What a job reads and how it is to answer.
#[derive(Clone, PartialEq)]
pub struct JobInput {
    /// The conversation.
    pub turns: Vec<Turn>,
    /// Emit at most so many tokens, if the client says.
    pub max_tokens: Option<u32>,
    /// 0 is greedy.
    pub temperature: f32,
    /// The nucleus, above 0 and at most 1.
    pub top_p: f32,
    /// The seed, if the client gave one.
    pub seed: Option<u64>,
    /// Texts that end the output, as they came.
    pub stop: Vec<String>,
}

/// One turn of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said.
    pub content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions to the model.
    System,
    /// The consumer.
    User,
    /// The model.
    Assistant,
}

/// What a consumer is willing to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidTerms {
    /// The highest price, or none for the protection price.
    pub limit: Option<Price>,
    /// Which cells may fill it.
    pub eligibility: Eligibility,
    /// What distance is worth.
    pub latency_value: LatencyValue,
    /// Islands that may not fill it.
    pub excluded: Excluded,
    /// How long it waits, or none for the instrument's default.
    pub time_in_force: Option<TimeInForce>,
    /// What happens when it would meet the caller's own ask.
    pub self_trade: SelfTradeMode,
    /// The fewest jobs that must trade on arrival.
    pub jobs_min: Jobs,
}

/// What a request is read against.
#[derive(Clone, Copy, Debug)]
pub struct Market<'a> {
    /// The regions that there are.
    pub regions: &'a RegionTable,
    /// Where a consumer is who does not say.
    pub home: Region,
    /// When the request arrived.
    pub now: Timestamp,
}

/// Words are never printed: they are the consumer's own.
impl std::fmt::Debug for JobInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobInput")
            .field("turns", &self.turns.len())
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// Words are never printed: they are the consumer's own.
impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn")
            .field("speaker", &self.speaker)
            .finish_non_exhaustive()
    }
}

impl Speaker {
    /// The speaker of that name: `system` (or `developer`, as newer clients say), `user` or `assistant`.
    #[must_use]
    pub fn named(role: &str) -> Option<Self> {
        match role {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// A request for jobs.
///
/// # Errors
/// Names the first field that does not convert.
pub fn job_request_from_wire(request: wire::SubmitJobRequest, market: Market<'_>) -> FieldResult<JobRequest> {
    let client_order_id = match request.client_order_id {
        text if text.is_empty() => None,
        text => Some(text_from_wire("client_order_id", text, NAME_LENGTH_MAX)?),
    };
    let model = text_from_wire("model", request.model, NAME_LENGTH_MAX)?;
    if request.inputs.is_empty() || request.inputs.len() > JOBS_PER_REQUEST_MAX {
        return Err(FieldError::new(
            "inputs",
            format!("must be 1 to {JOBS_PER_REQUEST_MAX}"),
        ));
    }
    let inputs = request
        .inputs
        .into_iter()
        .enumerate()
        .map(|(index, input)| input_from_wire(&format!("inputs[{index}]"), input))
        .collect::<FieldResult<_>>()?;
    Ok(JobRequest {
        client_order_id,
        model,
        inputs,
        terms: bid_terms_from_wire("terms", request.terms.unwrap_or_default(), market)?,
        user: match request.user {
            text if text.is_empty() => None,
            text => Some(text_from_wire("user", text, USER_LENGTH_MAX)?),
        },
    })
}

fn input_from_wire(field: &str, input: wire::JobInput) -> FieldResult<JobInput> {
    if input.messages.len() > MESSAGES_MAX {
        return Err(FieldError::new(
            format!("{field}.messages"),
            format!("has more than {MESSAGES_MAX}"),
        ));
    }
    let turns = input.messages.into_iter().enumerate().map(|(index, message)| {
        let speaker = Speaker::named(&message.role).ok_or_else(|| {
            FieldError::new(
                format!("{field}.messages[{index}].role"),
                "is `system`, `user` or `assistant`",
            )
        })?;
        Ok(Turn {
            speaker,
            content: message.content,
        })
    });
    Ok(JobInput {
        turns: turns.collect::<FieldResult<_>>()?,
        max_tokens: (input.max_tokens > 0).then_some(input.max_tokens),
        temperature: temperature(&format!("{field}.temperature"), input.temperature)?,
        top_p: if input.top_p == 0.0 {
            1.0
        } else {
            top_p(&format!("{field}.top_p"), input.top_p)?
        },
        seed: input.seed,
        stop: input.stop,
    })
}

/// A temperature.
///
/// # Errors
/// Outside of 0 to [`TEMPERATURE_MAX`].
pub fn temperature(field: &str, value: f32) -> FieldResult<f32> {
    if !(0.0..=TEMPERATURE_MAX).contains(&value) {
        return Err(FieldError::new(field, format!("must be 0 to {TEMPERATURE_MAX}")));
    }
    Ok(value)
}

/// A nucleus.
///
/// # Errors
/// Outside of 0 to 1, and at 0, where nothing would be left to draw from.
pub fn top_p(field: &str, value: f32) -> FieldResult<f32> {
    if !(value > 0.0 && value <= 1.0) {
        return Err(FieldError::new(field, "must be above 0 and at most 1"));
    }
    Ok(value)
}

/// A bid's terms.
///
/// # Errors
/// Names the first field that does not convert.
pub fn bid_terms_from_wire(field: &str, terms: wire::BidTerms, market: Market<'_>) -> FieldResult<BidTerms> {
    let within = |error: FieldError| error.within(field);
    let limit = terms
        .limit
        .map(|nano| price_from_wire("limit", nano))
        .transpose()
        .map_err(within)?;
    let eligibility = eligibility(&terms, market).map_err(within)?;
    let time_in_force =
        time_in_force_from_wire("time_in_force", terms.time_in_force, market.now).map_err(within)?;
    Ok(BidTerms {
        limit,
        eligibility,
        latency_value: LatencyValue::new(terms.latency_value),
        excluded: excluded(&terms.excluded_islands).map_err(within)?,
        time_in_force,
        self_trade: self_trade_from_wire("self_trade", terms.self_trade).map_err(within)?,
        jobs_min: Jobs::new(terms.jobs_min),
    })
}

fn eligibility(terms: &wire::BidTerms, market: Market<'_>) -> FieldResult<Eligibility> {
    let home = match terms.home_region.as_str() {
        "" => market.home,
        code => region("home_region", code, market.regions)?,
    };
    let min_tier = tier_from_wire("min_tier", terms.min_tier)?.unwrap_or(Tier::Phone);
    let min_band = u8::try_from(terms.min_karma)
        .ok()
        .and_then(|points| Karma::new(points).ok())
        .ok_or_else(|| FieldError::new("min_karma", "must be 0 to 100"))
        .and_then(|karma| {
            let highest = KarmaBand::A.floor().get();
            KarmaBand::at_least(karma)
                .ok_or_else(|| FieldError::new("min_karma", format!("is above {highest}, the highest floor")))
        })?;
    Ok(Eligibility {
        home,
        regions: regions(terms, home, market.regions)?,
        min_tier,
        min_band,
    })
}

fn regions(terms: &wire::BidTerms, home: Region, table: &RegionTable) -> FieldResult<RegionSet> {
    if !terms.regions.is_empty() {
        if terms.max_rtt_ms > 0 {
            return Err(FieldError::new("regions", "and max_rtt_ms exclude one another"));
        }
        let named = terms.regions.iter().enumerate();
        return named
            .map(|(index, code)| region(&format!("regions[{index}]"), code, table))
            .collect();
    }
    if terms.max_rtt_ms == 0 {
        return Ok(table.all());
    }
    let farthest = RoundTrip::from_millis(u16::try_from(terms.max_rtt_ms).unwrap_or(u16::MAX));
    let near = table.within(home, farthest);
    if near.is_empty() {
        let own = table.round_trip(home, home).map_or(0, RoundTrip::as_millis);
        return Err(FieldError::new(
            "max_rtt_ms",
            format!("reaches no region: the round trip inside the home region is {own} ms"),
        ));
    }
    Ok(near)
}

fn region(field: &str, code: &str, table: &RegionTable) -> FieldResult<Region> {
    table.find(code).ok_or_else(|| {
        let code: String = code.chars().take(40).collect();
        FieldError::new(field, format!("`{code}` is not one of {table}"))
    })
}

fn excluded(islands: &[String]) -> FieldResult<Excluded> {
    if islands.len() > EXCLUDED_ISLANDS_MAX {
        return Err(FieldError::new(
            "excluded_islands",
            format!("names more than {EXCLUDED_ISLANDS_MAX}"),
        ));
    }
    let islands = islands
        .iter()
        .enumerate()
        .map(|(index, island)| id_from_wire::<IslandId>(&format!("excluded_islands[{index}]"), island))
        .collect::<FieldResult<Vec<_>>>()?;
    Excluded::new(islands).map_err(|error| FieldError::new("excluded_islands", error))
}

/// The terms in force, echoed: the regions one by one, the band as its floor, the deadline counted from `now`.
#[must_use]
pub fn bid_terms_to_wire(terms: &BidTerms, regions: &RegionTable, now: Timestamp) -> wire::BidTerms {
    let code = |region| regions.code(region).unwrap_or_default().to_owned();
    wire::BidTerms {
        limit: terms.limit.map(Price::get),
        home_region: code(terms.eligibility.home),
        max_rtt_ms: 0,
        regions: terms.eligibility.regions.iter().map(code).collect(),
        min_tier: tier_to_wire(terms.eligibility.min_tier).into(),
        min_karma: terms.eligibility.min_band.floor().get().into(),
        latency_value: terms.latency_value.get(),
        excluded_islands: terms.excluded.iter().map(|island| island.to_string()).collect(),
        time_in_force: terms
            .time_in_force
            .map(|time_in_force| time_in_force_to_wire(time_in_force, now)),
        self_trade: self_trade_to_wire(terms.self_trade).into(),
        jobs_min: terms.jobs_min.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::v1 as types;

    fn table() -> RegionTable {
        let rows = [[10, 90], [90, 10]];
        let rows = rows
            .iter()
            .map(|row| row.iter().copied().map(RoundTrip::from_millis).collect());
        RegionTable::new(vec!["eu".into(), "us".into()], rows.collect()).unwrap()
    }

    fn convert(terms: wire::BidTerms) -> FieldResult<BidTerms> {
        let regions = table();
        let home = regions.find("eu").unwrap();
        bid_terms_from_wire(
            "terms",
            terms,
            Market {
                regions: &regions,
                home,
                now: Timestamp::ZERO,
            },
        )
    }

    fn field_of(change: impl FnOnce(&mut wire::BidTerms)) -> String {
        let mut terms = wire::BidTerms::default();
        change(&mut terms);
        convert(terms).unwrap_err().field
    }

    fn request(change: impl FnOnce(&mut wire::SubmitJobRequest)) -> FieldResult<JobRequest> {
        let message = wire::ChatMessage {
            role: "user".into(),
            content: "hi".into(),
        };
        let input = wire::JobInput {
            messages: vec![message],
            ..wire::JobInput::default()
        };
        let mut request = wire::SubmitJobRequest {
            model: "m".into(),
            inputs: vec![input],
            ..wire::SubmitJobRequest::default()
        };
        change(&mut request);
        let regions = table();
        let home = regions.find("eu").unwrap();
        job_request_from_wire(
            request,
            Market {
                regions: &regions,
                home,
                now: Timestamp::ZERO,
            },
        )
    }

    #[test]
    fn no_terms_at_all_mean_anywhere_and_anyone() {
        let terms = convert(wire::BidTerms::default()).unwrap();
        assert_eq!(terms.limit, None);
        assert_eq!(terms.eligibility.regions, table().all());
        assert_eq!(
            (terms.eligibility.min_tier, terms.eligibility.min_band),
            (Tier::Phone, KarmaBand::D)
        );
        assert_eq!(terms.time_in_force, None);
    }

    #[test]
    fn terms_that_do_not_convert_name_their_field() {
        assert_eq!(field_of(|t| t.limit = Some(0)), "terms.limit");
        assert_eq!(field_of(|t| t.limit = Some(1 << 63)), "terms.limit");
        assert_eq!(field_of(|t| t.home_region = "moon".into()), "terms.home_region");
        assert_eq!(
            field_of(|t| t.regions = vec!["eu".into(), "moon".into()]),
            "terms.regions[1]"
        );
        assert_eq!(field_of(|t| t.max_rtt_ms = 9), "terms.max_rtt_ms");
        assert_eq!(field_of(|t| t.min_tier = 99), "terms.min_tier");
        assert_eq!(field_of(|t| t.min_karma = 86), "terms.min_karma");
        assert_eq!(field_of(|t| t.min_karma = 356), "terms.min_karma");
        assert_eq!(
            field_of(|t| t.excluded_islands = vec!["ord_1".into()]),
            "terms.excluded_islands[0]"
        );
        assert_eq!(
            field_of(|t| t.excluded_islands = vec!["isl_1".into(); 9]),
            "terms.excluded_islands"
        );
        assert_eq!(field_of(|t| t.self_trade = -1), "terms.self_trade");
        let both = |t: &mut wire::BidTerms| {
            t.regions = vec!["eu".into()];
            t.max_rtt_ms = 50;
        };
        assert_eq!(field_of(both), "terms.regions");
    }

    #[test]
    fn a_round_trip_becomes_the_regions_within_it() {
        let near = convert(wire::BidTerms {
            max_rtt_ms: 50,
            ..wire::BidTerms::default()
        })
        .unwrap();
        assert_eq!(near.eligibility.regions.iter().count(), 1);
        let far = convert(wire::BidTerms {
            max_rtt_ms: u32::MAX,
            ..wire::BidTerms::default()
        })
        .unwrap();
        assert_eq!(far.eligibility.regions, table().all());
    }

    #[test]
    fn terms_read_back_as_they_are_echoed() {
        let terms = convert(wire::BidTerms {
            limit: Some(5_000),
            max_rtt_ms: 50,
            min_karma: 60,
            min_tier: types::Tier::Laptop.into(),
            excluded_islands: vec!["isl_7".into()],
            time_in_force: Some(types::TimeInForce {
                kind: types::TimeInForceKind::Gtd.into(),
                expires_in_ms: 7,
            }),
            ..wire::BidTerms::default()
        })
        .unwrap();
        assert_eq!(
            convert(bid_terms_to_wire(&terms, &table(), Timestamp::ZERO)),
            Ok(terms)
        );
    }

    #[test]
    fn a_request_that_does_not_convert_names_its_field() {
        let field = |change: fn(&mut wire::SubmitJobRequest)| request(change).unwrap_err().field;
        assert!(request(|_| {}).is_ok());
        assert_eq!(field(|r| r.model.clear()), "model");
        assert_eq!(field(|r| r.client_order_id = "x".repeat(65)), "client_order_id");
        assert_eq!(field(|r| r.inputs.clear()), "inputs");
        assert_eq!(
            field(|r| r.inputs = vec![wire::JobInput::default(); 17]),
            "inputs"
        );
        assert_eq!(
            field(|r| r.inputs[0].messages[0].role = "tool".into()),
            "inputs[0].messages[0].role"
        );
        assert_eq!(field(|r| r.inputs[0].temperature = 2.1), "inputs[0].temperature");
        assert_eq!(
            field(|r| r.inputs[0].temperature = f32::NAN),
            "inputs[0].temperature"
        );
        assert_eq!(field(|r| r.inputs[0].top_p = -0.1), "inputs[0].top_p");
        assert_eq!(field(|r| r.inputs[0].top_p = f32::INFINITY), "inputs[0].top_p");
    }
}
