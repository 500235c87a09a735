//! `atoll up`: billing and an exchange in this process, three Islands beside it.
//!
//! The parts speak gRPC to each other as they would on machines of their own. All state lives in one folder, and a
//! second `up` on it goes on where the first stopped. Standard output carries one line of JSON if asked, or what a
//! person wants to read; logs go to standard error.

pub(crate) mod accounts;
mod first_job;
mod islands;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use island_agent::models::manifest::{Manifest, ModelId};
use island_agent::models::progress::TerminalProgress;
use island_agent::models::store::ModelStore;
use islands::{Common, Islands, Ready, ScriptedPace};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use service::secret::Secret;
use service::shutdown::Shutdown;

use crate::client::Connection;
use crate::state::{self, State};

/// The model that is there unless others are named: small enough for any machine.
const MODEL: &str = "smollm2-135m-instruct-q4_1";

/// What to start, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    /// Where HTTP and gRPC are served; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where accounts, books and Islands are kept: a second `up` on it goes on where the first stopped
    /// [default: ~/.local/state/atoll].
    #[arg(long, env = "ATOLL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print one line of JSON when all of it is ready, and nothing else.
    #[arg(long, conflicts_with_all = ["first_job", "check"])]
    json: bool,
    /// The models to sell; fetched if they are missing.
    #[arg(long, value_name = "MODEL", value_delimiter = ',', default_value = MODEL)]
    models: Vec<String>,
    /// Where models are installed, shared by all folders.
    #[arg(long, env = "ATOLL_MODELS", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Inference threads of each Island.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Jobs that each Island runs at once.
    #[arg(long, default_value_t = 2)]
    slots: u32,
    /// Run a first job and show it as it happens.
    #[arg(long)]
    first_job: bool,
    /// Run a first job, check every part of it, and exit: 0 if all was as it should be. Without --data, in a folder of
    /// its own that is removed afterwards.
    #[arg(long)]
    check: bool,
    /// Islands emit made-up tokens at this pace, without a model: for tests and load only.
    #[arg(long, value_name = "TOKENS_PER_SECOND", hide = true)]
    scripted: Option<u32>,
}

/// What the line of JSON says.
#[derive(Debug, Serialize)]
struct Report<'a> {
    http: &'a str,
    grpc: &'a str,
    api_key: &'a str,
    account: &'a str,
    islands: &'a [Ready],
    models: &'a [String],
}

/// Starts it, waits for Ctrl-C, drains.
pub(crate) async fn run(up: Up) -> Result<()> {
    service::logs::init("info");
    let shutdown = Shutdown::on_signals();
    if up.check && up.data.is_none() {
        let folder = tempfile::Builder::new().prefix("atoll-check-").tempdir();
        let folder = folder.context("could not make a folder for the check")?;
        let up = Up {
            listen: free_port(up.listen),
            ..up
        };
        return run_in(folder.path(), &up, &shutdown).await;
    }
    let folder = up.data.clone().unwrap_or_else(state::default_folder);
    run_in(&folder, &up, &shutdown).await
}

fn free_port(listen: SocketAddr) -> SocketAddr {
    SocketAddr::new(listen.ip(), 0)
}

async fn run_in(folder: &Path, up: &Up, shutdown: &Shutdown) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let _lock = lock(folder)?;
    let models_dir = up
        .models_dir
        .clone()
        .unwrap_or_else(exchange::config::default_models_dir);
    tokio::select! {
        fetched = fetch(&up.models, &models_dir) => fetched?,
        () = shutdown.triggered() => return interrupted(up),
    }

    let token = token(folder)?;
    let (stop_billing, stop_exchange) = (Shutdown::manual(), Shutdown::manual());
    let mut billing = billing::start(billing_config(folder, up, &token), stop_billing.clone())
        .await
        .context("could not start billing")?;
    let billing_url = format!("http://{}", billing.address);
    let mut books = accounts::connect(&billing_url, &token).await?;
    let mut state = match State::read(folder)? {
        Some(state) => state,
        None => accounts::create(&mut books, token.clone()).await?,
    };
    let config = exchange_config(folder, up, &models_dir, &billing_url, &state);
    let starting = exchange::start(config, stop_exchange.clone());
    let exchange = tokio::select! {
        exchange = starting => Some(exchange.context("could not start the exchange")?),
        () = shutdown.triggered() => None,
    };
    let Some(mut exchange) = exchange else {
        drop(books);
        stop_billing.trigger();
        billing.join.await.context("billing broke off")??;
        return interrupted(up);
    };
    let url = format!("http://{}", exchange.address);
    state.address = Some(url.clone());
    state.write(folder)?;

    let common = Common {
        exchange: &url,
        api_key: &state.owner.api_key,
        models: &up.models,
        models_dir: &models_dir,
        threads: up.threads,
        slots: up.slots,
        scripted: up
            .scripted
            .map(|tokens_per_second| ScriptedPace { tokens_per_second }),
    };
    let mut islands = Islands::start(&folder.join("islands"), &common)?;
    let started = Started {
        up,
        folder,
        state: &state,
        url: &url,
    };
    let outcome = tokio::select! {
        outcome = started.serve(&mut islands, &mut books, shutdown) => outcome,
        ended = &mut billing.join => bail!("billing ended by itself: {ended:?}"),
        ended = &mut exchange.join => bail!("the exchange ended by itself: {ended:?}"),
    };

    // Islands first, billing last: what is finished on the way must still be settled.
    islands.stop().await;
    state.address = None;
    state.write(folder)?;
    stop_exchange.trigger();
    exchange
        .join
        .await
        .context("the exchange broke off")?
        .context("the exchange did not stop cleanly")?;
    drop(books);
    stop_billing.trigger();
    billing
        .join
        .await
        .context("billing broke off")?
        .context("billing did not stop cleanly")?;
    outcome
}

/// A stop before all was done: what was asked for, unless it was a check, of which nothing is known then.
fn interrupted(up: &Up) -> Result<()> {
    if up.check {
        bail!("stopped before the check had ended; nothing is known");
    }
    Ok(())
}

/// What runs in this process once it has started.
struct Started<'a> {
    up: &'a Up,
    folder: &'a Path,
    state: &'a State,
    url: &'a str,
}

impl Started<'_> {
    /// From ready to the wish to stop.
    async fn serve(
        &self,
        islands: &mut Islands,
        books: &mut accounts::Billing,
        shutdown: &Shutdown,
    ) -> Result<()> {
        let mut operator = Connection::exchange_at(self.url, &self.state.operator_token).await?;
        if !self.up.json {
            self.welcome();
        }
        let ready = tokio::select! {
            ready = islands.ready() => ready?,
            () = shutdown.triggered() => return interrupted(self.up),
        };
        announce(self.up, self.state, self.url, &ready)?;
        if self.up.first_job || self.up.check {
            let model = self.up.models.first().context("no model was named")?;
            let job = first_job::run(model, self.state, self.url, &mut operator, books);
            tokio::select! {
                outcome = job => outcome?,
                () = shutdown.triggered() => return interrupted(self.up),
            }
        }
        if self.up.check {
            return Ok(());
        }
        if !self.up.json {
            let model = self.up.models.join(",");
            println!("\nIt stays up until Ctrl-C. In another terminal: atoll depth {model} · atoll balance");
        }
        shutdown.triggered().await;
        Ok(())
    }

    /// What a person can use before the Islands quote.
    fn welcome(&self) {
        println!(
            "\nAtoll starts at {} (gRPC and HTTP), state in {}",
            self.url,
            self.folder.display()
        );
        println!(
            "API key {} of {} (virtual credits, no cash value)",
            self.state.consumer.api_key.expose(),
            self.state.consumer.account
        );
        println!(
            "Three Islands load the model and are measured, one after the other; the first time takes longest."
        );
    }
}

fn announce(up: &Up, state: &State, url: &str, islands: &[Ready]) -> Result<()> {
    let api_key = state.consumer.api_key.expose();
    if up.json {
        let report = Report {
            http: url,
            grpc: url,
            api_key,
            account: &state.consumer.account,
            islands,
            models: &up.models,
        };
        println!(
            "{}",
            serde_json::to_string(&report).context("could not write the report")?
        );
        return Ok(());
    }
    println!("\nAtoll is up at {url}: {} Islands quote", islands.len());
    for island in islands {
        println!(
            "  {} {} {} at {} per 1,000 units, process {}",
            island.id, island.region, island.tier, island.price, island.pid
        );
    }
    let model = up.models.first().map_or(MODEL, String::as_str);
    println!(
        "\n  from openai import OpenAI\n  client = OpenAI(base_url=\"{url}/v1\", api_key=\"{api_key}\")\n  answer = \
         client.chat.completions.create(model=\"{model}\",\n      messages=[{{\"role\": \"user\", \"content\": \"What is \
         the capital of France?\"}}])\n  print(answer.choices[0].message.content, answer.atoll)\n"
    );
    Ok(())
}

/// Two `up`s in one folder would share a journal; the kernel keeps them apart, and lets go when this process ends.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("up.lock");
    let file = File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another `atoll up` runs on {}; stop it, or name another folder with --data DIR",
            folder.display()
        );
    }
    Ok(file)
}

/// The service token, the one that was made on the first start.
fn token(folder: &Path) -> Result<Secret> {
    State::read(folder)?.map_or_else(accounts::fresh_secret, |state| Ok(state.service_token))
}

/// Installs the models that are missing, with a progress bar.
async fn fetch(models: &[String], models_dir: &Path) -> Result<()> {
    let (models, store) = (models.to_vec(), ModelStore::at(models_dir.to_owned()));
    let store = store.with_environment(|name| std::env::var_os(name));
    let install = move || {
        for model in &models {
            let id = ModelId::parse(model).with_context(|| format!("`{model}` is no model's id"))?;
            let manifest = Manifest::built_in(&id).with_context(|| {
                let known: Vec<String> = Manifest::all_built_in()
                    .iter()
                    .map(|known| known.id.to_string())
                    .collect();
                format!(
                    "no manifest of `{model}` is built in; there are {}",
                    known.join(", ")
                )
            })?;
            store
                .ensure_installed(&manifest, &mut TerminalProgress::new(model))
                .context("could not install a model")?;
        }
        Ok(())
    };
    // On a thread that a stopping process does not wait for, as it would for the runtime's own: a download takes minutes.
    let (done, installed) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("install".to_owned())
        .spawn(move || done.send(install()))
        .context("could not start the installation")?;
    installed.await.context("the installation broke off")?
}

/// Whoever can reach this machine's own address may sign up; an exchange that listens to the world is told so by its operator.
fn sign_ups(listen: SocketAddr) -> billing::config::SignUps {
    billing::config::SignUps {
        enabled: listen.ip().is_loopback(),
        ..billing::config::SignUps::default()
    }
}

fn billing_config(folder: &Path, up: &Up, token: &Secret) -> billing::Config {
    let config = billing::Config::default();
    billing::Config {
        listen: free_port(config.listen),
        data_dir: folder.join("billing"),
        service_token: Some(token.clone()),
        sign_up: sign_ups(up.listen),
        ..config
    }
}

fn exchange_config(
    folder: &Path,
    up: &Up,
    models_dir: &Path,
    billing_url: &str,
    state: &State,
) -> exchange::config::Config {
    let token = state.service_token.clone();
    let mut config = exchange::config::Config::new(&folder.join("exchange"), models_dir, token);
    config.listen = up.listen;
    config.models = exchange::config::Models::Only(up.models.clone());
    config.billing_url = billing_url.to_owned();
    config.operator_token = Some(state.operator_token.clone());
    config
}
