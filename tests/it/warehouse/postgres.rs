//! A PostgreSQL for a test, on a port of its own. It comes from the Debian package `postgresql`.

use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::servers;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// The user that Debian's package makes. PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// A database of a running server. The server ends, and its data are removed, with the last of its databases.
pub struct Postgres {
    running: Arc<Running>,
    name: String,
}

struct Running {
    server: Guarded,
    programs: PathBuf,
    port: u16,
    _data: tempfile::TempDir,
}

impl Postgres {
    /// Starts a server. Returns `None` if PostgreSQL is not installed; the reason has been printed, and the test returns.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            servers::skip("PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        let data = tempfile::Builder::new().prefix("crm-postgres-").tempdir().expect("a folder");
        let folder = data.path().join("data");
        let as_user = |program: &str| as_user(&programs.join(program));
        if is_root() {
            servers::finish(Command::new("chown").arg(USER).arg(data.path())).unwrap_or_else(|e| panic!("{e}"));
        }
        let mut initdb = as_user("initdb");
        initdb.args(["--auth=trust", "--username=warehouse", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        servers::finish(initdb.arg(&folder)).unwrap_or_else(|e| panic!("{e}"));
        let port = servers::free_port();
        let mut server = as_user("postgres");
        server.arg("-D").arg(&folder).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "timezone=UTC"]);
        let log = servers::log_dir().join(format!("postgres-{port}.log"));
        let running = Arc::new(Running { server: Guarded::spawn(&server, &log, None), programs, port, _data: data });
        let this = Self { running, name: "postgres".into() };
        let deadline = Instant::now() + Inbox::PATIENCE;
        while this.psql("SELECT 1").is_err() {
            assert!(Instant::now() < deadline, "PostgreSQL does not answer; {}", this.running.server.log_tail());
            crate::pause();
        }
        Some(this)
    }

    /// Returns another database of the same server.
    pub fn database(&self, name: &str) -> Self {
        Self { running: self.running.clone(), name: name.into() }
    }

    /// Returns the server's port on loopback.
    pub fn port(&self) -> u16 {
        self.running.port
    }

    /// Runs statements, and returns what the last one printed, without headings.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.running.programs.join("psql"));
        psql.args([
            "--host=127.0.0.1",
            "--username=warehouse",
            "--dbname",
            &self.name,
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
        ]);
        psql.args(["--no-align", "--set=ON_ERROR_STOP=1", "--port", &self.port().to_string()]);
        let output = fed(&mut psql, sql).map_err(|e| e.to_string())?;
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends its other processes at once, and leaves no shared memory behind.
        self.server.signal("QUIT");
    }
}

/// Runs a program to its end, with a text as its input.
pub fn fed(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("is piped");
    std::thread::scope(|scope| {
        // It may print before it has read all.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output()
    })
}

/// Returns the folder of PostgreSQL's programs, of the latest version if there are several.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let number = |path: &Path| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max_by_key(|bin| number(bin))
}

fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("a POSIX system has id");
    id.stdout.trim_ascii() == b"0"
}
