//! `POST /v1/sign-up`: an account for whoever asks.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::Credits;
use proto::exchange::v1 as wire;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{HttpError, body, json_response};
use crate::gateway::Gateway;
use crate::gateway::errors::MALFORMED_JSON;
use crate::gateway::sign_up::{ClientAddress, signed_up_to_wire};

/// Bytes of a request: two short texts.
const BODY_BYTES_MAX: usize = 4_096;

/// What is asked. Unknown keys are accepted, as everywhere over HTTP.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    request_id: String,
    name: String,
}

/// Makes the account.
pub(super) async fn make(
    State(gateway): State<Gateway>,
    from: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let time = gateway.limits.request_read_timeout;
    let bytes = body::read(&headers, body, BODY_BYTES_MAX, time).await?;
    // An object first: a struct is read from a list as well.
    let asked = serde_json::from_slice::<Map<String, Value>>(&bytes)
        .and_then(|object| serde_json::from_value::<Asked>(Value::Object(object)))
        .map_err(|error| MALFORMED_JSON.because(format!("the body is not what it should be: {error}")))?;
    let request = wire::SignUpRequest {
        request_id: asked.request_id,
        display_name: asked.name,
    };
    let made = gateway.sign_up(from.map(|Extension(from)| from), request).await?;
    let made = signed_up_to_wire(made);
    let api_key = Some(made.api_key).filter(|key| !key.is_empty());
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "account": made.account_id,
            "key_id": made.key_id,
            "api_key": api_key,
            "made_before": made.made_before,
            "granted": Credits::from_nano(made.granted_nano).to_string(),
            "notice": "All credits are virtual and have no cash value.",
        }),
    ))
}
