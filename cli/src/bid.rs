//! `atoll bid`: one job from the command line, shown as it happens.

use std::io::{self, Write};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum, value_parser};
use domain::LeaseId;
use proto::exchange::v1::submit_job_response::Event;
use proto::exchange::v1::{BidTerms, ChatMessage, Completed, JobInput, Matched, SubmitJobRequest};
use proto::types::v1 as wire;

use crate::client::{Connection, Exchange, explain_as};
use crate::receipt::{self, Emitted};
use crate::show;
use crate::terms::Terms;

/// What to ask, and on what terms.
#[derive(Args, Clone, Debug)]
pub(crate) struct Bid {
    /// The model; `atoll models` lists them.
    pub(crate) model: String,
    /// What to ask.
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) terms: Terms,
    /// Wait for an Island at most so long.
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub(crate) max_wait_ms: Option<u64>,
    /// Answer in at most so many tokens; as many as the model's context leaves unless given.
    #[arg(long, value_name = "TOKENS", value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<u32>,
    /// How freely tokens are drawn, 0 to 2; 0 is greedy: always the likeliest.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f32,
    /// The seed of the draw.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// For whom you ask, in a word of your own: who counts against the spending limit of the key's end users.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) user: String,
}

/// What the wire calls a bid's fields, and what they are on the command line. Longer names come first.
const FLAGS: [(&str, &str); 13] = [
    ("inputs[0].max_tokens", "--max-tokens"),
    ("inputs[0].temperature", "--temperature"),
    ("inputs[0].seed", "--seed"),
    ("inputs[0].messages[0].content", "the prompt"),
    ("inputs[0].messages", "the prompt"),
    ("terms.limit", "--limit"),
    ("terms.home_region", "--region"),
    ("terms.max_rtt_ms", "--max-rtt-ms"),
    ("terms.min_tier", "--min-tier"),
    ("terms.min_karma", "--min-karma"),
    ("terms.latency_value", "--latency-value"),
    ("terms.time_in_force.expires_in_ms", "--max-wait-ms"),
    ("terms.time_in_force", "--max-wait-ms"),
];

/// A tier on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TierArgument {
    /// As fast as a phone.
    Phone,
    /// As fast as a laptop.
    Laptop,
    /// As fast as a desktop computer.
    Desktop,
    /// As fast as a workstation.
    Workstation,
    /// As fast as a server.
    Server,
}

impl TierArgument {
    pub(crate) const fn to_wire(self) -> wire::Tier {
        match self {
            Self::Phone => wire::Tier::Phone,
            Self::Laptop => wire::Tier::Laptop,
            Self::Desktop => wire::Tier::Desktop,
            Self::Workstation => wire::Tier::Workstation,
            Self::Server => wire::Tier::Server,
        }
    }
}

/// What came of a job.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The text.
    pub(crate) text: String,
    /// Who won it, each time it was matched.
    pub(crate) matches: Vec<Matched>,
    /// How it ended.
    pub(crate) completed: Completed,
    /// How many receipts were verified.
    pub(crate) receipts_verified: usize,
}

impl Bid {
    /// A bid on default terms.
    pub(crate) fn plain(model: &str, prompt: &str, max_tokens: u32) -> Self {
        Self {
            model: model.to_owned(),
            prompt: prompt.to_owned(),
            terms: Terms::default(),
            max_wait_ms: None,
            max_tokens: Some(max_tokens),
            temperature: 0.0,
            seed: Some(0),
            user: String::new(),
        }
    }

    fn request(self) -> SubmitJobRequest {
        let time_in_force = self.max_wait_ms.map(|expires_in_ms| wire::TimeInForce {
            kind: wire::TimeInForceKind::Gtd.into(),
            expires_in_ms,
        });
        SubmitJobRequest {
            client_order_id: String::new(),
            user: self.user,
            model: self.model,
            inputs: vec![JobInput {
                messages: vec![ChatMessage {
                    role: "user".to_owned(),
                    content: self.prompt,
                }],
                max_tokens: self.max_tokens.unwrap_or_default(),
                temperature: self.temperature,
                top_p: 0.0,
                seed: self.seed,
                stop: Vec::new(),
            }],
            terms: Some(BidTerms {
                time_in_force,
                ..self.terms.to_wire()
            }),
        }
    }
}

/// Bids from the command line: the text to standard output, what happens to standard error.
pub(crate) async fn run(connection: &Connection, bid: Bid) -> Result<()> {
    let mut exchange = connection.exchange().await?;
    let answer = submit(&mut exchange, bid, &mut io::stdout(), &mut io::stderr()).await?;
    let receipts = answer.receipts_verified;
    eprintln!("{}", render_bill(&answer.completed));
    eprintln!("{receipts} receipt(s) verified");
    Ok(())
}

/// Bids, writes the text to `text` as it comes and what happens to `story`, and verifies the receipts.
///
/// # Errors
/// When the bid is refused or not filled, the job ends incomplete, or a receipt does not verify.
pub(crate) async fn submit(
    exchange: &mut Exchange,
    bid: Bid,
    text: &mut (dyn Write + Send),
    story: &mut (dyn Write + Send),
) -> Result<Answer> {
    let mut events = exchange
        .submit_job(bid.request())
        .await
        .map_err(|status| explain_as(&status, &FLAGS))?
        .into_inner();
    let (mut emitted, mut matches, mut answer) = (Emitted::new(), Vec::<Matched>::new(), String::new());
    while let Some(event) = events
        .message()
        .await
        .map_err(|status| explain_as(&status, &FLAGS))?
    {
        match event.event {
            Some(Event::Accepted(accepted)) => writeln!(
                story,
                "bid {}: at most {} per 1,000 units, {} prompt tokens, {} credits reserved",
                accepted.order_id,
                show::price(accepted.limit),
                accepted.prompt_tokens.first().copied().unwrap_or_default(),
                show::credits(accepted.reserved_nano),
            )?,
            Some(Event::Matched(matched)) => {
                let place = show::place(matched.cell.as_ref());
                let (island, price) = (&matched.island_id, show::price(matched.price));
                writeln!(
                    story,
                    "won by {island} ({place}) at {price}, after {} ms",
                    matched.waited_ms
                )?;
                matches.push(matched);
            }
            Some(Event::Output(output)) => {
                if let Some(lease) = matches.last() {
                    let lease: LeaseId = lease
                        .lease_id
                        .parse()
                        .context("the exchange named a malformed lease")?;
                    emitted.entry(lease).or_default().extend(&output.token_ids);
                }
                text.write_all(output.text.as_bytes())?;
                text.flush()?;
                answer.push_str(&output.text);
            }
            Some(Event::FailedOver(lost)) => {
                writeln!(
                    story,
                    "\n{} was lost ({}); bidding again",
                    lost.island_id, lost.code
                )?;
            }
            Some(Event::Completed(completed)) => {
                writeln!(text)?;
                return conclude(answer, matches, completed, &emitted);
            }
            Some(Event::Ended(ended)) => bail!("{} [{}]", ended.message, ended.code),
            None => {}
        }
    }
    Err(anyhow!(
        "the stream ended without saying how the job ended; treat the answer as incomplete"
    ))
}

fn conclude(text: String, matches: Vec<Matched>, completed: Completed, emitted: &Emitted) -> Result<Answer> {
    let outcome = completed.outcome();
    if matches!(outcome, wire::JobOutcome::Incomplete | wire::JobOutcome::Failed) {
        bail!(
            "the job ended {}; {}",
            show::outcome(completed.outcome),
            render_bill(&completed)
        );
    }
    let receipts = completed
        .receipts
        .iter()
        .map(|receipt| receipt::verify(receipt.clone(), emitted).context("a receipt does not verify"))
        .collect::<Result<Vec<_>>>()?;
    if let Some(bill) = &completed.bill {
        receipt::check_bill(bill, &receipts).context("the bill is not what was signed for")?;
    }
    Ok(Answer {
        text,
        matches,
        receipts_verified: completed.receipts.len(),
        completed,
    })
}

/// The bill in a few lines.
pub(crate) fn render_bill(completed: &Completed) -> String {
    let usage = completed.usage.unwrap_or_default();
    let bill = completed.bill.clone().unwrap_or_default();
    let mut lines = vec![format!(
        "{}: {} prompt + {} output tokens = {} units; charge {} + fee {} credits",
        show::outcome(completed.outcome),
        usage.prompt_tokens,
        usage.output_tokens,
        usage.units,
        show::credits(bill.charge_nano),
        show::credits(bill.fee_nano),
    )];
    lines.extend(bill.segments.iter().map(|segment| {
        let place = show::place(segment.cell.as_ref());
        let (price, charge) = (show::price(segment.price), show::credits(segment.charge_nano));
        format!(
            "  {} ({place}): {} units at {price} = {charge}",
            segment.island_id, segment.units
        )
    }));
    lines.join("\n")
}
