//! The disk under the journal fills up while orders rest and jobs run.

use proto::agent::v1::{AskStatus, FinishReason};
use proto::exchange::v1::order_command::Command;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use serde_json::json;
use tonic::Request;

use super::client::{ASKED, LOW, Session, ask, bid, cancel};
use crate::faulty_disk::FaultyDisk;
use crate::grpc::{complaint, with};
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

/// Places and cancels bids until one is refused; how the refusal reads.
async fn fill(session: &mut Session) -> String {
    for number in 0.. {
        let name = format!("fill-{number}");
        session.send(vec![bid(&name, LOW, 1), cancel(&name)]).await;
        let lines = session.lines(2).await;
        if lines[0].contains("REJECTED") {
            assert_eq!(lines[1], "2: REFUSED UNKNOWN_ORDER");
            return lines[0].replace(&name, "fill");
        }
    }
    unreachable!("the loop has no end")
}

/// No order gets in, whichever way it is entered.
async fn every_door_is_closed(exchange: &Whole, island: &mut Island, seller: &mut Session) {
    seller.send(vec![ask("late", island.id, ASKED, 1)]).await;
    assert_eq!(
        seller.lines(1).await,
        ["1: REJECTED REJECTED ask late STORAGE_FULL"]
    );
    let Command::PlaceAsk(late) = ask("late", island.id, ASKED, 1) else {
        panic!("an ask is an ask")
    };
    let mut request = Request::new(late);
    let bearer = format!("Bearer {}", exchange.island_key).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut asks = OrderEntryServiceClient::new(exchange.channel().await);
    let refused = asks.place_ask(request).await.unwrap_err();
    assert_eq!(complaint(&refused), "Unavailable STORAGE_FULL");
    let refused = exchange.grpc().await.submit_job(with(|_| {})).await.unwrap_err();
    assert_eq!(complaint(&refused), "Unavailable STORAGE_FULL");
    let answer = exchange.http().chat(&crate::http::hello_with(json!({}))).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["code"], "storage_full");
    let report = island.post("late", Quote::default()).await;
    assert_eq!(
        (report.status(), report.code.as_str()),
        (AskStatus::Rejected, "STORAGE_FULL")
    );
}

/// Repeating an order that stands tells how, and another order under its name is told that the name is taken.
async fn what_stands_is_told(island: &mut Island, buyer: &mut Session, seller: &mut Session) {
    buyer
        .send(vec![bid("waits", LOW, 1), bid("waits", LOW + 1_000, 1)])
        .await;
    let mut told = buyer.lines(2).await;
    told.sort();
    assert_eq!(
        told,
        [
            "1: ORDER_STATUS NEW bid waits 0+1=1",
            "2: REJECTED REJECTED bid waits DUPLICATE_CLIENT_ORDER_ID",
        ]
    );
    seller.send(vec![ask("rests", island.id, ASKED * 2, 1)]).await;
    assert_eq!(seller.lines(1).await, ["1: ORDER_STATUS NEW ask rests 0+1=1"]);
}

#[tokio::test]
async fn a_full_disk_closes_every_door_until_it_has_room_and_what_is_under_way_goes_on() {
    let disk = FaultyDisk::default();
    let exchange = Whole::start_on_disk(&disk).await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut buyer = Session::open(&exchange, &exchange.key).await;
    let mut seller = Session::open(&exchange, &exchange.island_key).await;
    seller.send(vec![ask("rests", island.id, ASKED * 2, 1)]).await;
    seller.lines(1).await;
    buyer.send(vec![bid("runs", ASKED, 1)]).await;
    buyer.lines(3).await;
    let mut work = island.job().await;
    buyer.send(vec![bid("waits", LOW, 1)]).await;
    buyer.lines(1).await;

    disk.fill();
    let refusal = fill(&mut buyer).await;
    assert_eq!(refusal, "1: REJECTED REJECTED bid fill STORAGE_FULL");
    every_door_is_closed(&exchange, &mut island, &mut seller).await;
    what_stands_is_told(&mut island, &mut buyer, &mut seller).await;

    island.write(&mut work, "done").await;
    island.finish(&work, FinishReason::Stop).await;
    let ended = buyer.lines(2).await;
    assert_eq!(ended, [r#"output "done""#, "completed 0 Stopped"]);
    buyer.send(vec![cancel("waits")]).await;
    assert_eq!(
        buyer.lines(1).await,
        ["1: CANCELED CANCELED bid waits 0+0=0 CANCELLED"]
    );

    disk.free();
    for number in 0.. {
        let name = format!("again-{number}");
        buyer.send(vec![bid(&name, LOW, 1)]).await;
        if !buyer.lines(1).await[0].contains("STORAGE_FULL") {
            break;
        }
    }
    seller
        .send(vec![ask("again", island.id, ASKED * 2, 1), cancel("rests")])
        .await;
    assert_eq!(
        seller.lines(2).await,
        [
            "1: NEW NEW ask again 0+1=1",
            "2: CANCELED CANCELED ask rests 0+0=0 CANCELLED"
        ]
    );
    drop((buyer, seller));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
