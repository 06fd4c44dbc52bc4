//! The real servers that the tests run against: Apache Kafka, Apache Cassandra and Apicurio Registry, from their Maven artifacts, without
//! containers. Each is started when first asked for, once per run, on free ports of the loopback interface, with its data in a
//! directory that goes away with it. None outlives the tests (see `guarded`).
//!
//! | environment variable | |
//! |---|---|
//! | `CRM_TEST_KAFKA` | bootstrap servers of a Kafka to use instead (the tests create topics there) |
//! | `CRM_TEST_CQL` | `host:port` of a Cassandra or ScyllaDB to use instead (the tests create keyspaces there) |
//! | `CRM_TEST_CACHE` | where the downloads are kept; default: `crm-processor-tests` in `$XDG_CACHE_HOME` or `~/.cache` |
//! | `CI` | `true`: a test that cannot have its servers fails; otherwise it says so and is skipped |

use crate::guarded::{Guarded, log_tail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub mod cluster;
pub mod own;
mod ports;
pub mod secured;

pub use ports::free_port;

/// How often a server is started before the run gives up: a program that is not of this run may take a port between its choice and its use.
const TRIES: usize = 3;
/// The name of a server's folder in the cache, and its pom.
const KAFKA: (&str, &str) = ("kafka-4.1.1", include_str!("servers/kafka.pom.xml"));
/// The name of Apicurio Registry's folder, and its artifact.
const APICURIO: (&str, &str) = ("apicurio-registry-2.6.13", "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all");
/// The path below which Apicurio Registry has Confluent's API.
pub const REGISTRY_PATH: &str = "/apis/ccompat/v7";
/// The JVM's options for a server that lives for minutes. The optimising compiler would take as much CPU as the start.
const SHORT_LIVED: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// How the shared Cassandra makes writes durable: some time after it acknowledges them. That is quick, and no test kills this
/// server. Its time-outs are so long that a machine that stands still for some seconds does not exceed them.
const PERIODIC: &str = "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms\ncas_contention_timeout: 30000ms\n\
                        write_request_timeout: 30000ms\nread_request_timeout: 30000ms";

/// Returns the bootstrap servers of a real Kafka, or `None` if it can't be had here; the reason has been printed, and the test
/// returns.
pub fn kafka() -> Option<&'static str> {
    static KAFKA: OnceLock<Server> = OnceLock::new();
    KAFKA
        .get_or_init(|| Server::from_environment("CRM_TEST_KAFKA").unwrap_or_else(|| Server::start("Kafka", prepare_kafka)))
        .address()
}

/// Returns `host:port` of a real Cassandra or ScyllaDB, or `None` if it can't be had here; the reason has been printed, and the
/// test returns.
pub fn cassandra() -> Option<&'static str> {
    static CASSANDRA: OnceLock<Server> = OnceLock::new();
    CASSANDRA
        .get_or_init(|| {
            Server::from_environment("CRM_TEST_CQL")
                .unwrap_or_else(|| Server::start("Cassandra", || prepare_cassandra(PERIODIC, &[])))
        })
        .address()
}

/// Returns the base URL of a real schema registry's Confluent API, or `None` if it can't be had here; the reason has been
/// printed, and the test returns.
pub fn apicurio() -> Option<String> {
    let address = SHARED_APICURIO.get_or_init(|| Server::start("Apicurio Registry", prepare_apicurio)).address()?;
    Some(apicurio_url(address))
}

static SHARED_APICURIO: OnceLock<Server> = OnceLock::new();

/// Returns whether this is the URL of the registry that [`apicurio`] has started.
pub fn is_shared_apicurio(url: &str) -> bool {
    matches!(SHARED_APICURIO.get(), Some(Server::Up { address, .. }) if *url == apicurio_url(address))
}

fn apicurio_url(address: &str) -> String {
    format!("http://{address}{REGISTRY_PATH}")
}

/// Prints on standard error, past the test runner's capture, that the running test is skipped. With `CI=true` the test fails
/// instead.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true, so this is no reason to skip {test}: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Returns the folder in which downloads are kept between runs, for programs of these versions.
pub fn cache(versions: &str) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let root = variable("CRM_TEST_CACHE").unwrap_or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("crm-processor-tests")
    });
    root.join(versions)
}

/// Makes `folder` once, even if several ask at the same time: `fill` works in a folder beside it, which is renamed when `fill` is
/// done.
pub fn make_once(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let said = |what: &str, e: std::io::Error| format!("{what} {}: {e}", folder.display());
    let parent = folder.parent().expect("a folder in the cache has a parent");
    fs::create_dir_all(parent).map_err(|e| said("cannot make the parent of", e))?;
    let beside = |suffix: &str| {
        let name = folder.file_name().expect("a folder in the cache has a name").to_string_lossy();
        parent.join(format!("{name}.{suffix}"))
    };
    let lock = File::create(beside("lock")).map_err(|e| said("cannot lock", e))?;
    lock.lock().map_err(|e| said("cannot lock", e))?;
    if folder.exists() {
        return Ok(());
    }
    let partial = beside("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|e| said("cannot remove what was left beside", e))?;
    }
    fs::create_dir(&partial).map_err(|e| said("cannot make a folder beside", e))?;
    fill(&partial)?;
    fs::rename(&partial, folder).map_err(|e| said("cannot rename to", e))
}

/// Runs a program to its end. Returns its output as the error if it fails.
pub fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&said)))
}

/// Returns the folder of this run's logs, which stay after the run.
pub fn log_dir() -> &'static Path {
    static LOGS: OnceLock<PathBuf> = OnceLock::new();
    LOGS.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("logs").join(std::process::id().to_string());
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        dir
    })
}

enum Server {
    /// The server is in use for the rest of the run. Its process, if the tests started it, ends with the test process.
    Up { address: String, _process: Option<Guarded> },
    /// The server can't be started: the reason, such as a program that is missing on this machine.
    Missing(String),
}

/// Why a server did not start.
enum NoStart {
    /// A program is not installed.
    Missing(String),
    /// The server could not take one of its ports, or ended for another reason. Another try may succeed.
    Failed(String),
}

impl Server {
    fn from_environment(variable: &str) -> Option<Self> {
        let address = std::env::var(variable).ok().filter(|v| !v.is_empty())?;
        Some(Self::Up { address, _process: None })
    }

    fn start(name: &str, prepare: impl Fn() -> Result<Prepared, NoStart>) -> Self {
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            let started = prepare().and_then(|prepared| Ok((prepared.start(Some(&prepared.dir))?, prepared.address)));
            match started {
                Ok((process, address)) => return Self::Up { address, _process: Some(process) },
                Err(NoStart::Missing(what)) => return Self::Missing(format!("no {name}: {what}")),
                Err(NoStart::Failed(why)) => failures.push(why),
            }
        }
        panic!("{name} does not start. {}", failures.join("\n"));
    }

    fn address(&self) -> Option<&str> {
        match self {
            Self::Up { address, .. } => Some(address),
            Self::Missing(what) => {
                skip(what);
                None
            }
        }
    }
}

/// A server with its configuration and an empty folder for its data, ready to be started.
struct Prepared {
    name: &'static str,
    address: String,
    command: Command,
    dir: PathBuf,
    log: PathBuf,
    /// The test of whether a server at this address answers.
    up: fn(&str) -> bool,
}

impl Prepared {
    /// Starts the server and waits until it answers. `scratch` is removed when it ends.
    fn start(&self, scratch: Option<&Path>) -> Result<Guarded, NoStart> {
        let mut process = self.spawn(scratch);
        self.until_up(&mut process)?;
        Ok(process)
    }

    /// Starts the server without waiting until it answers.
    fn spawn(&self, scratch: Option<&Path>) -> Guarded {
        Guarded::spawn(&self.command, &self.log, scratch)
    }

    /// Waits until the server, which runs as `process`, answers.
    fn until_up(&self, process: &mut Guarded) -> Result<(), NoStart> {
        until_up(self.name, process, &self.log, || (self.up)(&self.address))
    }
}

fn prepare_kafka() -> Result<Prepared, NoStart> {
    prepare_kafka_as(ToOwned::to_owned, &[], has_brokers)
}

/// `adjust` changes its properties, `format_args` are given when its storage is formatted, and `up` whether one at this address answers.
fn prepare_kafka_as(adjust: impl Fn(&str) -> String, format_args: &[&str], up: fn(&str) -> bool) -> Result<Prepared, NoStart> {
    prepare_kafka_at((free_port(), free_port()), "-Xmx512m", adjust, format_args, up)
}

/// Makes a Kafka on chosen ports, one for clients and one for the controller, with this size of the heap.
fn prepare_kafka_at(
    (port, controller_port): (u16, u16),
    heap: &str,
    adjust: impl Fn(&str) -> String,
    format_args: &[&str],
    up: fn(&str) -> bool,
) -> Result<Prepared, NoStart> {
    let lib = jars(KAFKA.0, KAFKA.1)?;
    let dir = scratch("kafka");
    let properties = adjust(include_str!("servers/kafka.properties"))
        .replace("@PORT@", &port.to_string())
        .replace("@CONTROLLER_PORT@", &controller_port.to_string())
        .replace("@DATA@", &dir.join("data").display().to_string());
    let config = write(&dir, "server.properties", &properties);
    let log4j = write(&dir, "log4j.properties", include_str!("servers/log4j.properties"));

    let mut java = Command::new("java");
    java.args(SHORT_LIVED).arg(format!("-Dlog4j.configuration=file:{}", log4j.display())).arg("-cp").arg(lib.join("*"));
    let mut format = Command::new("java");
    format
        .args(java.get_args())
        .args(["kafka.tools.StorageTool", "format", "-t", "Y3JtLXByb2Nlc3Nvci10ZQ", "-c"])
        .arg(&config)
        .args(format_args);
    finish(&mut format).map_err(NoStart::Failed)?;
    java.args([heap, "kafka.Kafka"]).arg(&config);
    let log = log_dir().join(format!("kafka-{port}.log"));
    Ok(Prepared { name: "Kafka", address: format!("127.0.0.1:{port}"), command: java, dir, log, up })
}

fn has_brokers(address: &str) -> bool {
    // librdkafka prints an error if a broker is away, so the test asks it only when somebody listens on the port.
    TcpStream::connect(address).is_ok()
        && ClientConfig::new()
            .set("bootstrap.servers", address)
            .create::<BaseConsumer>()
            .is_ok_and(|client| client.fetch_metadata(None, Duration::from_secs(5)).is_ok_and(|m| !m.brokers().is_empty()))
}

/// `settings` is how it makes writes durable, as cassandra.yaml says it, with what else is not as usual there; `options` are
/// the JVM's.
fn prepare_cassandra(settings: &str, options: &[&str]) -> Result<Prepared, NoStart> {
    let (address, port, storage_port) = (Ipv4Addr::LOCALHOST, free_port(), free_port());
    prepare_cassandra_at(&Place { address, port, storage_port, seeds: &[address], rack: None }, settings, options)
}

/// The addresses and the place of a node of Cassandra.
struct Place<'a> {
    address: Ipv4Addr,
    /// The port for clients.
    port: u16,
    /// The port for other nodes, the same for all nodes of a cluster.
    storage_port: u16,
    /// The seeds: nodes that tell this node of all others.
    seeds: &'a [Ipv4Addr],
    /// The names of data centre and rack, or `None` for Cassandra's defaults, which a single node has.
    rack: Option<(&'a str, &'a str)>,
}

/// Makes a node of Cassandra at a chosen place.
fn prepare_cassandra_at(place: &Place<'_>, settings: &str, options: &[&str]) -> Result<Prepared, NoStart> {
    let lib = jars("cassandra-5.0.5", include_str!("servers/cassandra.pom.xml"))?;
    let Place { address, port, storage_port, .. } = *place;
    let dir = scratch("cassandra");
    let seeds: Vec<_> = place.seeds.iter().map(|seed| format!("{seed}:{storage_port}")).collect();
    let yaml = include_str!("servers/cassandra.yaml")
        .replace("@ADDRESS@", &address.to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@STORAGE_PORT@", &storage_port.to_string())
        .replace("@SEEDS@", &seeds.join(","))
        .replace("@SNITCH@", if place.rack.is_some() { "GossipingPropertyFileSnitch" } else { "SimpleSnitch" })
        .replace("@SETTINGS@", settings)
        .replace("@DATA@", &dir.join("data").display().to_string());
    let config = write(&dir, "cassandra.yaml", &yaml);

    let mut java = Command::new("java");
    java.args(SHORT_LIVED).args(["-Xms512m", "-Xmx1g"]);
    java.args(include_str!("servers/cassandra.options").split_whitespace());
    java.arg(format!("-Dcassandra.config=file:{}", config.display()));
    java.arg(format!("-Dcassandra.storagedir={}", dir.join("data").display()));
    java.args([
        "-Dcassandra-foreground=yes",
        "-Dcassandra.ring_delay_ms=1",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Djdk.attach.allowAttachSelf=true",
    ]);
    if let Some((data_centre, rack)) = place.rack {
        let rack = write(&dir, "rackdc.properties", &format!("dc={data_centre}\nrack={rack}\n"));
        java.arg(format!("-Dcassandra-rackdc.properties=file:{}", rack.display()));
    }
    // If two options contradict each other, the JVM takes the last.
    java.args(options);
    java.arg("-cp").arg(lib.join("*")).arg("org.apache.cassandra.service.CassandraDaemon").current_dir(&dir);
    let log = log_dir().join(format!("cassandra-{address}-{port}.log"));
    let up = |address: &str| TcpStream::connect(address).is_ok();
    Ok(Prepared { name: "Cassandra", address: format!("{address}:{port}"), command: java, dir, log, up })
}

/// Makes an Apicurio Registry that keeps its schemas in memory: a restart loses them.
fn prepare_apicurio() -> Result<Prepared, NoStart> {
    let (name, artifact) = APICURIO;
    needs_java_and_maven()?;
    let lib = cache(name);
    make_once(&lib, |partial| {
        // Maven leaves files in the folder in which it runs.
        let elsewhere = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let mut maven = Command::new("mvn");
        maven.current_dir(elsewhere.path());
        maven.args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack"]);
        maven.arg(format!("-Dartifact={artifact}")).arg(format!("-DoutputDirectory={}", partial.display()));
        finish(&mut maven)
    })
    .map_err(NoStart::Failed)?;
    let (dir, port) = (scratch("apicurio"), free_port());
    let mut java = Command::new("java");
    java.args(SHORT_LIVED).args(["-Xmx384m", "-Dquarkus.http.host=127.0.0.1"]);
    java.arg(format!("-Dquarkus.http.port={port}")).arg("-jar").arg(lib.join("apicurio-registry-app-2.6.13.Final-runner.jar"));
    java.current_dir(&dir);
    let log = log_dir().join(format!("apicurio-{port}.log"));
    let up = |address: &str| crate::registry::get(&format!("{}/subjects", apicurio_url(address))).0 == 200;
    Ok(Prepared { name: "Apicurio Registry", address: format!("127.0.0.1:{port}"), command: java, dir, log, up })
}

fn until_up(name: &str, process: &mut Guarded, log: &Path, up: impl Fn() -> bool) -> Result<(), NoStart> {
    const PATIENCE: Duration = Duration::from_secs(240);
    let deadline = Instant::now() + PATIENCE;
    while !up() {
        if let Some(status) = process.ended() {
            return Err(NoStart::Failed(format!("{name} ended with {status}; {}", log_tail(log))));
        }
        if Instant::now() > deadline {
            return Err(NoStart::Failed(format!("{name} is not up after {PATIENCE:?}; {}", log_tail(log))));
        }
        crate::pause();
    }
    Ok(())
}

/// Returns the folder with the jars of Kafka, its tools among them, or `None` as [`jars_or_skip`] does.
pub fn kafka_jars() -> Option<PathBuf> {
    jars_or_skip(KAFKA.0, KAFKA.1)
}

/// Returns the folder with the jars of a pom, or `None` if it can't be had here; the reason has been printed, and the test
/// returns.
pub fn jars_or_skip(name: &str, pom: &str) -> Option<PathBuf> {
    match jars(name, pom) {
        Ok(lib) => Some(lib),
        Err(NoStart::Missing(what)) => {
            skip(&what);
            None
        }
        Err(NoStart::Failed(why)) => panic!("{why}"),
    }
}

/// Returns the folder with the jars of a pom, and downloads them the first time.
fn jars(name: &str, pom: &str) -> Result<PathBuf, NoStart> {
    needs_java_and_maven()?;
    let lib = cache(name);
    make_once(&lib, |partial| {
        let poms = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let pom = write(poms.path(), "pom.xml", pom);
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(pom);
        maven.arg(format!("-DoutputDirectory={}", partial.display()));
        finish(&mut maven)
    })
    .map_err(NoStart::Failed)?;
    Ok(lib)
}

fn needs_java_and_maven() -> Result<(), NoStart> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let tools = [("java", "-version", "openjdk-17-jdk-headless"), ("mvn", "-version", "maven")];
        let is_missing = |tool: &str, argument: &str| Command::new(tool).arg(argument).output().is_err();
        let (tool, _, package) = tools.into_iter().find(|(tool, argument, _)| is_missing(tool, argument))?;
        Some(format!("{tool} is not installed (Debian: apt-get install {package})"))
    });
    missing.clone().map_or(Ok(()), |missing| Err(NoStart::Missing(missing)))
}

/// A directory for a server's configuration and data, removed by its watchdog.
fn scratch(name: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("crm-processor-{name}-")).tempdir().expect("there is room for a folder").keep()
}

fn write(dir: &Path, name: &str, contents: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, contents).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    path
}
