//! A request's body: JSON, within its bound, within its time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;

use crate::gateway::errors::{
    BODY_TOO_LARGE, MALFORMED_JSON, REQUEST_TIMEOUT, Refusal, UNSUPPORTED_MEDIA_TYPE,
};

/// How much of a body that is too large is read and thrown away, so that its sender hears why: one whose connection is
/// closed while he writes sees a broken pipe and no answer.
const DISCARDED_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Reads the body.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    time: Duration,
) -> Result<Vec<u8>, Refusal> {
    let late = |_| REQUEST_TIMEOUT.because(format!("the body did not arrive within {} s", time.as_secs()));
    let bytes = tokio::time::timeout(time, collect(body, most))
        .await
        .map_err(late)??;
    match headers
        .get(CONTENT_TYPE)
        .map(|kind| kind.to_str().unwrap_or_default())
    {
        None => Ok(bytes),
        Some(kind) if is_json(kind) => Ok(bytes),
        Some(kind) => {
            let kind: String = kind.chars().take(80).collect();
            Err(UNSUPPORTED_MEDIA_TYPE
                .because(format!("send `content-type: application/json`, not `{kind}`")))
        }
    }
}

fn is_json(kind: &str) -> bool {
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

async fn collect(body: Body, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut size = 0usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| MALFORMED_JSON.because("the body broke off"))?;
        size = size.saturating_add(chunk.len());
        if size <= most {
            bytes.extend_from_slice(&chunk);
        } else if size > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if size > most {
        return Err(BODY_TOO_LARGE.because(format!("the body has more than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_several_names() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain") && !is_json("application/x-www-form-urlencoded") && !is_json(""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up() {
        let drip = Body::from_stream(futures::stream::pending::<
            Result<Vec<u8>, std::convert::Infallible>,
        >());
        let refusal = read(&HeaderMap::new(), drip, 10, Duration::from_secs(3))
            .await
            .unwrap_err();
        assert_eq!(refusal.kind, REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_body_at_its_bound_is_read_and_one_byte_more_is_not() {
        let read_size = |size| read_bytes(vec![b' '; size]);
        assert_eq!(read_size(10).await.map(|bytes| bytes.len()), Ok(10));
        assert_eq!(read_size(11).await.unwrap_err().kind, BODY_TOO_LARGE);
    }

    async fn read_bytes(bytes: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        read(&HeaderMap::new(), Body::from(bytes), 10, Duration::from_secs(3)).await
    }
}
