//! The administrator of the secured servers, who follows the documents with Kafka's own tools and with CQL.

use super::document::statements;
use crate::{runtime, servers};
use openssl::ssl::{SslContextBuilder, SslMethod, SslVerifyMode};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The administrator, who has all rights.
pub struct Administrator {
    tools: Tools,
    /// The options for which ADMIN stands in the documents.
    admin: Vec<String>,
    session: Session,
}

impl Administrator {
    /// `ca` is the authority of both servers.
    pub fn new(kafka: &str, cassandra: &str, ca: &Path, folder: &Path) -> Option<Self> {
        let config = folder.join("admin.properties");
        let jaas = format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{}\" password=\"{}\";",
            servers::secured::ADMIN,
            servers::secured::ADMIN_PASSWORD
        );
        let properties = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={jaas}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            ca.display()
        );
        std::fs::write(&config, properties).expect("there is room");
        let admin = ["--bootstrap-server", kafka, "--command-config"].map(ToOwned::to_owned).into();
        let admin = [admin, vec![config.display().to_string()]].concat();
        Some(Self { tools: Tools::start(folder)?, admin, session: session(cassandra, ca) })
    }

    /// Makes a user with a password in Kafka.
    pub fn make_kafka_user(&mut self, user: &str, password: &str) {
        let line = statements("security.md", "Least rights");
        let line = line.kafka.first().expect("tells how a user is made");
        self.kafka(&line.replace("crm-processor", user).replace("PASSWORD", password));
    }

    /// Runs one of Kafka's tools.
    pub fn kafka(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
        let at = words.iter().position(|word| word == "ADMIN").unwrap_or_else(|| panic!("no ADMIN in {line}"));
        let words = [&words[..at], &self.admin, &words[at + 1..]].concat();
        self.tools.run(&words);
    }

    /// Executes CQL.
    pub fn cql(&self, statement: &str) {
        let done = runtime().block_on(self.session.query_unpaged(statement, ()));
        done.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
}

/// Connects as the superuser that each Cassandra has at first, and waits until it exists.
fn session(cassandra: &str, ca: &Path) -> Session {
    let mut tls = SslContextBuilder::new(SslMethod::tls_client()).expect("there is memory");
    tls.set_ca_file(ca).unwrap_or_else(|e| panic!("{}: {e}", ca.display()));
    tls.set_verify(SslVerifyMode::PEER);
    let tls = tls.build();
    let deadline = std::time::Instant::now() + servers::secured::PATIENCE;
    loop {
        let builder = SessionBuilder::new().known_node(cassandra).user("cassandra", "cassandra").tls_context(Some(tls.clone()));
        match runtime().block_on(builder.build()) {
            Ok(session) => return session,
            Err(error) => assert!(std::time::Instant::now() < deadline, "no session with {cassandra}: {error}"),
        }
        crate::pause();
    }
}

/// Kafka's command line tools, in a JVM that ends with the test.
struct Tools {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Tools {
    fn start(folder: &Path) -> Option<Self> {
        let lib = servers::kafka_jars()?;
        let source = folder.join("KafkaTools.java");
        std::fs::write(&source, include_str!("KafkaTools.java")).expect("there is room");
        let log4j = folder.join("tools-log4j.properties");
        std::fs::write(&log4j, "log4j.rootLogger=OFF\n").expect("there is room");
        let mut java = Command::new("java");
        java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m"]);
        java.arg(format!("-Dlog4j.configuration=file:{}", log4j.display())).arg("-cp").arg(lib.join("*")).arg(source);
        java.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = java.spawn().expect("java is there, or there would be no server");
        let (stdin, stdout) = (process.stdin.take().expect("is piped"), process.stdout.take().expect("is piped"));
        Some(Self { process, stdin, stdout: BufReader::new(stdout) })
    }

    fn run(&mut self, words: &[String]) {
        writeln!(self.stdin, "{}", words.join("\t")).expect("the tools run");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).expect("the tools talk UTF-8") > 0, "the tools ended: {said}");
            if let Some(status) = line.strip_prefix("done ") {
                assert_eq!(status.trim(), "0", "{words:?} says\n{said}");
                return;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
