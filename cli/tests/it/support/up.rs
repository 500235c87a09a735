//! Starts `atoll up` in a folder of the test's own, on a free port, and stops it when the test ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Fetching a model, loading it three times and measuring it, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(400);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// An `atoll up` that is ready.
pub(crate) struct Atoll {
    child: Child,
    rest_of_stdout: mpsc::Receiver<String>,
    report: Value,
    folder: Folder,
    restarted: Vec<Child>,
}

/// Where it keeps its state: its own, or one that outlives it.
enum Folder {
    Own(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// The Python that has the third-party clients.
pub(crate) fn third_party_python() -> PathBuf {
    std::env::var_os("ATOLL_TEST_PYTHON")
        .expect("the third-party clients are missing: run `cargo xtask test`, or set ATOLL_TEST_PYTHON")
        .into()
}

impl Atoll {
    /// Starts one in a fresh folder and waits until its Islands quote.
    pub(crate) fn start() -> Self {
        Self::start_in(Folder::Own(tempfile::tempdir().unwrap()))
    }

    /// Starts one in a folder that stays.
    pub(crate) fn start_on(folder: &Path) -> Self {
        Self::start_in(Folder::Kept(folder.to_owned()))
    }

    fn start_in(folder: Folder) -> Self {
        let mut command = Self::command(folder.path());
        let mut child = command.args(["--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (first, ready) = mpsc::channel();
        let (rest, rest_of_stdout) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            // The test may have given up meanwhile.
            let _ = first.send(line);
            let mut remainder = String::new();
            let _ = stdout.read_to_string(&mut remainder);
            let _ = rest.send(remainder);
        });
        let line = ready
            .recv_timeout(READY_TIMEOUT)
            .expect("`atoll up` was not ready in time");
        assert!(
            !line.is_empty(),
            "`atoll up` ended before it was ready: {:?}",
            child.wait()
        );
        let report = serde_json::from_str(&line).expect("the line is JSON");
        Self {
            child,
            rest_of_stdout,
            report,
            folder,
            restarted: Vec::new(),
        }
    }

    /// `atoll up` on the folder, on a free port.
    pub(crate) fn command(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder)
            .stdin(Stdio::null());
        command
    }

    /// What the line of JSON said.
    pub(crate) fn report(&self) -> &Value {
        &self.report
    }

    /// A text of the report.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.report[key]
            .as_str()
            .unwrap_or_else(|| panic!("no `{key}` in {}", self.report))
    }

    /// The model on sale.
    pub(crate) fn model(&self) -> &str {
        self.report["models"][0].as_str().unwrap()
    }

    /// The process of an Island.
    pub(crate) fn pid_of(&self, island: &str) -> u64 {
        let islands = self.report["islands"].as_array().unwrap();
        let island = islands
            .iter()
            .find(|candidate| candidate["id"] == island)
            .expect("an Island of ours");
        island["pid"].as_u64().unwrap()
    }

    /// Where it keeps its state.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client command against it, with its key.
    pub(crate) fn client(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.args(arguments).arg("--data").arg(self.folder.path());
        command.output().unwrap()
    }

    /// Asks for the end as Ctrl-C does; returns how it ended and what else it had printed.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        kill(u64::from(self.child.id()), Signal::INT);
        let status = self.child.wait().unwrap();
        let rest = self.rest_of_stdout.recv_timeout(STOP_TIMEOUT).unwrap();
        (status, rest)
    }

    /// Kills an Island's process, as a power cut does.
    pub(crate) fn kill_island(&mut self, island: &str) {
        let pid = self.pid_of(island);
        kill(pid, Signal::KILL);
        for child in &mut self.restarted {
            if u64::from(child.id()) == pid {
                child.wait().unwrap();
            }
        }
    }

    /// Starts an Island that was killed again, and waits until it quotes.
    pub(crate) fn restart_island(&mut self, island: &str) {
        let islands = self.report["islands"].as_array_mut().unwrap();
        let entry = islands
            .iter_mut()
            .find(|candidate| candidate["id"] == island)
            .unwrap();
        let region = entry["region"].as_str().unwrap().to_owned();
        let config = config_of(self.folder.path(), &region);
        let state: Value =
            serde_json::from_slice(&fs::read(self.folder.path().join("up.json")).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args([
                "island",
                "run",
                "--die-with-parent",
                &std::process::id().to_string(),
                "--config",
            ])
            .arg(config)
            .env("ATOLL_API_KEY", state["owner"]["api_key"].as_str().unwrap())
            .env("CANDLE_NUM_THREADS", "1")
            .env("RAYON_NUM_THREADS", "1")
            .stdout(Stdio::null());
        let child = command.spawn().unwrap();
        entry["pid"] = u64::from(child.id()).into();
        self.restarted.push(child);
        self.wait_for_quote_in(&region);
    }

    /// Waits until the depth shows an ask in the region.
    fn wait_for_quote_in(&self, region: &str) {
        let deadline = std::time::Instant::now() + READY_TIMEOUT;
        loop {
            let depth = self.client(&["depth", self.model()]);
            let text = String::from_utf8_lossy(&depth.stdout).into_owned();
            if text.lines().any(|line| line.contains(region)) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "no ask in {region}: {text}");
            thread::yield_now();
        }
    }
}

impl Drop for Atoll {
    fn drop(&mut self) {
        for child in &mut self.restarted {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            kill(u64::from(self.child.id()), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// The configuration of the Island in that region.
fn config_of(folder: &Path, region: &str) -> PathBuf {
    let islands = fs::read_dir(folder.join("islands")).unwrap();
    let configs = islands.map(|island| island.unwrap().path().join("island.toml"));
    let in_region = |config: &PathBuf| {
        fs::read_to_string(config)
            .unwrap()
            .contains(&format!("region = \"{region}\""))
    };
    configs
        .filter(|config| config.exists())
        .find(in_region)
        .expect("an Island in that region")
}

/// Signals a process that this test started, or its child.
pub(crate) fn kill(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
