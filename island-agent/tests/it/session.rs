//! The whole agent against an exchange that the test plays, over real gRPC on loopback.

mod fake;
mod happy;
mod hostile;
mod outage;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use island_agent::benchmark::Speed;
use island_agent::config::{Config, File, ReconnectFile};
use island_agent::offers::Prepared;
use island_agent::{Running, start_with};
use runner::scripted::{Script, ScriptedRunner};
use service::secret::Secret;
use service::shutdown::Shutdown;
use tempfile::TempDir;

const API_KEY: &str = "atoll_sk_of_the_owner";
const MODEL: &str = "scripted";

/// An agent under test.
struct Island {
    running: Running,
    shutdown: Shutdown,
    data: TempDir,
    runner: ScriptedRunner,
}

fn config(exchange: SocketAddr, data: &Path, slots: u32) -> Config {
    let mut file = File {
        exchange: Some(format!("http://{exchange}")),
        api_key: Some(Secret::new(API_KEY)),
        data: Some(data.to_owned()),
        region: Some("eu-west".to_owned()),
        slots: Some(slots),
        models: vec![MODEL.to_owned()],
        drain_within_ms: Some(60_000),
        reconnect: ReconnectFile {
            first_ms: Some(5),
            max_ms: Some(50),
        },
        ..File::default()
    };
    file.pricing.price = Some("0.02".to_owned());
    file.pricing.jobs_per_ask = Some(7);
    file.check().unwrap()
}

fn island(exchange: SocketAddr, script: Script) -> Island {
    let data = tempfile::tempdir().unwrap();
    let config = config(exchange, data.path(), script.slots);
    let shutdown = Shutdown::manual();
    Island {
        running: start_with(config, vec![prepared(&script)], shutdown.clone()),
        shutdown,
        data,
        runner: ScriptedRunner::new(script),
    }
}

fn prepared(script: &Script) -> Prepared {
    let speed = Speed {
        prefill_per_second: 200,
        decode_per_second: 50,
    };
    Prepared::new(Arc::new(ScriptedRunner::new(script.clone())), speed).unwrap()
}
