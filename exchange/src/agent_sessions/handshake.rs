//! How a session opens: hello, challenge, hello with the proof of the key.

use std::time::Duration;

use domain::{IslandId, Region};
use proto::agent::v1::SessionRequest;
use proto::convert::agent::{AgentMessage, Hello, agent_message_from_wire, session_bytes};
use tonic::Streaming;

use super::Shared;
use super::enrolment::Enrolment;
use super::wire::{ComeBack, Wire};
use crate::receipts::is_signed;

/// How long an agent may take over each hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// An Island that has proved itself.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) enrolment: Enrolment,
    pub(super) hello: Hello,
    pub(super) region: Region,
}

/// Why a session does not open, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the agent has gone")]
    Gone,
    #[error("a hello is expected within ten seconds")]
    Late,
    #[error("a session begins with a hello")]
    NotHello,
    #[error("{0}")]
    Field(#[from] proto::convert::FieldError),
    #[error("the Island {0} is not enrolled here; enrol its key first")]
    NotEnrolled(IslandId),
    #[error("the second hello is another Island's")]
    OtherIsland,
    #[error("the proof is not the Island's signature over this session's challenge")]
    BadProof,
    #[error("the region `{0}` is not in this exchange's table")]
    UnknownRegion(String),
    #[error("no randomness for a challenge")]
    Random,
    #[error("the exchange is stopping")]
    Stopping,
}

impl HandshakeError {
    /// What time or a slow network did is worth another try; what the agent is or says stays wrong until a person has
    /// changed it.
    pub(super) fn come_back(&self) -> ComeBack {
        match self {
            Self::Gone | Self::Late | Self::Random | Self::Stopping => ComeBack::Soon,
            Self::NotHello
            | Self::Field(_)
            | Self::NotEnrolled(_)
            | Self::OtherIsland
            | Self::BadProof
            | Self::UnknownRegion(_) => ComeBack::Never,
        }
    }
}

pub(super) async fn greet(
    shared: &Shared,
    inbound: &mut Streaming<SessionRequest>,
    wire: &Wire,
) -> Result<Greeting, HandshakeError> {
    let first = hello(shared, inbound).await?;
    let enrolment = shared
        .parts
        .enrolments
        .find(first.island)
        .ok_or(HandshakeError::NotEnrolled(first.island))?;
    // A proof in the first hello is another session's: it is not looked at.
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| HandshakeError::Random)?;
    wire.challenge(&nonce).map_err(|_| HandshakeError::Gone)?;

    let hello = hello(shared, inbound).await?;
    if hello.island != enrolment.island {
        return Err(HandshakeError::OtherIsland);
    }
    let bytes = session_bytes(&nonce, &enrolment.public_key);
    let proof = hello.proof.ok_or(HandshakeError::BadProof)?;
    if !is_signed(&enrolment.public_key, &bytes, &proof) {
        return Err(HandshakeError::BadProof);
    }
    let region = shared
        .parts
        .regions
        .find(&hello.region)
        .ok_or_else(|| HandshakeError::UnknownRegion(hello.region.clone()))?;
    Ok(Greeting {
        enrolment,
        hello,
        region,
    })
}

async fn hello(shared: &Shared, inbound: &mut Streaming<SessionRequest>) -> Result<Hello, HandshakeError> {
    let message = tokio::time::timeout(HELLO_WITHIN, inbound.message())
        .await
        .map_err(|_| HandshakeError::Late)?
        .map_err(|_| HandshakeError::Gone)?
        .ok_or(HandshakeError::Gone)?;
    let message = agent_message_from_wire(message, shared.parts.clock.now())?;
    if let AgentMessage::Hello(hello) = message {
        Ok(hello)
    } else {
        Err(HandshakeError::NotHello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_was_only_late_may_come_back_and_one_that_is_wrong_may_not() {
        for passing in [
            HandshakeError::Late,
            HandshakeError::Random,
            HandshakeError::Stopping,
        ] {
            assert_eq!(passing.come_back(), ComeBack::Soon, "{passing}");
        }
        let lasting = [
            HandshakeError::NotHello,
            HandshakeError::NotEnrolled(IslandId::new(1)),
            HandshakeError::OtherIsland,
            HandshakeError::BadProof,
            HandshakeError::UnknownRegion(String::from("atlantis")),
        ];
        for lasting in lasting {
            assert_eq!(lasting.come_back(), ComeBack::Never, "{lasting}");
        }
    }
}
