//! The agents' door, knocked on by honest machines and others.

use std::time::Duration;

use domain::{IslandId, KarmaBand, Slots, Tier};
use ed25519_dalek::{Signer, SigningKey};
use exchange::agent_sessions::{ENROL_CLOCK_SKEW_MAX, island_of_key};
use proto::agent::v1::session_request::Message as Say;
use proto::agent::v1::session_response::Message as Hear;
use proto::agent::v1::{AskStatus, Drain, FinishReason, Hello};
use proto::convert::agent::enrol_bytes;
use proto::types::v1 as types;
use service::errors::reason_of;
use tonic::Code;

use crate::link::agent::{Agent, Machine, enrol, enrol_request, hello, id, machine, quoting};
use crate::link::house::{CONSUMER_KEY, House, ISLAND_KEY, MODEL, OTHER_ISLAND_KEY, OWNER, open, soon};
use crate::registry::fixture::byte;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

#[tokio::test]
async fn a_key_enrols_as_the_same_island_every_time() {
    let house = open().await;
    let first = enrol(&house, Some(ISLAND_KEY), enrol_request(&house, &key(1)))
        .await
        .unwrap();
    let again = enrol(&house, Some(ISLAND_KEY), enrol_request(&house, &key(1)))
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(first.account_id, OWNER.to_string());
    assert_eq!(first.exchange_public_key, house.key.public_key());
    let island = island_of_key(&key(1).verifying_key().to_bytes());
    assert_eq!(id::<IslandId>(&first.island_id), island);
}

#[tokio::test]
async fn an_enrolment_that_is_not_in_order_is_refused_with_its_reason() {
    let house = open().await;
    let refused = async |secret, request| {
        let status = enrol(&house, secret, request).await.unwrap_err();
        (status.code(), reason_of(&status).unwrap_or_default())
    };
    let good = || enrol_request(&house, &key(1));
    let expect = |code, reason: &str| (code, reason.to_owned());
    assert_eq!(
        refused(None, good()).await,
        expect(Code::Unauthenticated, "MISSING_API_KEY")
    );
    assert_eq!(
        refused(Some("atoll_sk_nobody"), good()).await,
        expect(Code::Unauthenticated, "INVALID_API_KEY")
    );
    assert_eq!(
        refused(Some("atoll_sk_billing_is_down"), good()).await,
        expect(Code::Unavailable, "KEY_CHECK_UNAVAILABLE")
    );
    assert_eq!(
        refused(Some(CONSUMER_KEY), good()).await,
        expect(Code::PermissionDenied, "WRONG_KEY_SCOPE")
    );
    let mut spoilt = good();
    spoilt.signature[0] ^= 1;
    assert_eq!(
        refused(Some(ISLAND_KEY), spoilt).await,
        expect(Code::Unauthenticated, "BAD_SIGNATURE")
    );
    let mut short = good();
    short.public_key.pop();
    assert_eq!(
        refused(Some(ISLAND_KEY), short).await,
        expect(Code::InvalidArgument, "INVALID_ARGUMENT")
    );
    let mut old = good();
    let long_ago = old.signed_at_us - u64::try_from(ENROL_CLOCK_SKEW_MAX.as_micros()).unwrap() - 1_000_000;
    let bytes = enrol_bytes(
        &key(1).verifying_key().to_bytes(),
        domain::Timestamp::from_micros(long_ago),
    );
    old.signed_at_us = long_ago;
    old.signature = key(1).sign(&bytes).to_bytes().to_vec();
    assert_eq!(
        refused(Some(ISLAND_KEY), old).await,
        expect(Code::InvalidArgument, "INVALID_ARGUMENT")
    );
    enrol(&house, Some(ISLAND_KEY), good()).await.unwrap();
    assert_eq!(
        refused(Some(OTHER_ISLAND_KEY), good()).await,
        expect(Code::PermissionDenied, "OTHER_OWNER")
    );
}

/// What an agent is told that opens its session so.
async fn turned_away(change: impl Fn(&mut Hello), prove: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let house = open().await;
    let machine = machine(&house, 1).await;
    let mut opening = hello(&house, machine.island);
    change(&mut opening);
    let mut agent = Agent::connect(&house, machine).await;
    agent.say(Say::Hello(opening.clone())).await;
    let proof = prove(agent.answer_challenge().await);
    agent.say(Say::Hello(Hello { proof, ..opening })).await;
    let reason = agent.goodbye().await;
    agent.ended().await;
    let islands = house
        .sequencer
        .read(|engine| engine.islands().count())
        .await
        .unwrap();
    assert_eq!(islands, 0);
    reason
}

#[tokio::test]
async fn a_proof_that_is_not_the_keys_over_this_challenge_is_refused() {
    let spoil = |mut proof: Vec<u8>| {
        proof[7] ^= 1;
        proof
    };
    assert!(turned_away(|_| {}, spoil).await.contains("proof"));
    assert!(turned_away(|_| {}, |_| Vec::new()).await.contains("proof"));
}

#[tokio::test]
async fn a_region_that_the_table_does_not_name_is_refused() {
    let atlantis = |hello: &mut Hello| hello.region = "atlantis".to_owned();
    assert!(turned_away(atlantis, |proof| proof).await.contains("atlantis"));
}

#[tokio::test]
async fn a_hello_that_was_overheard_opens_nothing() {
    let house = open().await;
    let machine = machine(&house, 1).await;
    let mut first = Agent::connect(&house, machine.clone()).await;
    let opening = hello(&house, machine.island);
    first.say(Say::Hello(opening.clone())).await;
    let proof = first.answer_challenge().await;
    let overheard = Hello { proof, ..opening };
    first.say(Say::Hello(overheard.clone())).await;
    let proto::agent::v1::session_response::Message::Welcome(_) = first.hear().await else {
        panic!("the Island itself is welcome")
    };

    let mut thief = Agent::connect(&house, machine).await;
    thief.say(Say::Hello(overheard.clone())).await;
    drop(thief.answer_challenge().await);
    thief.say(Say::Hello(overheard)).await;
    assert!(thief.goodbye().await.contains("proof"));
    // The session that is open stays open.
    assert!(house.island(first.machine.island).await.is_some());
}

#[tokio::test]
async fn a_session_begins_with_the_hello_of_an_enrolled_island() {
    let house = open().await;
    let stranger = Machine {
        key: key(9),
        island: IslandId::new(12_345),
    };
    let mut agent = Agent::connect(&house, stranger.clone()).await;
    agent.say(Say::Hello(hello(&house, stranger.island))).await;
    assert!(agent.goodbye().await.contains("not enrolled"));

    let mut agent = Agent::connect(&house, stranger).await;
    agent.say(Say::Drain(Drain {})).await;
    assert!(agent.goodbye().await.contains("hello"));
}

#[tokio::test]
async fn an_island_is_measured_before_it_may_quote_and_its_cap_lowers_its_tier() {
    let house = open().await;
    let mut agent = Agent::join(&house, 1).await;
    let canary = agent.assigned().await;
    assert!(canary.canary && canary.stop_ids.is_empty() && canary.max_tokens > 0);
    agent.post("early", 40, 1).await;
    let report = agent.ask_report().await;
    assert_eq!(
        (report.status(), report.code.as_str()),
        (AskStatus::Rejected, "NOT_QUOTABLE")
    );

    agent.acknowledge(&canary).await;
    let ids = vec![byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
    agent.emit(&canary, 0, &ids).await;
    agent.finish(&canary, FinishReason::Length, &ids).await;
    let tier = agent.tier().await;
    assert_eq!(tier.tier(), types::Tier::Desktop, "{tier:?}");
    assert!(tier.decode_per_second >= 40.0);
    let island = house.island(agent.machine.island).await.unwrap();
    assert_eq!(island.tiers, [(MODEL, Tier::Desktop)]);
    assert_eq!(
        (island.owner, island.slots, island.band),
        (OWNER, Slots::new(2), KarmaBand::C)
    );
    agent.ask("first", 40, 1).await;
}

#[tokio::test]
async fn a_model_that_is_not_traded_or_has_other_weights_gets_no_tier() {
    let house = open().await;
    let machine = machine(&house, 1).await;
    let mut agent = Agent::join_with(&house, machine, |hello| {
        let mut unknown = hello.offers[0].clone();
        unknown.model = "something-else".to_owned();
        let mut other = hello.offers[0].clone();
        other.model_digest[0] ^= 1;
        hello.offers = vec![unknown, other];
    })
    .await;
    let unknown = agent.tier().await;
    assert_eq!(
        (unknown.tier(), unknown.model.as_str()),
        (types::Tier::Unspecified, "something-else")
    );
    assert!(unknown.reason.contains("does not trade"));
    let other = agent.tier().await;
    assert_eq!(other.tier(), types::Tier::Unspecified);
    assert!(other.reason.contains("weights"));
    assert!(house.island(agent.machine.island).await.unwrap().tiers.is_empty());
}

/// What an agent is told that does this to its canary job.
async fn spoils_canary(wrong: impl AsyncFnOnce(&Agent, &proto::agent::v1::Assign)) -> String {
    let house = open().await;
    let mut agent = Agent::join(&house, 1).await;
    let canary = agent.assigned().await;
    agent.acknowledge(&canary).await;
    wrong(&agent, &canary).await;
    let reason = agent.goodbye().await;
    agent.ended().await;
    reason
}

#[tokio::test]
async fn a_canary_job_that_is_done_falsely_ends_the_session() {
    let ids =
        |canary: &proto::agent::v1::Assign| vec![byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
    let wrong_chain = async |agent: &Agent, canary: &proto::agent::v1::Assign| {
        agent.emit(canary, 0, &ids(canary)).await;
        let mut other = ids(canary);
        other[0] = byte(b'b');
        agent.finish(canary, FinishReason::Length, &other).await;
    };
    assert!(spoils_canary(wrong_chain).await.contains("canary"));
    let too_little = async |agent: &Agent, canary: &proto::agent::v1::Assign| {
        agent.emit(canary, 0, &ids(canary)[1..]).await;
        agent
            .finish(canary, FinishReason::Length, &ids(canary)[1..])
            .await;
    };
    assert!(spoils_canary(too_little).await.contains("before all its tokens"));
    let gap = async |agent: &Agent, canary: &proto::agent::v1::Assign| {
        agent.emit(canary, 1, &ids(canary)[1..]).await;
    };
    assert!(spoils_canary(gap).await.contains("gap"));
}

/// Lets a span pass in steps that are shorter than the silence that ends a session, and says something in each. The
/// report of the last is still to be heard.
async fn pass(house: &House, agent: &mut Agent, span: Duration) {
    let mut left = span;
    loop {
        let step = left.min(Duration::from_secs(2));
        left -= step;
        house.advance(step);
        agent.cancel_ask("ord_1").await;
        if left.is_zero() {
            return;
        }
        assert_eq!(agent.ask_report().await.code, "UNKNOWN_ORDER");
    }
}

/// The next canary job, whatever reports come before it.
async fn measured_again(agent: &mut Agent) -> proto::agent::v1::Assign {
    loop {
        match agent.hear().await {
            Hear::AskReport(_) => {}
            Hear::Assign(canary) => {
                assert!(canary.canary);
                return canary;
            }
            other => panic!("no canary: {other:?}"),
        }
    }
}

/// The next tier, whatever reports come before it.
async fn tier_at_last(agent: &mut Agent) -> types::Tier {
    loop {
        match agent.hear().await {
            Hear::AskReport(_) => {}
            Hear::TierAssigned(tier) => return tier.tier(),
            other => panic!("no tier: {other:?}"),
        }
    }
}

async fn decline(agent: &Agent, canary: &proto::agent::v1::Assign) {
    agent
        .say(Say::Decline(proto::agent::v1::Decline {
            lease_id: canary.lease_id.clone(),
            epoch: canary.epoch,
            reason: "NO_SLOT".to_owned(),
        }))
        .await;
}

/// Writes all of a canary job at once.
async fn write(agent: &Agent, canary: &proto::agent::v1::Assign) {
    let ids = vec![byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
    agent.acknowledge(canary).await;
    agent.emit(canary, 0, &ids).await;
    agent.finish(canary, FinishReason::Length, &ids).await;
}

#[tokio::test]
async fn a_canary_job_that_is_declined_comes_again_after_pauses_that_grow() {
    let house = open().await;
    let mut agent = Agent::join(&house, 1).await;
    let mut canary = agent.assigned().await;
    for (pause, told) in [(1, "again in 1 s"), (2, "again in 2 s"), (4, "again in 4 s")] {
        decline(&agent, &canary).await;
        let none = agent.tier().await;
        assert_eq!(none.tier(), types::Tier::Unspecified);
        assert!(
            none.reason.contains("NO_SLOT") && none.reason.contains(told),
            "{}",
            none.reason
        );
        pass(&house, &mut agent, Duration::from_secs(pause)).await;
        let again = measured_again(&mut agent).await;
        assert_ne!(again.lease_id, canary.lease_id);
        canary = again;
    }
    write(&agent, &canary).await;
    assert_eq!(tier_at_last(&mut agent).await, types::Tier::Desktop);
    agent.ask("first", 40, 1).await;
}

#[tokio::test]
async fn a_machine_that_was_too_slow_is_measured_again_and_told_when() {
    let house = open().await;
    let mut agent = Agent::join(&house, 1).await;
    let canary = agent.assigned().await;
    let ids = vec![byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
    agent.acknowledge(&canary).await;
    agent.emit(&canary, 0, &ids[1..]).await;
    pass(&house, &mut agent, Duration::from_secs(10)).await;
    assert_eq!(agent.ask_report().await.code, "UNKNOWN_ORDER");
    agent
        .emit(&canary, u32::try_from(ids.len() - 1).unwrap(), &ids[..1])
        .await;
    agent.finish(&canary, FinishReason::Length, &ids).await;
    let none = agent.tier().await;
    assert_eq!(
        (none.tier(), none.reason.as_str()),
        (
            types::Tier::Unspecified,
            "the canary job ran at 3 tokens/s; the slowest tier asks for 4; it is measured again in 30 s"
        )
    );
    pass(&house, &mut agent, Duration::from_secs(30)).await;
    let canary = measured_again(&mut agent).await;
    write(&agent, &canary).await;
    assert_eq!(tier_at_last(&mut agent).await, types::Tier::Desktop);
}

#[tokio::test]
async fn a_slower_machine_gets_the_tier_of_the_speed_that_was_measured() {
    let house = open().await;
    let machine = machine(&house, 1).await;
    let mut agent = Agent::join_with(&house, machine, |hello| hello.tier_max = 0).await;
    let canary = agent.assigned().await;
    agent.acknowledge(&canary).await;
    let ids = vec![byte(b'a'); usize::try_from(canary.max_tokens).unwrap()];
    let half = ids.len() / 2;
    agent.emit(&canary, 0, &ids[..half]).await;
    // The echo of the first ping is heard before this is reported: the time that passes next is no round trip.
    agent.post("early", 40, 1).await;
    assert_eq!(agent.ask_report().await.code, "NOT_QUOTABLE");
    house.advance(Duration::from_millis(2_500));
    agent
        .emit(&canary, u32::try_from(half).unwrap(), &ids[half..])
        .await;
    agent.finish(&canary, FinishReason::Length, &ids).await;
    let assigned = agent.tier().await;
    let instrument = house.registry.instrument(MODEL).unwrap();
    // Only what is written counts, not the prompt.
    let rate = canary.max_tokens * 10 / 25;
    assert_eq!(assigned.decode_per_second.to_bits(), f64::from(rate).to_bits());
    let tier = instrument.floors.tier_for(rate).unwrap();
    assert!(
        tier < Tier::Server,
        "the test must be slow enough to tell: {tier}"
    );
    let island = house.island(agent.machine.island).await.unwrap();
    assert_eq!(island.tiers, [(MODEL, tier)]);
}

#[tokio::test]
async fn a_machine_that_does_not_end_its_canary_gets_no_tier() {
    let house = open().await;
    let mut agent = Agent::join(&house, 1).await;
    let canary = agent.assigned().await;
    agent.acknowledge(&canary).await;
    let revoked = loop {
        house.advance(Duration::from_secs(2));
        agent.post("a sign of life", 40, 1).await;
        match agent.hear().await {
            Hear::AskReport(_) => {}
            Hear::Revoke(revoke) => break revoke,
            other => panic!("neither a report nor a revocation: {other:?}"),
        }
    };
    assert_eq!(revoked.lease_id, canary.lease_id);
    let tier = loop {
        match agent.hear().await {
            Hear::AskReport(_) => {}
            Hear::TierAssigned(tier) => break tier,
            other => panic!("no tier: {other:?}"),
        }
    };
    assert_eq!(tier.tier(), types::Tier::Unspecified);
    // What comes too late measures nothing and offends nobody.
    agent.emit(&canary, 0, &[byte(b'a')]).await;
    agent.post("after", 40, 1).await;
    loop {
        let report = agent.ask_report().await;
        if report.client_order_id == "after" {
            assert_eq!(report.code, "NOT_QUOTABLE");
            break;
        }
    }
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_lost() {
    let house = open().await;
    let agent = quoting(&house, 1, 40, 1).await;
    let island = agent.machine.island;
    let not_reading = agent.stop_reading().await;
    let flooded = async {
        while house.island(island).await.is_some() {
            for _ in 0..100 {
                agent.post(&"a".repeat(64), 40, 1).await;
            }
        }
    };
    soon("an agent that does not read to be lost", flooded).await;
    drop(not_reading);
}

#[tokio::test]
async fn a_newer_session_of_an_island_takes_over() {
    let house = open().await;
    let mut older = quoting(&house, 1, 40, 4).await;
    let mut newer = Agent::join(&house, 1).await;
    assert!(older.goodbye().await.contains("newer session"));
    older.ended().await;
    newer.pass_canary().await;
    newer.ask("first", 50, 1).await;
    let orders = house
        .sequencer
        .read(|engine| engine.orders_of(OWNER))
        .await
        .unwrap();
    assert_eq!(orders.len(), 1, "the older one's ask has ended: {orders:?}");
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_told_what_it_did() {
    let house = open().await;
    let output = |ids: Vec<u32>| {
        Say::Output(proto::agent::v1::Output {
            lease_id: "lse_1".to_owned(),
            epoch: 0,
            first_index: 0,
            ids,
        })
    };
    let malformed = Say::CancelAsk(proto::agent::v1::CancelAsk {
        order_id: "lse_1".to_owned(),
    });
    let hello = Say::Hello(hello(&house, IslandId::new(1)));
    for (seed, message, problem) in [
        (1, output(vec![5; 1_025]), "output.ids"),
        (2, malformed, "cancel_ask.order_id"),
        (3, hello, "one hello"),
    ] {
        let mut agent = Agent::join(&house, seed).await;
        agent.say(message).await;
        let reason = agent.goodbye().await;
        assert!(reason.contains(problem), "{reason}");
        agent.ended().await;
    }
}

#[tokio::test]
async fn an_id_that_the_tokenizer_does_not_have_ends_the_session() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = agent.take_job().await;
    agent.emit(&assign, 0, &[u32::MAX]).await;
    assert!(agent.goodbye().await.contains("tokenizer"));
    assert_eq!(events.failed_over().await, domain::LeaseFailure::SessionLost);
}

#[tokio::test]
async fn a_message_of_many_megabytes_ends_the_stream_and_the_session() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    agent
        .say(Say::Decline(proto::agent::v1::Decline {
            lease_id: "lse_1".to_owned(),
            epoch: 0,
            reason: "x".repeat(5 << 20),
        }))
        .await;
    agent.ended().await;
    let island = agent.machine.island;
    let gone = async {
        while house.island(island).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    soon("the session to end", gone).await;
}

#[tokio::test]
async fn an_agent_hears_what_becomes_of_its_asks() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let second = agent.ask("second", 60, 2).await;
    agent.post("second", 60, 2).await;
    let report = agent.ask_report().await;
    assert_eq!(
        (report.status(), report.code.as_str()),
        (AskStatus::Rejected, "DUPLICATE_CLIENT_ORDER_ID")
    );
    agent.cancel_ask(&second.order_id).await;
    let ended = agent.ask_report().await;
    assert_eq!(
        (
            ended.status(),
            ended.code.as_str(),
            ended.client_order_id.as_str()
        ),
        (AskStatus::Ended, "CANCELLED", "second")
    );
    // A name is free again when its ask has ended.
    let again = agent.ask("second", 70, 2).await;
    assert_ne!(again.order_id, second.order_id);
    for unknown in [second.order_id.as_str(), "ord_ZZZ"] {
        agent.cancel_ask(unknown).await;
        let report = agent.ask_report().await;
        assert_eq!(
            (report.status(), report.code.as_str()),
            (AskStatus::Rejected, "UNKNOWN_ORDER")
        );
    }
    // A bid of the same owner is no ask of this Island.
    agent
        .say(Say::PostAsk(proto::agent::v1::PostAsk {
            client_order_id: "other".to_owned(),
            model: "something-else".to_owned(),
            price: 1_000,
            jobs: 1,
            time_in_force: None,
            post_only: false,
        }))
        .await;
    assert_eq!(agent.ask_report().await.code, "UNKNOWN_INSTRUMENT");
}

#[tokio::test]
async fn an_agent_that_floods_the_book_is_slowed_and_not_cut_off() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 1).await;
    let mut limited = false;
    for number in 0..400 {
        agent.post(&format!("ask {number}"), 40, 1).await;
        let report = agent.ask_report().await;
        limited |= report.code == "RATE_LIMITED";
    }
    assert!(limited);
    assert!(house.island(agent.machine.island).await.is_some());
}

#[tokio::test]
async fn a_drain_pulls_the_asks_and_lets_what_runs_finish() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    let mut events = house.submit(house.submission(8)).await;
    events.running().await;
    let assign = agent.take_job().await;
    agent.say(Say::Drain(Drain {})).await;
    let ended = agent.ask_report().await;
    assert_eq!((ended.status(), ended.leaves), (AskStatus::Ended, 3));
    agent.emit(&assign, 0, &[byte(b'a')]).await;
    agent.finish(&assign, FinishReason::Stop, &[byte(b'a')]).await;
    events.tokens(1).await;
    assert_eq!(events.completed().await.outcome, domain::JobOutcome::Stopped);
    assert_eq!(agent.receipt_report().await.code, "");
    house.idle().await;
}

#[tokio::test]
async fn an_exchange_that_begins_to_stop_lets_nobody_in_and_says_so_to_whom_it_ends() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    house.sessions.close();
    let machine = machine(&house, 2).await;
    let Err(refused) = Agent::try_connect(&house, machine).await else {
        panic!("it was let in")
    };
    assert_eq!(
        (refused.code(), reason_of(&refused).as_deref()),
        (Code::Unavailable, Some("STOPPING"))
    );
    let all = matcher::LoseSessions::All;
    house
        .sequencer
        .apply(matcher::Command::LoseSessions(all))
        .await
        .unwrap();
    assert!(agent.goodbye().await.contains("stopping"));
}

#[tokio::test]
async fn a_stopping_exchange_says_goodbye_to_every_agent() {
    let house = open().await;
    let mut agent = quoting(&house, 1, 40, 4).await;
    house.shutdown.trigger();
    assert!(agent.goodbye().await.contains("stopping"));
    soon("all sessions to end", house.sessions.ended()).await;
    let islands = house
        .sequencer
        .read(|engine| engine.islands().count())
        .await
        .unwrap();
    assert_eq!(islands, 0);
}
