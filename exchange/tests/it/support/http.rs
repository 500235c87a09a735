//! An HTTP client that does as a test says, well-behaved or not.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// One request, made bit by bit.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    key: Option<String>,
    headers: Vec<(&'static str, String)>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer that is still coming, event by event.
pub(crate) struct Events {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: axum::body::BodyDataStream,
    buffer: String,
}

impl Http {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            key: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> axum::http::Response<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // The connection ends when the answer was read or dropped.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "exchange");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        response.map(Body::new)
    }

    pub(crate) async fn request(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let (parts, body) = self.send(method, path, body.into()).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let typed = self.clone().header("content-type", "application/json");
        typed.request(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }

    /// A streamed chat.
    pub(crate) async fn stream(&self, body: &Value) -> Events {
        let typed = self.clone().header("content-type", "application/json");
        let response = typed
            .send(Method::POST, "/v1/chat/completions", body.to_string().into())
            .await;
        let (parts, body) = response.into_parts();
        Events {
            status: parts.status,
            headers: parts.headers,
            body: body.into_data_stream(),
            buffer: String::new(),
        }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `status code`, and `@param` where there is one; also checks that the error is of OpenAI's shape.
    pub(crate) fn complaint(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().unwrap();
        for key in ["message", "type", "param", "code"] {
            assert!(error.contains_key(key), "{body}");
        }
        let message = error["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{body}");
        // Many clients print nothing but the message.
        assert!(
            error["param"]
                .as_str()
                .is_none_or(|field| message.starts_with(field)),
            "{body}"
        );
        assert!(self.headers.contains_key("x-request-id"), "{:?}", self.headers);
        assert!(self.headers.contains_key("x-should-retry"), "{:?}", self.headers);
        let field = error["param"]
            .as_str()
            .map(|param| format!("@{param}"))
            .unwrap_or_default();
        format!(
            "{} {}{field}",
            self.status.as_u16(),
            error["code"].as_str().unwrap()
        )
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}

impl Events {
    /// The next event or comment, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(event);
            }
            let chunk = self.body.next().await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event's data, comments passed over: JSON, or the text `[DONE]`.
    pub(crate) async fn data(&mut self) -> Option<Value> {
        loop {
            let event = self.next().await?;
            if let Some(data) = event.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned())));
            }
        }
    }

    /// Everything that is still to come.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(data) = self.data().await {
            all.push(data);
        }
        all
    }
}
