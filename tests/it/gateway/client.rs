//! A gateway of the tests, and a client of its API that knows nothing but HTTP.

use crate::crm::unique;
use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::world::{World, binary};
use crate::{registry, runtime, servers};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

/// A process of the gateway.
pub struct Gateway {
    process: Mutex<Guarded>,
    command: Command,
    log: PathBuf,
    client: reqwest::Client,
    base: String,
    admin: String,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// The body; null if there is none.
    pub body: Value,
}

impl Got {
    /// Returns the value of a header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the codes and fields of the findings.
    pub fn findings(&self) -> Vec<(&str, Option<&str>)> {
        let findings = self.body["errors"].as_array().into_iter().flatten();
        findings.map(|error| (error["code"].as_str().unwrap(), error["field"].as_str())).collect()
    }
}

impl Gateway {
    /// Starts a gateway of an installation and waits until it is ready.
    pub fn start(world: &World, environment: &[(&str, &str)]) -> Self {
        Self::start_for("http", reqwest::Client::builder().no_proxy().build().unwrap(), world, environment)
    }

    /// Starts a gateway that speaks `http` or `https` with this client, and waits until it is ready.
    pub fn start_for(scheme: &str, client: reqwest::Client, world: &World, environment: &[(&str, &str)]) -> Self {
        let (port, admin) = (servers::free_port(), servers::free_port());
        let mut command = Command::new(binary());
        command.args(["gateway", "--config"]).arg(&world.config);
        command.env("CRM__GATEWAY__LISTEN", format!("127.0.0.1:{port}"));
        command.env("CRM__ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
        command.envs(environment.iter().copied());
        let log = world.dir().join(format!("{}.log", unique("gateway")));
        let gateway = Self {
            process: Mutex::new(Guarded::spawn(&command, &log, None)),
            command,
            log,
            client,
            base: format!("{scheme}://127.0.0.1:{port}"),
            admin: format!("http://127.0.0.1:{admin}"),
        };
        gateway.until_ready();
        gateway
    }

    /// Returns the address of the gateway as `scheme://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Starts the process again after it has ended, at the same addresses, without waiting until it is ready.
    pub fn start_again(&self) {
        *self.process.lock().unwrap() = Guarded::spawn(&self.command, &self.log, None);
    }

    /// Waits until the process is ready.
    pub fn until_ready(&self) {
        let deadline = Instant::now() + Inbox::PATIENCE;
        loop {
            let (status, body) = registry::get(&format!("{}/readyz", self.admin));
            if status == 200 {
                return;
            }
            let mut process = self.process.lock().unwrap();
            let ended = process.ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "/readyz: {status} {body}; it ended: {ended:?}; {}",
                process.log_tail()
            );
            drop(process);
            crate::pause();
        }
    }

    /// Waits until the process says that it is not ready.
    pub fn until_not_ready(&self) {
        let deadline = Instant::now() + Inbox::PATIENCE;
        while registry::get(&format!("{}/readyz", self.admin)).0 != 503 {
            assert!(Instant::now() < deadline, "it is ready all the time: {}", self.log());
            crate::pause();
        }
    }

    /// Sends a command, and returns the future of its answer.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> impl Future<Output = Got> + Send + use<> {
        self.send(&reqwest::Method::POST, path, headers, body.to_string())
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Got {
        runtime().block_on(self.post(path, headers, body))
    }

    /// Reads a path.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        runtime().block_on(self.send(&reqwest::Method::GET, path, headers, String::new()))
    }

    /// Sends any request. A body is JSON unless a header says otherwise.
    pub fn send<B: Into<reqwest::Body>>(
        &self,
        method: &reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> impl Future<Output = Got> + Send + use<B> {
        let trying = self.try_to_send(method, path, headers, body);
        async { trying.await.unwrap_or_else(|error| panic!("the gateway does not answer: {error:?}")) }
    }

    /// Sends any request to a gateway that may be gone, or go meanwhile.
    pub fn try_to_send<B: Into<reqwest::Body>>(
        &self,
        method: &reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> impl Future<Output = Result<Got, reqwest::Error>> + Send + use<B> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        let is_typed = headers.iter().any(|(name, _)| *name == "content-type");
        if *method == reqwest::Method::POST && !is_typed {
            request = request.header("content-type", "application/json");
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body);
        async move {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let bytes = response.bytes().await?;
            let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("the body is JSON") };
            Ok(Got { status, headers, body })
        }
    }

    /// Returns what operators see at a path of the admin address.
    pub fn admin(&self, path: &str) -> String {
        registry::get(&format!("{}{path}", self.admin)).1
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> String {
        self.admin("/metrics")
    }

    /// Waits until a line of the metrics is there.
    pub fn until_metric(&self, line: &str) {
        let deadline = Instant::now() + Inbox::PATIENCE;
        while !self.metrics().lines().any(|there| there == line) {
            assert!(Instant::now() < deadline, "{line} is not in\n{}", self.metrics());
            crate::pause();
        }
    }

    /// Waits until a metric without labels has at least this value.
    pub fn until_at_least(&self, name: &str, value: u64) {
        let deadline = Instant::now() + Inbox::PATIENCE;
        let reaches = |metrics: &str| {
            let there = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            there.is_some_and(|there| there >= value)
        };
        while !reaches(&self.metrics()) {
            assert!(Instant::now() < deadline, "{name} is not {value} in\n{}", self.metrics());
            crate::pause();
        }
    }

    /// Returns the most memory that the process has had, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.lock().unwrap().pid());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.unwrap_or_else(|| panic!("no VmHWM in {status}"))
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        self.process.lock().unwrap().signal("TERM");
    }

    /// Kills the process.
    pub fn kill(&self) {
        self.process.lock().unwrap().kill();
    }

    /// Waits for the end of the process, and returns its exit code.
    pub fn wait(&self) -> i32 {
        self.process.lock().unwrap().wait(Inbox::PATIENCE).code().unwrap_or(-1)
    }

    /// Returns the process's log.
    pub fn log(&self) -> String {
        self.process.lock().unwrap().log()
    }
}
