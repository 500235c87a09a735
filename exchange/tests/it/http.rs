//! The HTTP door, attacked from outside over a real socket.

mod chat;
mod patience;
mod refusals;

use serde_json::{Value, json};

pub(crate) fn hello() -> Value {
    json!({"model": "tiny-chat", "messages": [{"role": "user", "content": "hello"}]})
}

pub(crate) fn hello_with(extra: Value) -> Value {
    let mut body = hello();
    let Value::Object(extra) = extra else {
        panic!("an object")
    };
    body.as_object_mut().unwrap().extend(extra);
    body
}
