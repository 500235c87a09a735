//! Explanations and the operator's levers, asked for as their users do.

use proto::exchange::v1 as wire;
use proto::exchange::v1::explain_ask_request::Ask;
use proto::exchange::v1::explain_bid_request::Bid;
use proto::exchange::v1::explain_service_client::ExplainServiceClient;
use proto::exchange::v1::operator_service_client::OperatorServiceClient;
use proto::exchange::v1::submit_job_response::Event;
use proto::types::v1 as types;
use tonic::Request;

use super::jobs::{complaint, hello, with};
use crate::registry::fixture;
use crate::support::island::{Island, Quote};
use crate::support::whole::{OPERATOR_TOKEN, Whole};

fn with_key<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn bid(order_id: &str) -> wire::ExplainBidRequest {
    wire::ExplainBidRequest {
        bid: Some(Bid::OrderId(order_id.to_owned())),
    }
}

fn imagined(price: u64, region: &str, tier: types::Tier) -> wire::ExplainAskRequest {
    wire::ExplainAskRequest {
        ask: Some(Ask::Imagined(wire::CellPrice {
            cell: Some(types::Cell {
                model: fixture::MODEL.to_owned(),
                region: region.to_owned(),
                tier: tier.into(),
                band: 0,
            }),
            price,
        })),
        buyer: None,
    }
}

/// A bid for one job that is too cheap and waits.
fn cheap() -> wire::SubmitJobRequest {
    with(|request| {
        let terms = request.terms.get_or_insert_default();
        terms.limit = Some(500_000);
        terms.time_in_force = Some(types::TimeInForce {
            kind: types::TimeInForceKind::Gtc.into(),
            expires_in_ms: 0,
        });
    })
}

#[tokio::test]
async fn a_bid_that_waits_is_explained_to_its_owner_alone() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let mut stream = client.submit_job(cheap()).await.unwrap().into_inner();
    let Some(Event::Accepted(accepted)) = stream.message().await.unwrap().unwrap().event else {
        panic!("not accepted")
    };
    let mut explain = ExplainServiceClient::new(exchange.channel().await);
    let answer = explain
        .explain_bid(with_key(&exchange.key, bid(&accepted.order_id)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.limit, answer.bids_ahead), (Some(500_000), 0));
    assert_eq!(answer.best.unwrap().price, 1_000_000);
    assert_eq!(answer.cells.len(), 1);
    assert_eq!(answer.cells[0].filters, [i32::from(wire::Filter::TooDear)]);

    for (key, expected) in [
        (exchange.poor_key.as_str(), "NotFound UNKNOWN_ORDER@order_id"),
        ("atoll_sk_nobody", "Unauthenticated INVALID_API_KEY"),
    ] {
        let refused = explain
            .explain_bid(with_key(key, bid(&accepted.order_id)))
            .await
            .unwrap_err();
        assert_eq!(complaint(&refused), expected);
    }
    let imagined = wire::ExplainBidRequest {
        bid: Some(Bid::Imagined(wire::ImaginedBid {
            model: fixture::MODEL.to_owned(),
            terms: Some(wire::BidTerms {
                limit: Some(500_000),
                ..wire::BidTerms::default()
            }),
        })),
    };
    let answer = explain.explain_bid(with_key(&exchange.poor_key, imagined)).await;
    assert_eq!(answer.unwrap().into_inner().bids_ahead, 1);
    drop(stream);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_ask_is_explained_before_it_is_posted() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut explain = ExplainServiceClient::new(exchange.channel().await);
    let mut ask = async |request| explain.explain_ask(with_key(&exchange.island_key, request)).await;
    let dearer = ask(imagined(2_000_000, "eu-west", types::Tier::Laptop))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (dearer.asks_ahead, dearer.jobs_ahead),
        (1, 4),
        "the Island has four slots"
    );
    assert_eq!((dearer.best_price, dearer.filters.len()), (Some(1_000_000), 0));
    let cheaper = ask(imagined(1_000, "eu-west", types::Tier::Laptop))
        .await
        .unwrap();
    assert_eq!(cheaper.into_inner().asks_ahead, 0);
    let mut floor = imagined(1_000, "eu-west", types::Tier::Laptop);
    floor.buyer = Some(wire::BidTerms {
        min_tier: types::Tier::Server.into(),
        ..wire::BidTerms::default()
    });
    let kept = ask(floor).await.unwrap().into_inner();
    assert_eq!(kept.filters, [i32::from(wire::Filter::Tier)]);

    for (request, expected) in [
        (
            imagined(0, "eu-west", types::Tier::Laptop),
            "InvalidArgument INVALID_ARGUMENT@imagined.price",
        ),
        (
            imagined(1_000, "mars", types::Tier::Laptop),
            "InvalidArgument INVALID_ARGUMENT@imagined.cell.region",
        ),
        (
            imagined(1_000, "eu-west", types::Tier::Unspecified),
            "InvalidArgument INVALID_ARGUMENT@imagined.cell.tier",
        ),
        (
            wire::ExplainAskRequest::default(),
            "InvalidArgument INVALID_ARGUMENT@ask",
        ),
    ] {
        assert_eq!(complaint(&ask(request).await.unwrap_err()), expected);
    }
    exchange.stop().await;
}

#[tokio::test]
async fn an_operator_halts_resumes_and_bounds_and_nobody_else_does() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut operator = OperatorServiceClient::new(exchange.channel().await);
    let model = fixture::MODEL.to_owned();
    let halt = wire::HaltModelRequest { model: model.clone() };
    let resume = wire::ResumeModelRequest { model: model.clone() };
    let refused = operator.halt_model(with_key(&exchange.key, halt.clone())).await;
    assert_eq!(complaint(&refused.unwrap_err()), "PermissionDenied OPERATOR_ONLY");
    let lift = wire::LiftSuspensionRequest {
        account_id: "acc_1".into(),
        author: "grace".into(),
        reason: "nothing was wrong".into(),
    };
    let refused = operator
        .lift_suspension(with_key(&exchange.key, lift.clone()))
        .await;
    assert_eq!(complaint(&refused.unwrap_err()), "PermissionDenied OPERATOR_ONLY");
    let nameless = wire::LiftSuspensionRequest {
        author: String::new(),
        ..lift.clone()
    };
    let refused = operator.lift_suspension(with_key(OPERATOR_TOKEN, nameless)).await;
    assert_eq!(
        complaint(&refused.unwrap_err()),
        "InvalidArgument INVALID_ARGUMENT@author"
    );
    let lifted = operator.lift_suspension(with_key(OPERATOR_TOKEN, lift)).await;
    assert!(!lifted.unwrap().into_inner().was_suspended);
    operator.halt_model(with_key(OPERATOR_TOKEN, halt)).await.unwrap();

    let mut client = exchange.grpc().await;
    let brief = with(|request| {
        let terms = request.terms.get_or_insert_default();
        terms.time_in_force = Some(types::TimeInForce {
            kind: types::TimeInForceKind::Gtd.into(),
            expires_in_ms: 500,
        });
    });
    let mut stream = client.submit_job(brief).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let Some(Event::Ended(ended)) = stream.message().await.unwrap().unwrap().event else {
        panic!("it did not end")
    };
    assert_eq!(ended.code, "EXPIRED");
    assert!(
        ended.message.contains("trading in this model is halted"),
        "{ended:?}"
    );

    let mut stream = client.submit_job(hello()).await.unwrap().into_inner();
    let accepted = stream.message().await.unwrap().unwrap().event;
    assert!(
        matches!(accepted, Some(Event::Accepted(_))),
        "it rests: {accepted:?}"
    );
    let indicative = wire::GetIndicativeVolumeRequest { model: model.clone() };
    let mut explain = ExplainServiceClient::new(exchange.channel().await);
    let indicative = explain
        .get_indicative_volume(with_key(&exchange.key, indicative))
        .await;
    let indicative = indicative.unwrap().into_inner();
    assert!(indicative.halted);
    assert_eq!(
        (indicative.volumes[0].jobs, indicative.volumes[0].highest),
        (1, 1_000_000)
    );
    let resumed = operator
        .resume_model(with_key(OPERATOR_TOKEN, resume))
        .await
        .unwrap();
    assert_eq!(resumed.into_inner().jobs, 1);
    let matched = stream.message().await.unwrap().unwrap().event;
    assert!(matches!(matched, Some(Event::Matched(_))), "{matched:?}");
    island.answer("hello").await;

    let band = |lowest, highest| wire::SetPriceBandRequest {
        model: model.clone(),
        band: Some(wire::PriceBand { lowest, highest }),
    };
    let refused = operator
        .set_price_band(with_key(OPERATOR_TOKEN, band(2_000, 1_000)))
        .await;
    assert_eq!(
        complaint(&refused.unwrap_err()),
        "InvalidArgument INVALID_ARGUMENT@band.lowest"
    );
    operator
        .set_price_band(with_key(OPERATOR_TOKEN, band(1_000, 400_000)))
        .await
        .unwrap();
    let refused = client.submit_job(cheap()).await.unwrap_err();
    assert_eq!(complaint(&refused), "FailedPrecondition OUTSIDE_PRICE_BAND");
    drop(stream);
    exchange.stop().await;
}
