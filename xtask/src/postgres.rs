//! A PostgreSQL for the tests: the one that answers, or a throwaway one.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::tools;

/// Tells the tests where the server is.
pub(crate) const ADDRESS: &str = "ATOLL_TEST_POSTGRES";

/// Where a server usually is, and who may make databases there without a password.
const USUAL: &str = "postgres://postgres@127.0.0.1:5432";
const USUAL_PORT: u16 = 5432;
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// A server to test on. One that was started for it stops when this is dropped, and leaves nothing behind.
pub(crate) struct Server {
    /// Where it is.
    pub(crate) address: String,
    throwaway: Option<Throwaway>,
}

struct Throwaway {
    programs: PathBuf,
    folder: PathBuf,
}

/// The server that [`ADDRESS`] names, or the usual one, or a new one.
pub(crate) fn server() -> Result<Server> {
    if let Ok(address) = std::env::var(ADDRESS) {
        let throwaway = None;
        return Ok(Server { address, throwaway });
    }
    if answers() {
        return Ok(Server {
            address: USUAL.to_owned(),
            throwaway: None,
        });
    }
    eprintln!("no PostgreSQL lets `postgres` in at 127.0.0.1:{USUAL_PORT}: starting one for the tests");
    start()
}

/// Whether the usual server lets us in.
fn answers() -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], USUAL_PORT));
    if TcpStream::connect_timeout(&address, LOOK_TIMEOUT).is_err() {
        return false;
    }
    let psql = programs().map_or_else(|| PathBuf::from("psql"), |programs| programs.join("psql"));
    let ask = ["--no-password", "--command", "SELECT 1", "--dbname"];
    tools::works(Command::new(psql).args(ask).arg(format!("{USUAL}/postgres")))
}

fn start() -> Result<Server> {
    let programs = match programs() {
        Some(programs) => programs,
        None => {
            tools::apt_install(&["postgresql"])?;
            programs()
                .context("PostgreSQL was installed, and its `initdb` is nowhere under /usr/lib/postgresql")?
        }
    };
    let folder = private_folder()?;
    if is_root() {
        // A server refuses to run as root.
        let give = Command::new("chown").arg("postgres").arg(&folder).status();
        if !give.is_ok_and(|status| status.success()) {
            bail!("there is no user `postgres` to run the server as");
        }
    }
    let throwaway = Throwaway { programs, folder };
    let port = free_port()?;
    let data = throwaway.folder.join("data");
    let initdb = throwaway.program("initdb");
    tools::run_quietly(
        as_postgres(&initdb)
            .args(["--username=postgres", "--auth=trust", "--pgdata"])
            .arg(&data),
    )?;
    let options = format!(
        "-c listen_addresses=127.0.0.1 -c port={port} -c max_connections=200 -c unix_socket_directories='{}'",
        throwaway.folder.display()
    );
    let log = throwaway.folder.join("log");
    let started = tools::run_quietly(
        as_postgres(&throwaway.program("pg_ctl"))
            .args(["start", "--wait", "--pgdata"])
            .arg(&data)
            .arg("--log")
            .arg(&log)
            .args(["--options", &options]),
    );
    if started.is_err() {
        bail!(
            "PostgreSQL did not start: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }
    Ok(Server {
        address: format!("postgres://postgres@127.0.0.1:{port}"),
        throwaway: Some(throwaway),
    })
}

impl Throwaway {
    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(throwaway) = &self.throwaway else { return };
        let data = throwaway.folder.join("data");
        let stop = ["stop", "--wait", "--mode=immediate", "--pgdata"];
        let stopped = tools::run_quietly(as_postgres(&throwaway.program("pg_ctl")).args(stop).arg(data));
        let removed = fs::remove_dir_all(&throwaway.folder);
        if stopped.is_err() || removed.is_err() {
            eprintln!(
                "something of the throwaway PostgreSQL is left in {}",
                throwaway.folder.display()
            );
        }
    }
}

/// The program, as the user `postgres` if we are root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["--user", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    tools::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// The folder of the newest server's programs: Debian keeps them out of the path.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| {
        let version = version.ok()?;
        Some((number(&version.file_name()), version.path().join("bin")))
    });
    let newest = folders.filter(|(_, folder)| folder.join("initdb").exists()).max();
    newest.map(|(_, folder)| folder).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    })
}

/// A version's number: 9.6 comes before 15, which it would not as a text.
fn number(version: &std::ffi::OsStr) -> Vec<u32> {
    let parts = version.to_str().unwrap_or_default().split('.');
    parts.map(|part| part.parse().unwrap_or(0)).collect()
}

/// How many names are tried before something is thought wrong.
const NAMES_MAX: u32 = 100;

/// A new folder for us alone. One that is there already is never taken: somebody else may have put it there, to be written
/// into or to lead elsewhere.
fn private_folder() -> Result<PathBuf> {
    let parent = std::env::temp_dir();
    for attempt in 0..NAMES_MAX {
        let folder = parent.join(format!("atoll-postgres-{}-{attempt}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("could not make {}", folder.display())),
        }
    }
    bail!("every name for a folder in {} is taken", parent.display())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr().context("the port has no address")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_server_is_so_by_number() {
        let versions = ["9.6", "15", "8.4", "16", "nonsense"];
        let newest = versions
            .into_iter()
            .max_by_key(|version| number(version.as_ref()));
        assert_eq!(newest, Some("16"));
        assert!(number("9.6".as_ref()) < number("15".as_ref()));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_new_and_private_every_time() {
        use std::os::unix::fs::PermissionsExt;
        let folders = [private_folder().unwrap(), private_folder().unwrap()];
        assert_ne!(folders[0], folders[1]);
        for folder in folders {
            let mode = fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            fs::remove_dir(folder).unwrap();
        }
    }
}
