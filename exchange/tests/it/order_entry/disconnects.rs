//! What becomes of orders and jobs when the connection is lost.

use std::time::Duration;

use proto::agent::v1::FinishReason;
use proto::exchange::v1 as wire;

use super::client::{ASKED, LOW, Session, ask, bid, line};
use crate::grpc::complaint;
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

#[tokio::test]
async fn what_rests_is_cancelled_when_the_connection_is_lost_and_whoever_comes_back_hears_of_it() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut buyer = Session::open(&exchange, &exchange.key).await;
    buyer.send(vec![bid("a", LOW, 2), bid("b", LOW, 1)]).await;
    buyer.lines(2).await;
    let mut seller = Session::open(&exchange, &exchange.island_key).await;
    seller.send(vec![ask("s", island.id, ASKED, 1)]).await;
    seller.lines(1).await;
    let tokens = (buyer.token(), seller.token());
    drop((buyer, seller));
    exchange.nothing_leaked().await;
    exchange
        .until("the cancel", |status| status.resting_orders == 1)
        .await;
    let mut buyer = Session::resume(&exchange, &exchange.key, tokens.0).await.unwrap();
    let mut lines = buyer.lines(2).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "CANCELED CANCELED bid a 0+0=0 CANCELLED",
            "CANCELED CANCELED bid b 0+0=0 CANCELLED",
        ]
    );
    let mut seller = Session::resume(&exchange, &exchange.island_key, tokens.1)
        .await
        .unwrap();
    assert_eq!(seller.lines(1).await, ["CANCELED CANCELED ask s 0+0=0 CANCELLED"]);
    buyer.send(vec![bid("c", LOW, 1)]).await;
    assert_eq!(buyer.lines(1).await, ["1: NEW NEW bid c 0+1=1"]);
    drop((buyer, seller));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_job_that_runs_goes_on_for_whoever_comes_back() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", ASKED, 1)]).await;
    session.lines(3).await;
    let mut work = island.job().await;
    island.write(&mut work, "one").await;
    assert_eq!(session.lines(1).await, [r#"output "one""#]);
    let token = session.token();
    drop(session);
    island.write(&mut work, "two").await;
    island.finish(&work, FinishReason::Stop).await;
    let mut session = Session::resume(&exchange, &exchange.key, token).await.unwrap();
    let lines = session.lines(2).await;
    assert_eq!(lines, [r#"output "two""#, "completed 0 Stopped"]);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn orders_stay_for_a_session_that_says_so_until_it_is_over() {
    let exchange =
        Whole::start_with(|config| config.limits.session_resume_within = Duration::from_millis(500)).await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::keeping(&exchange, &exchange.key).await;
    assert!(!session.opened.cancels_on_disconnect);
    session.send(vec![bid("a", LOW, 1), bid("b", ASKED, 1)]).await;
    let mut running = false;
    while !running {
        running = line(&session.next().await) == "matched 0";
    }
    let work = island.job().await;
    let token = session.token();
    drop(session);
    // Nobody comes back: the order that rested is cancelled, and the job that ran is stopped.
    island.revoked(&work).await;
    exchange.nothing_leaked().await;
    let Err(refused) = Session::resume(&exchange, &exchange.key, token).await else {
        panic!("it was over")
    };
    assert_eq!(complaint(&refused), "NotFound SESSION_ENDED");
    exchange.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_jobs_of_a_session_whose_client_has_gone() {
    // Were they waited for, this would take longer than any test may.
    let exchange = Whole::start_with(|config| config.limits.drain_timeout = Duration::from_hours(1)).await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", ASKED, 1)]).await;
    session.lines(3).await;
    let work = island.job().await;
    drop(session);
    let stopped = async { tokio::join!(exchange.stop(), island.revoked(&work)) };
    let in_time = tokio::time::timeout(Duration::from_mins(5), stopped).await;
    assert!(in_time.is_ok(), "the stop waited for a job that nobody reads");
}

#[tokio::test]
async fn a_message_that_arrived_is_carried_out_whole_though_its_sender_has_gone() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::keeping(&exchange, &exchange.key).await;
    let batch = (0..64).map(|number| bid(&format!("b{number}"), LOW, 1)).collect();
    session.send(batch).await;
    // The first answer shows that the message has arrived; most of it is still under way.
    session.next().await;
    let token = session.token();
    drop(session);
    let mut session = Session::resume(&exchange, &exchange.key, token).await.unwrap();
    for _ in 1..64 {
        assert_eq!(
            session.execution().await.execution_type(),
            wire::ExecutionType::New
        );
    }
    session
        .send(vec![super::client::cancel_all(wire::CancelScope::Session, "")])
        .await;
    assert_eq!(session.lines(65).await[64], "1: CANCELLED_ALL 64");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_key_that_expires_ends_the_connection_at_that_moment_and_what_rests() {
    // It is remembered for far longer than it lives.
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let ends = service::clock::unix_micros() + 1_500_000;
    exchange.bank.expire(&exchange.key, ends);
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", LOW, 1)]).await;
    session.lines(1).await;
    assert_eq!(session.goodbye().await.code, "EXPIRED_API_KEY");
    assert!(service::clock::unix_micros() >= ends);
    let refused = Session::resume(&exchange, &exchange.key, session.token()).await;
    assert_eq!(
        complaint(&refused.err().unwrap()),
        "Unauthenticated EXPIRED_API_KEY"
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_the_connection_and_what_rests() {
    let brief = Duration::from_millis(20);
    let exchange = Whole::start_with(|config| config.limits.key_kept = brief).await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("a", LOW, 1)]).await;
    session.lines(1).await;
    exchange.bank.revoke(&exchange.key);
    assert_eq!(session.goodbye().await.code, "REVOKED_API_KEY");
    let refused = Session::resume(&exchange, &exchange.key, session.token()).await;
    assert_eq!(
        complaint(&refused.err().unwrap()),
        "Unauthenticated REVOKED_API_KEY"
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
