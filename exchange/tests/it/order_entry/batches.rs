//! What a session does while nothing goes wrong but the commands.

use proto::agent::v1::FinishReason;
use proto::exchange::v1 as wire;
use proto::exchange::v1::CancelScope;
use proto::exchange::v1::order_command::Command;

use super::client::{ASKED, LOW, Session, amend, bid, cancel, cancel_all, dead_man};
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

#[tokio::test]
async fn a_bid_and_the_words_that_it_bought_come_in_one_session_and_in_order() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    assert_eq!(session.opened.next_report, 1);
    assert!(session.opened.cancels_on_disconnect);
    session.send(vec![bid("b", ASKED, 1)]).await;
    let report = session.next().await;
    let Some(wire::report::Report::Execution(accepted)) = &report.report else {
        panic!("not taken in: {report:?}")
    };
    assert_eq!(super::client::line(&report), "1: NEW NEW bid b 0+1=1");
    let terms = accepted.terms.as_ref().unwrap();
    assert!(terms.reserved_nano > 0 && terms.units_max > 0 && terms.prompt_tokens[0] > 0);
    let echoed = terms.bid.as_ref().unwrap();
    assert_eq!(
        (echoed.limit, echoed.home_region.as_str()),
        (Some(ASKED), "eu-west")
    );
    assert!(!echoed.regions.is_empty());
    let trade = session.execution().await;
    assert_eq!(
        (trade.cum_quantity, trade.leaves_quantity, trade.last_price),
        (1, 0, ASKED)
    );
    assert!(trade.trade_id.starts_with("trd_"));
    assert_eq!(session.lines(1).await, ["matched 0"]);
    let mut work = island.job().await;
    island.write(&mut work, "hi").await;
    assert_eq!(session.lines(1).await, [r#"output "hi""#]);
    island.finish(&work, FinishReason::Stop).await;
    assert_eq!(session.lines(1).await, ["completed 0 Stopped"]);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn half_a_batch_may_be_bad_and_the_rest_goes_through() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    let lost = |change: fn(&mut wire::SubmitJobRequest)| {
        let Command::PlaceBid(mut request) = bid("bad", LOW, 1) else {
            panic!("a bid is a bid")
        };
        change(&mut request);
        Command::PlaceBid(request)
    };
    let batch = vec![
        bid("a", LOW, 2),
        lost(|bid| bid.terms.as_mut().unwrap().home_region = "moon".into()),
        lost(|bid| bid.model = "gpt-5".into()),
        lost(|bid| bid.inputs[0].max_tokens = 1_000_000),
        lost(|bid| bid.inputs.clear()),
        lost(|bid| bid.client_order_id = "x".repeat(65)),
        cancel("nobody"),
        amend("a", 0),
        cancel_all(CancelScope::Account, "gpt-5"),
        dead_man(u64::MAX),
        bid("b", LOW, 1),
    ];
    session.send(batch).await;
    let mut lines = session.lines(11).await;
    // What is taken in is told when it is durable, what is refused before at once.
    lines.sort_by_key(|line| line.split(':').next().unwrap().parse::<u32>().unwrap());
    let long = "x".repeat(64);
    assert_eq!(
        lines,
        [
            "1: NEW NEW bid a 0+2=2",
            "2: REJECTED REJECTED bid bad INVALID_ARGUMENT@place_bid.terms.home_region",
            "3: REJECTED REJECTED bid bad MODEL_NOT_FOUND@model",
            "4: REJECTED REJECTED bid bad CONTEXT_LENGTH_EXCEEDED@inputs[0].max_tokens",
            "5: REJECTED REJECTED bid bad INVALID_ARGUMENT@place_bid.inputs",
            &format!("6: REJECTED REJECTED bid {long} INVALID_ARGUMENT@place_bid.client_order_id"),
            "7: REFUSED UNKNOWN_ORDER",
            "8: REFUSED INVALID_ARGUMENT@amend.leaves_quantity",
            "9: REFUSED MODEL_NOT_FOUND@cancel_all.model",
            "10: REFUSED INVALID_ARGUMENT@dead_man.cancel_after_ms",
            "11: NEW NEW bid b 0+1=1",
        ]
    );
    drop(session);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_command_may_be_missing_from_its_envelope() {
    let exchange = Whole::start().await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session
        .send_message(wire::SessionRequest {
            commands: vec![wire::OrderCommand {
                reference: 7,
                command: None,
            }],
            ..wire::SessionRequest::default()
        })
        .await;
    assert_eq!(session.lines(1).await, ["7: REFUSED INVALID_ARGUMENT@command"]);
    exchange.stop().await;
}

#[tokio::test]
async fn the_same_name_twice_is_the_same_order_and_with_another_body_it_is_refused() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    // The first bid pays for the top-up, so that the batch that follows needs none.
    session.send(vec![bid("first", LOW, 1)]).await;
    session.lines(1).await;
    session
        .send(vec![bid("a", LOW, 2), bid("a", LOW, 2), bid("a", LOW, 1)])
        .await;
    let mut lines = session.lines(3).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "1: NEW NEW bid a 0+2=2",
            "2: ORDER_STATUS NEW bid a 0+2=2",
            "3: REJECTED REJECTED bid a DUPLICATE_CLIENT_ORDER_ID",
        ]
    );
    let mut other = Session::open(&exchange, &exchange.key).await;
    other.send(vec![bid("a", LOW, 2)]).await;
    let execution = other.execution().await;
    assert_eq!(execution.execution_type(), wire::ExecutionType::OrderStatus);
    assert!(execution.order_id.starts_with("ord_"));
    drop((session, other));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_order_is_amended_and_cancelled_by_its_name_even_before_it_is_there() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session
        .send(vec![
            bid("a", LOW, 3),
            amend("a", 2),
            cancel("a"),
            bid("b", LOW, 1),
        ])
        .await;
    let mut lines = session.lines(4).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "1: NEW NEW bid a 0+3=3",
            "2: REPLACED NEW bid a 0+2=2",
            "3: CANCELED CANCELED bid a 0+0=0 CANCELLED",
            "4: NEW NEW bid b 0+1=1",
        ]
    );
    session
        .send(vec![amend("b", 1), cancel("a"), cancel("b"), cancel("b")])
        .await;
    let mut lines = session.lines(4).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "1: REFUSED NOT_LESS",
            "2: REFUSED UNKNOWN_ORDER",
            "3: CANCELED CANCELED bid b 0+0=0 CANCELLED",
            "4: REFUSED UNKNOWN_ORDER",
        ]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_cancel_of_a_job_that_runs_stops_it() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", ASKED, 1)]).await;
    let lines = session.lines(3).await;
    assert_eq!(lines[1], format!("TRADE FILLED bid a 1+0=1 taker 1@{ASKED}"));
    let mut work = island.job().await;
    island.write(&mut work, "hi").await;
    assert_eq!(session.lines(1).await, [r#"output "hi""#]);
    session.send(vec![cancel("a")]).await;
    assert_eq!(session.lines(1).await, ["1: PENDING_CANCEL FILLED bid a 1+0=1"]);
    island.revoked(&work).await;
    assert_eq!(session.lines(1).await, ["completed 0 Cancelled"]);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_mass_cancel_ends_the_session_s_orders_or_the_account_s() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut one = Session::open(&exchange, &exchange.key).await;
    let mut two = Session::open(&exchange, &exchange.key).await;
    one.send(vec![bid("a", LOW, 1), bid("b", LOW, 1)]).await;
    one.lines(2).await;
    two.send(vec![bid("c", LOW, 1)]).await;
    two.lines(1).await;
    one.send(vec![cancel_all(CancelScope::Session, "")]).await;
    let mut lines = one.lines(3).await;
    assert_eq!(lines.pop().unwrap(), "1: CANCELLED_ALL 2");
    one.send(vec![
        cancel_all(CancelScope::Unspecified, ""),
        bid("d", LOW, 1),
        cancel_all(CancelScope::Account, "tiny-chat"),
    ])
    .await;
    assert_eq!(
        one.lines(4).await,
        [
            "1: CANCELLED_ALL 0",
            "2: NEW NEW bid d 0+1=1",
            "CANCELED CANCELED bid d 0+0=0 CANCELLED",
            "3: CANCELLED_ALL 2",
        ]
    );
    assert_eq!(two.lines(1).await, ["CANCELED CANCELED bid c 0+0=0 CANCELLED"]);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_does_not_trade_at_once_or_in_time_ends_with_a_reason() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    let timed = |name: &str, kind: proto::types::v1::TimeInForceKind, expires_in_ms| {
        let Command::PlaceBid(mut request) = bid(name, LOW, 1) else {
            panic!("a bid is a bid")
        };
        request.terms.as_mut().unwrap().time_in_force = Some(proto::types::v1::TimeInForce {
            kind: kind.into(),
            expires_in_ms,
        });
        Command::PlaceBid(request)
    };
    use proto::types::v1::TimeInForceKind::{Fok, Gtd, Ioc};
    session.send(vec![timed("ioc", Ioc, 0)]).await;
    assert_eq!(
        session.lines(2).await,
        [
            "1: NEW NEW bid ioc 0+1=1",
            "CANCELED CANCELED bid ioc 0+0=0 NOT_FILLED"
        ]
    );
    session.send(vec![timed("fok", Fok, 0)]).await;
    assert_eq!(
        session.lines(1).await,
        ["1: REJECTED REJECTED bid fok NOT_FILLED"]
    );
    // Long enough to reach the book on a busy machine, where it would be refused as too late.
    session.send(vec![timed("gtd", Gtd, 500)]).await;
    assert_eq!(
        session.lines(2).await,
        [
            "1: NEW NEW bid gtd 0+1=1",
            "EXPIRED EXPIRED bid gtd 0+0=0 EXPIRED"
        ]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_account_without_credits_is_refused_and_nothing_is_bound() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.poor_key).await;
    session.send(vec![bid("a", ASKED, 1), cancel("a")]).await;
    assert_eq!(
        session.lines(2).await,
        [
            "1: REJECTED REJECTED bid a INSUFFICIENT_CREDITS",
            "2: REFUSED UNKNOWN_ORDER"
        ]
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
