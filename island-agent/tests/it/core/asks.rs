//! Asks: posted once a tier is assigned, renewed, repriced, cancelled.

use std::time::Duration;

use domain::{IslandId, OrderId, SessionId, Tier};
use expect_test::expect;
use island_agent::effect::{AskStatus, Beat, Effect, Incoming, Input, Outgoing};
use island_agent::status::Phase;

use super::scenario::{Script, ask_status, check, live, settings, show};

#[test]
fn an_agent_enrols_proves_its_key_and_quotes_once_its_tier_is_assigned() {
    let mut script = Script::new(settings(1));
    check(script.wake(), expect!["connect"]);
    let island = IslandId::new(1);
    check(script.take(Input::Enrolled { island }), expect!["open; hello"]);
    check(
        script.hear(Incoming::Challenge { nonce: [1; 32] }),
        expect!["hello with proof"],
    );
    let heartbeat = Duration::from_secs(3);
    let session = SessionId::new(9);
    check(script.hear(Incoming::Welcome { session, heartbeat }), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::Welcomed);
    let tier = |tier| Incoming::TierAssigned {
        model: "m".to_owned(),
        tier,
        decode_per_second: 20.0,
        reason: String::new(),
    };
    check(script.hear(tier(None)), expect![""]);
    check(
        script.hear(tier(Some(Tier::Laptop))),
        expect!["ask ses_9-0 10@20000"],
    );
    check(script.hear(live("ses_9-0", 4, 10)), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::Quoting);
    check(script.hear(tier(None)), expect!["cancel ord_4"]);
}

#[test]
fn a_filled_ask_is_renewed_at_once_and_a_refused_one_after_a_pause() {
    let mut script = Script::quoting(settings(1));
    check(script.hear(live("ses_9-0", 4, 3)), expect![""]);
    check(
        script.hear(live("ses_9-0", 4, 0)),
        expect!["ask ses_9-1 10@20000"],
    );
    let code = "HALTED".to_owned();
    check(
        script.hear(ask_status("ses_9-1", AskStatus::Rejected { code })),
        expect![""],
    );
    assert_eq!(script.agent.status().phase, Phase::Welcomed);
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["ask ses_9-2 10@20000"]);
    // An ask that should not stand any more is taken out of the book.
    check(script.hear(live("ses_9-1", 5, 3)), expect!["cancel ord_5"]);
    check(script.hear(live("ses_9-1", 5, 0)), expect![""]);
}

#[test]
fn a_refused_cancellation_is_sent_again_and_a_needless_one_is_not() {
    let refused = |code: &str| {
        let order = OrderId::new(4);
        let code = code.to_owned();
        ask_status("", AskStatus::CancelRefused { order, code })
    };
    let cancelling = || {
        let mut script = Script::quoting(settings(1));
        let no_tier = Incoming::TierAssigned {
            model: "m".to_owned(),
            tier: None,
            decode_per_second: 1.0,
            reason: String::new(),
        };
        check(script.hear(no_tier), expect!["cancel ord_4"]);
        script
    };
    let mut script = cancelling();
    check(script.hear(refused("RATE_LIMITED")), expect![""]);
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["cancel ord_4"]);
    let mut script = cancelling();
    check(script.hear(refused("UNKNOWN_ORDER")), expect![""]);
    script.after(Duration::from_secs(8));
    check(script.wake(), expect!["beat 1"]);
}

#[test]
fn a_repeated_ask_that_is_refused_as_a_duplicate_stands_as_the_first() {
    let mut script = Script::quoting(settings(1));
    script.hear(live("ses_9-0", 4, 0));
    for _ in 0..2 {
        script.after(Duration::from_secs(5));
        script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        });
    }
    let code = "DUPLICATE_CLIENT_ORDER_ID".to_owned();
    check(
        script.hear(ask_status("ses_9-1", AskStatus::Rejected { code })),
        expect![""],
    );
    script.hear(live("ses_9-1", 5, 10));
    assert_eq!(script.agent.status().phase, Phase::Quoting);
}

#[test]
fn an_unanswered_ask_is_sent_again_under_its_name() {
    let mut script = Script::quoting(settings(1));
    let code = "EXPIRED".to_owned();
    script.hear(ask_status("ses_9-0", AskStatus::Ended { code }));
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["ask ses_9-1 10@20000"]);
    let mut said = Vec::new();
    for _ in 0..5 {
        script.after(Duration::from_secs(2));
        said.extend(script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        }));
    }
    said.retain(|effect| matches!(effect, Effect::Send(Outgoing::PostAsk { .. })));
    check(said, expect!["ask ses_9-1 10@20000"]);
}

#[test]
fn a_price_follows_the_load_but_not_faster_than_the_owner_allows() {
    let mut busy = settings(2);
    busy.asks.pricing.surcharge_percent = 50;
    let mut script = Script::quoting(busy);
    script.run(1, 0);
    assert_eq!(show(&script.wake()), "");
    script.after(Duration::from_secs(5));
    check(script.wake(), expect!["beat 1; cancel ord_4"]);
    let code = "CANCELLED".to_owned();
    check(
        script.hear(ask_status("ses_9-0", AskStatus::Ended { code })),
        expect!["ask ses_9-1 10@30000"],
    );
}
