//! What a client that knows nothing can find out: health, reflection, and that a service is not there.

use proto::exchange::v1 as wire;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::support::whole::Whole;

#[tokio::test]
async fn health_is_told_for_the_whole_and_for_each_service_until_a_stop_begins() {
    let exchange = Whole::start().await;
    let mut health = HealthClient::new(exchange.channel().await);
    let mut watches = Vec::new();
    for service in [
        "",
        "atoll.agent.v1.AgentService",
        "atoll.exchange.v1.ExchangeService",
        "atoll.exchange.v1.ExplainService",
        "atoll.exchange.v1.OperatorService",
        "atoll.exchange.v1.OrderEntryService",
        "atoll.exchange.v1.SignUpService",
        "atoll.market_data.v1.MarketDataService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{service}");
        watches.push((service, watch));
    }
    let stopping = exchange.begin_stop();
    for (service, mut watch) in watches {
        let next = watch.message().await.unwrap().unwrap();
        assert_eq!(next.status(), ServingStatus::NotServing, "{service}");
    }
    drop(health);
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    let exchange = Whole::start().await;
    let expected = [
        "atoll.agent.v1.AgentService",
        "atoll.exchange.v1.ExchangeService",
        "atoll.exchange.v1.OrderEntryService",
        "atoll.exchange.v1.SignUpService",
        "atoll.market_data.v1.MarketDataService",
        "grpc.health.v1.Health",
    ];
    let mut v1 = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
        exchange.channel().await,
    );
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = v1
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(tonic_reflection::pb::v1::server_reflection_response::MessageResponse::ListServicesResponse(
        list,
    )) = answer
    else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in expected {
        assert!(names.contains(&service), "{service} in {names:?}");
    }
    assert!(
        !names.contains(&"atoll.billing.v1.BillingService"),
        "billing is not served here: {names:?}"
    );
    let mut alpha = tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::new(
        exchange.channel().await,
    );
    let request = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                expected[1].to_owned(),
            ),
        ),
    };
    let mut answers = alpha
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    assert!(matches!(
        answer,
        tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    ));
    drop((v1, alpha, answers));
    exchange.stop().await;
}

#[tokio::test]
async fn a_service_or_call_that_is_not_there_is_unimplemented() {
    let exchange = Whole::start().await;
    for path in [
        "/no.such.Service/Call",
        "/atoll.exchange.v1.ExchangeService/NoSuchCall",
    ] {
        let mut grpc = Grpc::new(exchange.channel().await);
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<wire::ListModelsRequest, wire::ListModelsResponse>::default();
        let path = PathAndQuery::from_static(path);
        let status = grpc
            .unary(Request::new(wire::ListModelsRequest {}), path, codec)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
    exchange.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused_and_the_exchange_lives() {
    let exchange = Whole::start().await;
    let mut client = exchange.grpc().await.max_encoding_message_size(64 << 20);
    let request = super::jobs::with(|request| request.inputs[0].messages[0].content = "x".repeat(10 << 20));
    let status = client.submit_job(request).await.unwrap_err();
    assert_eq!(
        super::jobs::complaint(&status),
        "ResourceExhausted BODY_TOO_LARGE"
    );
    assert!(
        status.message().contains("larger than one may be"),
        "{}",
        status.message()
    );
    assert!(client.list_models(wire::ListModelsRequest {}).await.is_ok());
    drop(client);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
