//! What an agent says, checked once and in the domain's words; and the bytes that it signs to prove its key.

use domain::{
    Digest, IslandId, JobId, Jobs, LeaseEpoch, LeaseId, OrderId, Price, Slots, Tier, TimeInForce, Timestamp,
};

use super::error::{FieldError, FieldResult};
use super::receipt::{SignedReceipt, receipt_from_wire};
use super::values::{
    digest_from_wire, id_from_wire, price_from_wire, required, text_from_wire, tier_from_wire,
    time_in_force_from_wire,
};
use crate::agent::v1 as wire;
use wire::session_request::Message;

/// Opens the bytes that an agent signs to enrol.
pub const ENROL_DOMAIN: &[u8] = b"atoll-enrol-v1\0";
/// Opens the bytes that an agent signs to open a session.
pub const SESSION_DOMAIN: &[u8] = b"atoll-session-v1\0";

/// Jobs that one machine may run at once.
pub const SLOTS_MAX: u32 = 1_024;
/// Models that one machine may offer: more do not fit a machine, and each costs a canary job.
pub const OFFERS_MAX: usize = 64;
/// Token ids in one `Output`: a fast machine batches some tens.
pub const OUTPUT_IDS_MAX: usize = 1_024;
/// Characters of a reason or an error that are read; what follows is cut.
const REASON_LENGTH_MAX: usize = 200;
/// Characters of a name or a version.
const NAME_LENGTH_MAX: usize = 100;

/// What is signed to enrol.
#[must_use]
pub fn enrol_bytes(public_key: &[u8; 32], signed_at: Timestamp) -> Vec<u8> {
    let mut bytes = ENROL_DOMAIN.to_vec();
    bytes.extend_from_slice(public_key);
    bytes.extend_from_slice(&signed_at.as_micros().to_be_bytes());
    bytes
}

/// What is signed to open a session.
#[must_use]
pub fn session_bytes(nonce: &[u8; 32], public_key: &[u8; 32]) -> Vec<u8> {
    let mut bytes = SESSION_DOMAIN.to_vec();
    bytes.extend_from_slice(nonce);
    bytes.extend_from_slice(public_key);
    bytes
}

/// A request to enrol. Its signature is not verified here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrol {
    /// The Island's key.
    pub public_key: [u8; 32],
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The signature over [`enrol_bytes`].
    pub signature: [u8; 64],
    /// A name for people; empty if none was given.
    pub display_name: String,
}

/// What opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The Island.
    pub island: IslandId,
    /// The code of the region that it says it is in.
    pub region: String,
    /// Jobs that it runs at once.
    pub slots: Slots,
    /// Models that it has.
    pub offers: Vec<Offer>,
    /// The highest tier that it wants.
    pub tier_max: Option<Tier>,
    /// The agent's version.
    pub version: String,
    /// The signature over [`session_bytes`]; `None` in the first hello.
    pub proof: Option<[u8; 64]>,
}

/// A model that an Island offers to run. What its own benchmark measured is not read: the exchange measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The model's id.
    pub model: String,
    /// SHA-256 of its weights.
    pub digest: Digest,
}

/// A lease and the attempt that a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRef {
    /// The lease.
    pub lease: LeaseId,
    /// The attempt.
    pub epoch: LeaseEpoch,
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentMessage {
    /// Opens the session.
    Hello(Hello),
    /// Still there, or the echo of the exchange's own.
    Heartbeat {
        /// The number to echo, or the one that is echoed.
        nonce: u64,
        /// Whether this is the echo.
        echo: bool,
    },
    /// Posts an ask.
    PostAsk(PostAsk),
    /// Cancels an ask.
    CancelAsk(OrderId),
    /// Took a job.
    Acknowledge(LeaseRef),
    /// Will not do a job.
    Decline {
        /// Which.
        about: LeaseRef,
        /// Why, for people.
        reason: String,
    },
    /// Emits tokens.
    Output {
        /// For which job.
        about: LeaseRef,
        /// The index of the first id in the lease's output.
        first_index: u32,
        /// The ids.
        ids: Vec<u32>,
    },
    /// Signed for what was emitted so far.
    Checkpoint(SignedReceipt),
    /// The job is over on this machine.
    Finished {
        /// Which.
        about: LeaseRef,
        /// Why.
        reason: wire::FinishReason,
        /// The final receipt, if one came.
        receipt: Option<SignedReceipt>,
        /// For an error, what went wrong, for people.
        error: String,
    },
    /// Will take no more jobs.
    Drain,
    /// The machine is free again after a revocation.
    SlotFree(LeaseId),
}

/// An ask, without what the exchange knows of its Island.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostAsk {
    /// The agent's name for it.
    pub client_order_id: String,
    /// The model.
    pub model: String,
    /// The price.
    pub price: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// Whether it may only rest.
    pub post_only: bool,
}

/// A request to enrol from the wire.
///
/// # Errors
/// Names the field that is malformed.
pub fn enrol_from_wire(request: wire::EnrolRequest) -> FieldResult<Enrol> {
    let display_name = if request.display_name.is_empty() {
        String::new()
    } else {
        text_from_wire("display_name", request.display_name, NAME_LENGTH_MAX)?
    };
    Ok(Enrol {
        public_key: fixed("public_key", &request.public_key)?,
        signed_at: Timestamp::from_micros(request.signed_at_us),
        signature: fixed("signature", &request.signature)?,
        display_name,
    })
}

/// An agent's message from the wire; `now` is what a GTD ask's time counts from.
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn agent_message_from_wire(request: wire::SessionRequest, now: Timestamp) -> FieldResult<AgentMessage> {
    Ok(match required("message", request.message)? {
        Message::Hello(hello) => AgentMessage::Hello(hello_from_wire(hello).map_err(within("hello"))?),
        Message::Heartbeat(heartbeat) => AgentMessage::Heartbeat {
            nonce: heartbeat.nonce,
            echo: heartbeat.echo,
        },
        Message::PostAsk(ask) => AgentMessage::PostAsk(ask_from_wire(ask, now).map_err(within("post_ask"))?),
        Message::CancelAsk(cancel) => {
            AgentMessage::CancelAsk(id_from_wire("cancel_ask.order_id", &cancel.order_id)?)
        }
        Message::Acknowledge(acknowledge) => AgentMessage::Acknowledge(
            lease_ref(&acknowledge.lease_id, acknowledge.epoch).map_err(within("acknowledge"))?,
        ),
        Message::Decline(decline) => AgentMessage::Decline {
            about: lease_ref(&decline.lease_id, decline.epoch).map_err(within("decline"))?,
            reason: cut(&decline.reason),
        },
        Message::Output(output) => {
            let about = lease_ref(&output.lease_id, output.epoch).map_err(within("output"))?;
            if output.ids.len() > OUTPUT_IDS_MAX {
                return Err(FieldError::new(
                    "output.ids",
                    format!("must be at most {OUTPUT_IDS_MAX} ids"),
                ));
            }
            AgentMessage::Output {
                about,
                first_index: output.first_index,
                ids: output.ids,
            }
        }
        Message::Checkpoint(checkpoint) => {
            AgentMessage::Checkpoint(receipt_from_wire("checkpoint.receipt", checkpoint.receipt)?)
        }
        Message::Finished(finished) => finished_from_wire(finished).map_err(within("finished"))?,
        Message::Drain(wire::Drain {}) => AgentMessage::Drain,
        Message::SlotFree(free) => {
            AgentMessage::SlotFree(id_from_wire("slot_free.lease_id", &free.lease_id)?)
        }
    })
}

fn hello_from_wire(hello: wire::Hello) -> FieldResult<Hello> {
    if hello.slots == 0 || hello.slots > SLOTS_MAX {
        return Err(FieldError::new("slots", format!("must be 1 to {SLOTS_MAX}")));
    }
    if hello.offers.is_empty() || hello.offers.len() > OFFERS_MAX {
        return Err(FieldError::new(
            "offers",
            format!("must be 1 to {OFFERS_MAX} models"),
        ));
    }
    let proof = if hello.proof.is_empty() {
        None
    } else {
        Some(fixed("proof", &hello.proof)?)
    };
    let mut offers = Vec::with_capacity(hello.offers.len());
    for (index, offer) in hello.offers.into_iter().enumerate() {
        let field = |name: &str| format!("offers[{index}].{name}");
        offers.push(Offer {
            model: text_from_wire(&field("model"), offer.model, NAME_LENGTH_MAX)?,
            digest: digest_from_wire(&field("model_digest"), &offer.model_digest)?,
        });
    }
    Ok(Hello {
        island: id_from_wire("island_id", &hello.island_id)?,
        region: text_from_wire("region", hello.region, NAME_LENGTH_MAX)?,
        slots: Slots::new(hello.slots),
        offers,
        tier_max: tier_from_wire("tier_max", hello.tier_max)?,
        version: cut(&hello.version),
        proof,
    })
}

fn ask_from_wire(ask: wire::PostAsk, now: Timestamp) -> FieldResult<PostAsk> {
    let time_in_force = time_in_force_from_wire("time_in_force", ask.time_in_force, now)?;
    if time_in_force == Some(TimeInForce::Fok) {
        return Err(FieldError::new("time_in_force.kind", "an ask is GTC, GTD or IOC"));
    }
    Ok(PostAsk {
        client_order_id: text_from_wire("client_order_id", ask.client_order_id, 64)?,
        model: text_from_wire("model", ask.model, NAME_LENGTH_MAX)?,
        price: price_from_wire("price", ask.price)?,
        jobs: Jobs::for_order(ask.jobs).map_err(|error| FieldError::new("jobs", error))?,
        time_in_force: time_in_force.unwrap_or(TimeInForce::Gtc),
        post_only: ask.post_only,
    })
}

fn finished_from_wire(finished: wire::Finished) -> FieldResult<AgentMessage> {
    let about = lease_ref(&finished.lease_id, finished.epoch)?;
    let reason = finished.reason();
    if reason == wire::FinishReason::Unspecified {
        return Err(FieldError::new("reason", "is required"));
    }
    let receipt = match finished.receipt {
        None => None,
        receipt @ Some(_) => Some(receipt_from_wire("receipt", receipt)?),
    };
    Ok(AgentMessage::Finished {
        about,
        reason,
        receipt,
        error: cut(&finished.error),
    })
}

fn lease_ref(lease_id: &str, epoch: u32) -> FieldResult<LeaseRef> {
    let epoch = u8::try_from(epoch).map_err(|_| FieldError::new("epoch", "must be below 256"))?;
    Ok(LeaseRef {
        lease: id_from_wire("lease_id", lease_id)?,
        epoch: LeaseEpoch::new(epoch),
    })
}

fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> FieldResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| FieldError::new(field, format!("must be {N} bytes")))
}

fn within(outer: &str) -> impl Fn(FieldError) -> FieldError + '_ {
    move |error| error.within(outer)
}

/// What a person may read: control characters and what is too long are cut.
fn cut(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(REASON_LENGTH_MAX)
        .collect()
}

/// What an Island is asked to run, before it is put on the wire.
#[derive(Clone, Debug)]
pub struct Assignment<'a> {
    /// The lease and the attempt.
    pub about: LeaseRef,
    /// The job.
    pub job: JobId,
    /// The model's id.
    pub model: &'a str,
    /// The execution price.
    pub price: Price,
    /// Token ids of the prompt.
    pub prompt_ids: &'a [u32],
    /// Token ids that earlier Islands emitted.
    pub emitted_ids: &'a [u32],
    /// Emit at most so many more.
    pub max_tokens: u32,
    /// How tokens are drawn.
    pub sampling: wire::Sampling,
    /// Ids that end the output.
    pub stop_ids: &'a [u32],
    /// Acknowledge within.
    pub acknowledge_within: std::time::Duration,
    /// Whether it is a canary job.
    pub canary: bool,
}

impl Assignment<'_> {
    /// The assignment on the wire.
    #[must_use]
    pub fn to_wire(&self) -> wire::Assign {
        wire::Assign {
            lease_id: self.about.lease.to_string(),
            epoch: self.about.epoch.get().into(),
            job_id: self.job.to_string(),
            model: self.model.to_owned(),
            price: self.price.get(),
            prompt_ids: self.prompt_ids.to_vec(),
            emitted_ids: self.emitted_ids.to_vec(),
            max_tokens: self.max_tokens,
            sampling: Some(self.sampling),
            stop_ids: self.stop_ids.to_vec(),
            acknowledge_within_ms: u32::try_from(self.acknowledge_within.as_millis()).unwrap_or(u32::MAX),
            canary: self.canary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::v1 as types;

    fn hello() -> wire::Hello {
        wire::Hello {
            island_id: IslandId::new(5).to_string(),
            region: "eu-west".into(),
            slots: 2,
            offers: vec![wire::Offer {
                model: "m".into(),
                model_digest: vec![1; 32],
                decode_per_second: f64::NAN,
                prefill_per_second: -1.0,
            }],
            tier_max: types::Tier::Laptop.into(),
            version: "0.1\u{7}".into(),
            proof: Vec::new(),
        }
    }

    fn read(message: Message) -> FieldResult<AgentMessage> {
        let request = wire::SessionRequest {
            message: Some(message),
        };
        agent_message_from_wire(request, Timestamp::ZERO)
    }

    fn broken(change: fn(&mut wire::Hello)) -> String {
        let mut hello = hello();
        change(&mut hello);
        read(Message::Hello(hello)).unwrap_err().field
    }

    #[test]
    fn a_hello_is_read_without_its_own_benchmark() {
        let AgentMessage::Hello(hello) = read(Message::Hello(hello())).unwrap() else {
            panic!("a hello is a hello")
        };
        assert_eq!((hello.tier_max, hello.proof), (Some(Tier::Laptop), None));
        assert_eq!(hello.version, "0.1");
    }

    #[test]
    fn a_hello_that_is_out_of_bounds_names_the_field() {
        assert_eq!(broken(|h| h.slots = 0), "hello.slots");
        assert_eq!(broken(|h| h.slots = u32::MAX), "hello.slots");
        assert_eq!(broken(|h| h.offers.clear()), "hello.offers");
        assert_eq!(
            broken(|h| h.offers = vec![h.offers[0].clone(); OFFERS_MAX + 1]),
            "hello.offers"
        );
        assert_eq!(broken(|h| h.proof = vec![0; 63]), "hello.proof");
        assert_eq!(broken(|h| h.island_id = "acc_1".into()), "hello.island_id");
        assert_eq!(
            broken(|h| h.offers[0].model_digest.clear()),
            "hello.offers[0].model_digest"
        );
        assert_eq!(broken(|h| h.region = "x".repeat(101)), "hello.region");
    }

    #[test]
    fn an_empty_message_an_epoch_too_high_and_a_huge_output_name_the_field() {
        let empty = agent_message_from_wire(wire::SessionRequest { message: None }, Timestamp::ZERO);
        assert_eq!(empty.unwrap_err().field, "message");
        let acknowledge = wire::Acknowledge {
            lease_id: LeaseId::new(1).to_string(),
            epoch: 256,
        };
        assert_eq!(
            read(Message::Acknowledge(acknowledge)).unwrap_err().field,
            "acknowledge.epoch"
        );
        let output = wire::Output {
            lease_id: LeaseId::new(1).to_string(),
            epoch: 0,
            first_index: 0,
            ids: vec![0; OUTPUT_IDS_MAX + 1],
        };
        assert_eq!(read(Message::Output(output)).unwrap_err().field, "output.ids");
        let finished = wire::Finished {
            lease_id: LeaseId::new(1).to_string(),
            ..wire::Finished::default()
        };
        assert_eq!(
            read(Message::Finished(finished)).unwrap_err().field,
            "finished.reason"
        );
    }

    #[test]
    fn an_ask_that_no_ask_can_be_names_the_field() {
        let ask = wire::PostAsk {
            client_order_id: "a".into(),
            model: "m".into(),
            price: 1_000,
            jobs: 1,
            time_in_force: None,
            post_only: false,
        };
        let broken = |change: fn(&mut wire::PostAsk)| {
            let mut ask = ask.clone();
            change(&mut ask);
            read(Message::PostAsk(ask)).unwrap_err().field
        };
        assert_eq!(broken(|a| a.price = 0), "post_ask.price");
        assert_eq!(broken(|a| a.jobs = 0), "post_ask.jobs");
        assert_eq!(broken(|a| a.client_order_id.clear()), "post_ask.client_order_id");
        assert_eq!(
            broken(|a| a.time_in_force = Some(types::TimeInForce {
                kind: types::TimeInForceKind::Fok.into(),
                expires_in_ms: 0,
            })),
            "post_ask.time_in_force.kind"
        );
    }

    #[test]
    fn what_is_signed_begins_with_its_own_tag() {
        let enrol = enrol_bytes(&[7; 32], Timestamp::from_micros(1));
        assert_eq!(enrol.len(), ENROL_DOMAIN.len() + 32 + 8);
        assert_eq!(enrol[enrol.len() - 8..], 1u64.to_be_bytes());
        let session = session_bytes(&[8; 32], &[7; 32]);
        assert!(session.starts_with(SESSION_DOMAIN) && session.ends_with(&[7; 32]));
    }
}
