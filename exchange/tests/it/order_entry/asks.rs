//! The sell side: an Island's owner quotes beside the Island's own agent.

use proto::exchange::v1 as wire;
use proto::exchange::v1::CancelScope;
use proto::exchange::v1::operator_service_client::OperatorServiceClient;
use proto::exchange::v1::order_command::Command;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use proto::types::v1 as types;
use tonic::Request;

use super::client::{ASKED, LOW, Session, amend, ask, bid, cancel, cancel_all, dead_man};
use crate::grpc::complaint;
use crate::support::island::{Island, Quote};
use crate::support::whole::{OPERATOR_TOKEN, Whole};

/// What an order that waits for an instant was told at its end.
async fn end_of_brief(session: &mut Session, mut command: Command) -> wire::Refusal {
    let brief = types::TimeInForce {
        kind: types::TimeInForceKind::Gtd.into(),
        expires_in_ms: 20,
    };
    if let Command::PlaceBid(bid) = &mut command {
        bid.terms.get_or_insert_default().time_in_force = Some(brief);
    } else if let Command::PlaceAsk(ask) = &mut command {
        ask.time_in_force = Some(brief);
    }
    session.send(vec![command]).await;
    assert_eq!(
        session.execution().await.execution_type(),
        wire::ExecutionType::New
    );
    let ended = session.execution().await;
    assert_eq!(ended.execution_type(), wire::ExecutionType::Expired);
    ended.reason.unwrap()
}

#[tokio::test]
async fn what_expires_in_a_halt_is_not_told_that_its_price_was_wrong() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut buyer = Session::open(&exchange, &exchange.key).await;
    let mut seller = Session::open(&exchange, &exchange.island_key).await;
    let plain = end_of_brief(&mut buyer, bid("before", LOW, 1)).await;
    assert!(plain.message.contains("raise the limit"), "{plain:?}");
    let model = String::from("tiny-chat");
    let mut operator = OperatorServiceClient::new(exchange.channel().await);
    let mut halt = Request::new(wire::HaltModelRequest { model });
    let bearer = format!("Bearer {OPERATOR_TOKEN}").parse().unwrap();
    halt.metadata_mut().insert("authorization", bearer);
    operator.halt_model(halt).await.unwrap();
    for (session, order) in [
        (&mut buyer, bid("b", ASKED, 1)),
        (&mut seller, ask("s", island.id, ASKED, 1)),
    ] {
        let ended = end_of_brief(session, order).await;
        assert_eq!(ended.code, "EXPIRED");
        assert!(ended.message.contains("is halted"), "{ended:?}");
    }
    exchange.stop().await;
}

#[tokio::test]
async fn an_owner_quotes_for_his_island_and_both_sides_hear_of_the_trade() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut seller = Session::open(&exchange, &exchange.island_key).await;
    let mut buyer = Session::open(&exchange, &exchange.key).await;
    seller.send(vec![ask("cheap", island.id, ASKED / 2, 3)]).await;
    let accepted = seller.execution().await;
    let terms = accepted.terms.unwrap();
    assert_eq!(terms.island_id, island.id.to_string());
    assert_eq!(terms.cell.unwrap().region, "eu-west");
    buyer.send(vec![bid("b", ASKED, 2)]).await;
    let half = ASKED / 2;
    assert_eq!(
        buyer.lines(2).await,
        [
            "1: NEW NEW bid b 0+2=2".to_owned(),
            format!("TRADE FILLED bid b 2+0=2 taker 2@{half}"),
        ]
    );
    assert_eq!(
        seller.lines(1).await,
        [format!("TRADE PARTIALLY_FILLED ask cheap 2+1=3 maker 2@{half}")]
    );
    island.answer("x").await;
    island.answer("y").await;
    // The other way round: a bid rests, and the ask that comes takes it.
    buyer.send(vec![bid("low", LOW, 1)]).await;
    while super::client::line(&buyer.next().await) != "1: NEW NEW bid low 0+1=1" {}
    seller.send(vec![ask("taker", island.id, LOW, 1)]).await;
    let taken = ["TRADE FILLED ask taker 1+0=1 taker 1@1000"];
    assert_eq!(seller.lines(2).await[1..], taken);
    island.answer("z").await;
    seller
        .send(vec![amend("cheap", 1), cancel("cheap"), cancel("taker")])
        .await;
    assert_eq!(
        seller.lines(3).await,
        [
            "3: REFUSED UNKNOWN_ORDER",
            "1: REFUSED NOT_LESS",
            "2: CANCELED CANCELED ask cheap 2+0=2 CANCELLED",
        ]
    );
    drop((seller, buyer));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn only_its_owner_quotes_for_an_island_and_only_where_it_may() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut stranger = Session::open(&exchange, &exchange.key).await;
    stranger.send(vec![ask("a", island.id, ASKED, 1)]).await;
    assert_eq!(
        stranger.lines(1).await,
        ["1: REJECTED REJECTED ask a UNKNOWN_ISLAND@island_id"]
    );
    let mut owner = Session::open(&exchange, &exchange.island_key).await;
    let change = |change: fn(&mut wire::PlaceAskRequest)| {
        let Command::PlaceAsk(mut request) = ask("a", island.id, ASKED, 1) else {
            panic!("an ask is an ask")
        };
        change(&mut request);
        Command::PlaceAsk(request)
    };
    owner
        .send(vec![
            change(|ask| ask.island_id = "isl_1".to_owned()),
            change(|ask| ask.price = 0),
            change(|ask| ask.jobs = 0),
            change(|ask| ask.model = "gpt-5".to_owned()),
            bid("b", ASKED, 1),
        ])
        .await;
    assert_eq!(
        owner.lines(5).await,
        [
            "1: REJECTED REJECTED ask a UNKNOWN_ISLAND@island_id",
            "2: REJECTED REJECTED ask a INVALID_ARGUMENT@place_ask.price",
            "3: REJECTED REJECTED ask a INVALID_ARGUMENT@place_ask.jobs",
            "4: REJECTED REJECTED ask a MODEL_NOT_FOUND@model",
            "5: REJECTED REJECTED bid b WRONG_KEY_SCOPE",
        ]
    );
    owner
        .send(vec![
            change(|ask| ask.jobs = u32::MAX),
            change(|ask| {
                ask.time_in_force = Some(proto::types::v1::TimeInForce {
                    kind: proto::types::v1::TimeInForceKind::Fok.into(),
                    expires_in_ms: 0,
                });
            }),
            change(|_| {}),
            change(|_| {}),
            change(|ask| ask.jobs = 9),
        ])
        .await;
    assert_eq!(
        owner.lines(5).await,
        [
            "1: REJECTED REJECTED ask a INVALID_QUANTITY",
            "2: REJECTED REJECTED ask a INVALID_TIME_IN_FORCE",
            "3: NEW NEW ask a 0+1=1",
            "4: ORDER_STATUS NEW ask a 0+1=1",
            "5: REJECTED REJECTED ask a DUPLICATE_CLIENT_ORDER_ID",
        ]
    );
    drop((stranger, owner));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_mass_cancel_counts_asks_and_leaves_the_agent_s_own() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut owner = Session::open(&exchange, &exchange.island_key).await;
    owner
        .send(vec![ask("a", island.id, ASKED, 1), ask("b", island.id, ASKED, 1)])
        .await;
    owner.lines(2).await;
    owner.send(vec![cancel_all(CancelScope::Session, "")]).await;
    assert_eq!(owner.lines(3).await[2], "1: CANCELLED_ALL 2");
    let status = exchange.status().await;
    assert_eq!(status.resting_orders, 1, "what the agent posted");
    exchange.stop().await;
}

#[tokio::test]
async fn the_dead_man_s_switch_cancels_both_sides_unless_it_is_set_again() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut owner = Session::open(&exchange, &exchange.island_key).await;
    let mut buyer = Session::open(&exchange, &exchange.key).await;
    owner
        .send(vec![
            dead_man(3_600_000),
            ask("a", island.id, ASKED, 1),
            dead_man(0),
        ])
        .await;
    assert_eq!(
        owner.lines(3).await,
        ["1: DEAD_MAN on", "2: NEW NEW ask a 0+1=1", "3: DEAD_MAN off"]
    );
    owner.send(vec![dead_man(20)]).await;
    assert_eq!(
        owner.lines(3).await,
        [
            "1: DEAD_MAN on",
            "DEAD_MAN fired",
            "CANCELED CANCELED ask a 0+0=0 DEAD_MAN"
        ]
    );
    buyer.send(vec![bid("b", LOW, 1)]).await;
    buyer.lines(1).await;
    buyer.send(vec![dead_man(20)]).await;
    assert_eq!(
        buyer.lines(3).await,
        [
            "1: DEAD_MAN on",
            "CANCELED CANCELED bid b 0+0=0 DEAD_MAN",
            "DEAD_MAN fired"
        ]
    );
    drop((owner, buyer));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn one_ask_needs_no_session() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = OrderEntryServiceClient::new(exchange.channel().await);
    let id = island.id;
    let request = |key: &str, price| {
        let Command::PlaceAsk(ask) = ask("one", id, price, 2) else {
            panic!("an ask is an ask")
        };
        let mut request = Request::new(ask);
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    let placed = client
        .place_ask(request(&exchange.island_key, ASKED))
        .await
        .unwrap();
    let execution = placed.into_inner().execution.unwrap();
    assert_eq!(execution.execution_type(), wire::ExecutionType::New);
    assert_eq!((execution.leaves_quantity, execution.price), (2, ASKED));
    let again = client
        .place_ask(request(&exchange.island_key, ASKED))
        .await
        .unwrap();
    let again = again.into_inner().execution.unwrap();
    assert_eq!(again.order_id, execution.order_id);
    assert_eq!(again.execution_type(), wire::ExecutionType::OrderStatus);
    let refused = client
        .place_ask(request(&exchange.island_key, LOW))
        .await
        .unwrap_err();
    assert_eq!(complaint(&refused), "AlreadyExists DUPLICATE_CLIENT_ORDER_ID");
    // The Island's agent hears of its own asks only.
    let own = island.post("its own", Quote::default()).await;
    assert_eq!(own.client_order_id, "its own");
    let refused = client.place_ask(request(&exchange.key, ASKED)).await.unwrap_err();
    assert_eq!(complaint(&refused), "NotFound UNKNOWN_ISLAND@island_id");
    let refused = client
        .place_ask(request(&exchange.poor_key, ASKED))
        .await
        .unwrap_err();
    assert_eq!(complaint(&refused), "PermissionDenied WRONG_KEY_SCOPE");
    exchange.stop().await;
}
