//! The OpenAI-compatible routes. Every answer carries `x-request-id`, every error OpenAI's shape.

mod body;
mod chat;
mod sign_up;
mod sse;

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;

use super::errors::{INTERNAL, METHOD_NOT_ALLOWED, MODEL_NOT_FOUND, Refusal, Retry, STOPPING, UNKNOWN_ROUTE};
use super::openai::{Atoll, error_body, model_body};
use super::{Gateway, now};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that a client's own retries are of use: the common clients wait no longer.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The routes.
pub(super) fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/sign-up", post(sign_up::make))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*model}", get(get_model))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(gateway)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn(name_request))
}

/// A refusal with what the market had done before.
#[derive(Debug)]
pub(super) struct HttpError {
    refusal: Refusal,
    atoll: Option<Box<Atoll>>,
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, atoll: None }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let (kind, may_retry, patience) = (self.refusal.kind, self.refusal.retry, self.refusal.patience());
        let status = StatusCode::from_u16(kind.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = error_body(&self.refusal, self.atoll.as_deref());
        let mut response = json_response(status, &body);
        let headers = response.headers_mut();
        // Nobody waits within a call for a cause that takes longer to pass.
        let retry = match may_retry {
            Retry::Yes if patience <= PATIENCE_MAX => "true",
            Retry::Yes | Retry::No => "false",
        };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(retry));
        if may_retry == Retry::Yes {
            headers.insert(RETRY_AFTER, HeaderValue::from(patience.as_secs()));
        }
        response
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Gives every request a name that its answer and the log share.
async fn name_request(request: Request, next: Next) -> Response {
    let name = match super::order::random_u64() {
        Ok(number) => format!("req_{number:016x}"),
        Err(_) => "req_unnamed".to_owned(),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    tracing::debug!(request = name, %method, path, status = response.status().as_u16(), "answered");
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words");
    tracing::error!(what, "a request's handler panicked");
    HttpError::from(
        INTERNAL.because("something broke in the exchange; what was not delivered is not charged"),
    )
    .into_response()
}

async fn unknown_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let is_grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return tonic::Status::unimplemented("there is no such service here").into_http();
    }
    let path: String = uri.path().chars().take(100).collect();
    HttpError::from(UNKNOWN_ROUTE.because(format!(
        "there is no {method} {path} here; there are POST /v1/chat/completions and GET /v1/models"
    )))
    .into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> HttpError {
    let path: String = uri.path().chars().take(100).collect();
    METHOD_NOT_ALLOWED
        .because(format!("{path} is not asked by {method}"))
        .into()
}

async fn list_models(State(gateway): State<Gateway>, headers: HeaderMap) -> Result<Response, HttpError> {
    gateway.consumer(&headers).await?;
    let created = gateway.started_at();
    let data: Vec<Value> = gateway
        .models()
        .await?
        .iter()
        .map(|model| model_body(model, created))
        .collect();
    Ok(json_response(
        StatusCode::OK,
        &json!({"object": "list", "data": data}),
    ))
}

async fn get_model(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    gateway.consumer(&headers).await?;
    let models = gateway.models().await?;
    let found = models.iter().find(|model| model.model == id);
    let model = found.ok_or_else(|| {
        let id: String = id.chars().take(64).collect();
        MODEL_NOT_FOUND
            .because(format!("there is no model `{id}` here"))
            .at("model")
    })?;
    Ok(json_response(
        StatusCode::OK,
        &model_body(model, gateway.started_at()),
    ))
}

/// The process lives.
async fn healthz() -> Response {
    json_response(StatusCode::OK, &json!({"status": "ok"}))
}

/// Jobs are taken, and the engine answers.
async fn readyz(State(gateway): State<Gateway>) -> Result<Response, HttpError> {
    if !gateway.admission().is_open() {
        return Err(STOPPING.because("the exchange is stopping").into());
    }
    let sequence = gateway
        .sequencer
        .read(|engine| engine.sequence().get())
        .await
        .map_err(Refusal::from)?;
    Ok(json_response(
        StatusCode::OK,
        &json!({"status": "ready", "sequence": sequence}),
    ))
}

fn unix_seconds() -> u64 {
    now().as_micros().div_euclid(1_000_000)
}
