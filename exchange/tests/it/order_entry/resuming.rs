//! Going on where a connection ended.

use proto::billing::v1::KeyScope;
use proto::exchange::v1 as wire;
use proto::exchange::v1::order_command::Command;

use super::client::{LOW, Session, amend, bid, cancel, cancel_all, dead_man};
use crate::grpc::complaint;
use crate::support::island::{Island, Quote};
use crate::support::whole::{CONSUMER, Whole};

/// Commands that are refused at once: a report each, without the market.
fn strays(count: usize) -> Vec<Command> {
    (0..count).map(|_| cancel("nobody")).collect()
}

async fn refusal(exchange: &Whole, key: &str, token: wire::ResumeSession) -> String {
    match Session::resume(exchange, key, token).await {
        Ok(_) => panic!("it was resumed"),
        Err(status) => complaint(&status),
    }
}

#[tokio::test]
async fn a_session_goes_on_from_any_report_that_is_kept_and_the_newest_connection_has_it() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut first = Session::keeping(&exchange, &exchange.key).await;
    first.send(vec![bid("a", LOW, 1)]).await;
    first.lines(1).await;
    first.send(strays(3)).await;
    first.lines(3).await;
    let token = wire::ResumeSession {
        next_report: 2,
        ..first.token()
    };
    let mut second = Session::resume(&exchange, &exchange.key, token.clone())
        .await
        .unwrap();
    assert_eq!(second.opened.next_report, 2);
    second.lines(3).await;
    let goodbye = first.goodbye().await;
    assert_eq!(
        (goodbye.code.as_str(), goodbye.resume),
        ("RESUMED_ELSEWHERE", None)
    );
    // Twice from the same token: the same reports, again.
    let mut third = Session::resume(&exchange, &exchange.key, token).await.unwrap();
    third.lines(3).await;
    assert_eq!(second.goodbye().await.code, "RESUMED_ELSEWHERE");
    // The one that was replaced has taken nothing with it.
    third.send(vec![cancel("a")]).await;
    assert_eq!(
        third.lines(1).await,
        ["1: CANCELED CANCELED bid a 0+0=0 CANCELLED"]
    );
    exchange.stop().await;
}

#[tokio::test]
async fn a_session_resumed_with_a_key_of_another_scope_is_bound_by_that_scope() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let keeper = exchange.bank.key("keeper", CONSUMER, KeyScope::Island);
    let mut session = Session::keeping(&exchange, &exchange.key).await;
    session.send(vec![bid("a", LOW, 2)]).await;
    session.lines(1).await;
    let mut session = Session::resume(&exchange, &keeper, session.token())
        .await
        .unwrap();
    session
        .send(vec![
            cancel("a"),
            amend("a", 1),
            cancel_all(wire::CancelScope::Session, ""),
            dead_man(1),
            cancel("nobody"),
        ])
        .await;
    assert_eq!(
        session.lines(5).await,
        [
            "1: REFUSED WRONG_KEY_SCOPE",
            "2: REFUSED WRONG_KEY_SCOPE",
            "3: REFUSED WRONG_KEY_SCOPE",
            "4: REFUSED WRONG_KEY_SCOPE",
            "5: REFUSED UNKNOWN_ORDER",
        ]
    );
    let mut session = Session::resume(&exchange, &exchange.key, session.token())
        .await
        .unwrap();
    session.send(vec![cancel("a")]).await;
    assert_eq!(
        session.lines(1).await,
        ["1: CANCELED CANCELED bid a 0+0=0 CANCELLED"]
    );
    exchange.stop().await;
}

#[tokio::test]
async fn nobody_resumes_another_account_s_session_or_one_that_never_was() {
    let exchange = Whole::start().await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(strays(1)).await;
    session.lines(1).await;
    let token = session.token();
    assert_eq!(
        refusal(&exchange, &exchange.poor_key, token.clone()).await,
        "NotFound SESSION_ENDED"
    );
    let named = |session_id: &str| wire::ResumeSession {
        session_id: session_id.to_owned(),
        next_report: 1,
    };
    assert_eq!(
        refusal(&exchange, &exchange.key, named("ses_ZZZZ")).await,
        "NotFound SESSION_ENDED"
    );
    assert_eq!(
        refusal(&exchange, &exchange.key, named("ord_1")).await,
        "InvalidArgument INVALID_ARGUMENT@resume.session_id"
    );
    for next_report in [0, 3, u64::MAX] {
        let never = wire::ResumeSession {
            next_report,
            ..token.clone()
        };
        assert_eq!(
            refusal(&exchange, &exchange.key, never).await,
            "InvalidArgument INVALID_ARGUMENT@resume.next_report"
        );
    }
    // None of it has disturbed the session.
    session.send(strays(1)).await;
    session.lines(1).await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_was_received_is_forgotten_and_a_gap_is_told() {
    let exchange = Whole::start().await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(strays(5)).await;
    session.lines(5).await;
    session.received_through(3).await;
    session.send(strays(1)).await;
    session.lines(1).await;
    let from = |next_report| wire::ResumeSession {
        next_report,
        ..session.token()
    };
    assert_eq!(
        refusal(&exchange, &exchange.key, from(3)).await,
        "OutOfRange REPORTS_GONE@resume.next_report"
    );
    let mut again = Session::resume(&exchange, &exchange.key, from(4)).await.unwrap();
    again.lines(3).await;
    exchange.stop().await;
}

#[tokio::test]
async fn the_session_that_was_left_longest_ago_gives_way_when_all_keep_too_much() {
    let exchange = Whole::start_with(|config| config.limits.session_report_bytes_max = 64 << 10).await;
    let mut left = Vec::new();
    for _ in 0..2 {
        let mut session = Session::open(&exchange, &exchange.key).await;
        session.send(strays(50)).await;
        session.lines(50).await;
        left.push(session.token());
        drop(session);
        exchange.nothing_leaked().await;
    }
    // Whoever is connected and says what he received is left alone.
    let mut session = Session::open(&exchange, &exchange.key).await;
    let from_the_first = |token: &wire::ResumeSession| wire::ResumeSession {
        next_report: 1,
        ..token.clone()
    };
    let mut told = String::new();
    while told.is_empty() {
        session.send(strays(50)).await;
        session.lines(50).await;
        let resumed = Session::resume(&exchange, &exchange.key, from_the_first(&left[0])).await;
        told = resumed
            .err()
            .map_or_else(String::new, |status| status.message().to_owned());
    }
    assert!(
        told.contains("reports before 51 are not kept any more, for all sessions together had more"),
        "{told}"
    );
    let mut again = Session::resume(&exchange, &exchange.key, left[0].clone())
        .await
        .unwrap();
    again.send(strays(1)).await;
    again.lines(1).await;
    session.send(strays(1)).await;
    session.lines(1).await;
    exchange.stop().await;
}

#[tokio::test]
async fn one_who_does_not_read_is_disconnected_and_loses_no_report() {
    const MESSAGES: usize = 32;
    const COMMANDS: usize = 1_024;
    let brief = std::time::Duration::from_millis(300);
    let exchange = Whole::start_with(|config| config.limits.stream_stall_timeout = brief).await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", LOW, 1)]).await;
    session.lines(1).await;
    for _ in 0..MESSAGES {
        session.send(strays(COMMANDS)).await;
    }
    // That his bid is cancelled shows that he was disconnected.
    exchange
        .until("the disconnect", |status| status.resting_orders == 1)
        .await;
    let goodbye = session.goodbye().await;
    assert_eq!(goodbye.code, "STREAM_STALLED", "{}", goodbye.message);
    let token = goodbye.resume.unwrap();
    assert_eq!(token, session.token(), "all that was handed out has arrived");
    let sent = usize::try_from(session.seen).unwrap();
    assert!(sent < MESSAGES * COMMANDS, "he was told it all: {sent}");
    let mut session = Session::resume(&exchange, &exchange.key, token).await.unwrap();
    session.send(vec![dead_man(0)]).await;
    let mut others = 0;
    let mut last = String::new();
    while last != "1: DEAD_MAN off" {
        last = super::client::line(&session.next().await);
        others += usize::from(!last.ends_with("REFUSED UNKNOWN_ORDER"));
    }
    assert_eq!(others, 2, "the cancelled bid, and the switch");
    let strays = usize::try_from(session.seen).unwrap() - 3;
    assert!(strays >= 4 * COMMANDS, "{strays}");
    assert_eq!(strays % COMMANDS, 0, "each message was carried out whole");
    exchange.stop().await;
}

#[tokio::test]
async fn a_session_does_not_outlive_the_exchange() {
    let exchange = Whole::start().await;
    let session = Session::open(&exchange, &exchange.key).await;
    let token = session.token();
    drop(session);
    let exchange = exchange.restart().await;
    assert_eq!(
        refusal(&exchange, &exchange.key, token).await,
        "NotFound SESSION_ENDED"
    );
    exchange.stop().await;
}
