//! Clients that we did not write.

use std::path::Path;
use std::process::Command;

use crate::support::{Atoll, third_party_python};

fn run(atoll: &Atoll, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let address = atoll.text("grpc").trim_start_matches("http://").to_owned();
    let output = Command::new(third_party_python())
        .arg(root.join("tests/python").join(script))
        .env("OPENAI_BASE_URL", format!("{}/v1", atoll.text("http")))
        .env("OPENAI_API_KEY", atoll.text("api_key"))
        .env("ATOLL_MODEL", atoll.model())
        .env("ATOLL_GRPC", address)
        .output()
        .unwrap();
    let (said, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{complaint}");
}

#[test]
fn the_official_openai_client_and_grpcio_are_served() {
    let atoll = Atoll::start();
    run(&atoll, "openai_client.py");
    run(&atoll, "grpc_client.py");
}
