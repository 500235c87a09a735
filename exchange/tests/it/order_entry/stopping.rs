//! The exchange stops while sessions are open.

use proto::agent::v1::FinishReason;

use super::client::{ASKED, LOW, Session, ask, bid};
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

#[tokio::test]
async fn a_stop_cancels_what_rests_lets_jobs_finish_and_says_goodbye() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut idle = Session::open(&exchange, &exchange.key).await;
    let mut seller = Session::open(&exchange, &exchange.island_key).await;
    seller.send(vec![ask("s", island.id, ASKED * 2, 1)]).await;
    seller.lines(1).await;
    let mut session = Session::open(&exchange, &exchange.key).await;
    session.send(vec![bid("run", ASKED, 1)]).await;
    session.lines(3).await;
    session.send(vec![bid("rest", LOW, 1)]).await;
    session.lines(1).await;
    let mut work = island.job().await;
    let stopping = exchange.begin_stop();
    assert_eq!(
        session.lines(1).await,
        ["CANCELED CANCELED bid rest 0+0=0 CANCELLED"]
    );
    assert_eq!(seller.lines(1).await, ["CANCELED CANCELED ask s 0+0=0 CANCELLED"]);
    for session in [&mut idle, &mut seller] {
        let goodbye = session.goodbye().await;
        assert_eq!((goodbye.code.as_str(), goodbye.resume), ("STOPPING", None));
    }
    session
        .send(vec![bid("late", ASKED, 1), ask("late", island.id, ASKED, 1)])
        .await;
    assert_eq!(
        session.lines(2).await,
        [
            "1: REJECTED REJECTED bid late STOPPING",
            "2: REJECTED REJECTED ask late STOPPING",
        ]
    );
    island.write(&mut work, "done").await;
    island.finish(&work, FinishReason::Stop).await;
    assert_eq!(
        session.lines(2).await,
        [r#"output "done""#, "completed 0 Stopped"]
    );
    assert_eq!(session.goodbye().await.code, "STOPPING");
    stopping.await.unwrap().unwrap();
}
