//! Child processes that never outlive the tests.
//!
//! Each child runs under a small shell that holds the reading end of a pipe. When the test process ends, however it does, the
//! pipe closes and the shell kills the child by its id. (The `Drop` of a static would never run.) Shell and child are in a
//! process group of their own, so that Ctrl-C at the terminal reaches them only through the pipe.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// `$1` is the child's log, `$2` a directory to remove after the child (or empty), the rest is the child's command line.
const WATCHDOG: &str = r#"
exec 3<&0
log=$1 scratch=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null 3<&- &
child=$!
echo $child
{ read -r _ <&3; kill -9 $child 2>/dev/null; } >/dev/null 2>&1 &
watch=$!
wait $child; status=$?
kill $watch 2>/dev/null
if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
exit $status
"#;

/// A child process with its log; killed when dropped, and when the test process ends.
#[derive(Debug)]
pub struct Guarded {
    watchdog: Child,
    pid: u32,
    log: PathBuf,
}

impl Guarded {
    /// Starts `command` with both its outputs appended to `log`. `scratch` is removed when it has ended.
    pub fn spawn(command: &Command, log: &Path, scratch: Option<&Path>) -> Self {
        OpenOptions::new().create(true).append(true).open(log).unwrap_or_else(|e| panic!("cannot write {}: {e}", log.display()));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(WATCHDOG).arg("sh").arg(log).arg(scratch.unwrap_or(Path::new("")));
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut watchdog = shell.spawn().expect("a POSIX system has sh");
        let mut line = String::new();
        BufReader::new(watchdog.stdout.take().expect("is piped")).read_line(&mut line).expect("the watchdog prints a line");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("the watchdog printed {line:?}, not a process id"));
        Self { watchdog, pid, log: log.to_owned() }
    }

    /// Returns the child's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends the child a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid)).stderr(Stdio::null()).status();
        assert!(status.is_ok(), "sh is gone: {status:?}");
    }

    /// Returns the child's exit code, or `None` if the child still runs. Signal n gives 128 + n.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.watchdog.try_wait().expect("the watchdog is our child")
    }

    /// Waits for the child's end.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} has not ended after {at_most:?}; {}", self.pid, self.log_tail());
            crate::pause();
        }
    }

    /// Kills the child by SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal("KILL");
            drop(self.watchdog.stdin.take());
            let _ = self.watchdog.wait();
        }
    }

    /// Returns all that the child has written to both outputs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the last lines of the child's log, with the log's name, for a failure's message.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the last lines of a log, with its name.
pub fn log_tail(log: &Path) -> String {
    const LINES: usize = 60;
    let lines: Vec<String> =
        File::open(log).map(|file| BufReader::new(file).lines().map_while(Result::ok).collect()).unwrap_or_default();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
    format!("the end of {}:\n  {tail}", log.display())
}
