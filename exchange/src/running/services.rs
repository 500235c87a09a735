//! What is served on the port: our services, health and reflection, and HTTP.

use std::convert::Infallible;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use proto::exchange::v1::exchange_service_server::ExchangeServiceServer;
use proto::exchange::v1::explain_service_server::ExplainServiceServer;
use proto::exchange::v1::operator_service_server::OperatorServiceServer;
use proto::exchange::v1::sign_up_service_server::SignUpServiceServer;
use proto::exchange::v1::wallet_service_server::WalletServiceServer;
use service::grpc::{reflection_v1, reflection_v1alpha};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;

use crate::agent_sessions::AgentSessions;
use crate::gateway::Gateway;
use crate::gateway::errors::BODY_TOO_LARGE;
use crate::market_data::MarketData;
use crate::order_entry::OrderEntry;

/// What reflection lists, and whose health is told.
const SERVICES: [&str; 8] = [
    "atoll.agent.v1.AgentService",
    "atoll.exchange.v1.ExchangeService",
    "atoll.exchange.v1.ExplainService",
    "atoll.exchange.v1.OperatorService",
    "atoll.exchange.v1.OrderEntryService",
    "atoll.exchange.v1.SignUpService",
    "atoll.exchange.v1.WalletService",
    "atoll.market_data.v1.MarketDataService",
];

/// What the port as a whole is called by who asks for its health.
const WHOLE: &str = "";

/// Tells clients whether the port and each of its services is well: all of them serve, or none takes new work.
#[derive(Clone, Debug)]
pub(super) struct Health(HealthReporter);

impl Health {
    /// From now on new work is refused.
    pub(super) async fn stopping(&self) {
        self.tell(ServingStatus::NotServing).await;
    }

    async fn tell(&self, status: ServingStatus) {
        for name in SERVICES.into_iter().chain([WHOLE]) {
            self.0.set_service_status(name, status).await;
        }
    }
}

/// Every route of the port, and whoever tells clients whether it is well.
pub(super) async fn router(
    gateway: &Gateway,
    order_entry: &OrderEntry,
    market_data: &MarketData,
    agents: &AgentSessions,
) -> Result<(Router, Health)> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health(reporter);
    health.tell(ServingStatus::Serving).await;
    let exchange =
        ExchangeServiceServer::new(gateway.clone()).max_decoding_message_size(gateway.limits.body_bytes_max);
    let reflected = "could not describe the services";
    let router = gateway.router();
    let router = add(router, exchange);
    let router = add(router, ExplainServiceServer::new(gateway.clone()));
    let router = add(router, OperatorServiceServer::new(gateway.clone()));
    let router = add(router, SignUpServiceServer::new(gateway.clone()));
    let router = add(router, WalletServiceServer::new(gateway.clone()));
    let router = add(router, order_entry.service());
    let router = add(router, market_data.service());
    let router = add(router, agents.service());
    let router = add(router, health_service);
    let router = add(
        router,
        reflection_v1(proto::DESCRIPTORS, &SERVICES).context(reflected)?,
    );
    let router = add(
        router,
        reflection_v1alpha(proto::DESCRIPTORS, &SERVICES).context(reflected)?,
    );
    Ok((router.layer(map_response(explain_too_large)), health))
}

/// Says in our own words, and with details, what tonic says of a message beyond the bound before we see it.
async fn explain_too_large(response: Response) -> Response {
    let too_large = Status::from_header_map(response.headers()).filter(|status| {
        status.code() == Code::OutOfRange && status.message().contains("message length too large")
    });
    let Some(status) = too_large else {
        return response;
    };
    let message = "the message is larger than one may be; send fewer or shorter inputs";
    tracing::debug!(status = status.message(), "a message was too large");
    BODY_TOO_LARGE.because(message).into_status().into_http()
}

fn add<S>(router: Router, service: S) -> Router
where
    S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*rest}}", S::NAME), service)
}
