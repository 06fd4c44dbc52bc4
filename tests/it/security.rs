//! Tests an installation in which everything is locked: Kafka, the database and the registry want TLS and passwords, and nobody
//! has more rights than `docs/security.md` says. The test reads the administrator's statements from that page and from the
//! runbook.
//!
//! It is one test, because it needs servers of its own, and each part builds on the rights that the one before has granted or
//! taken away.

mod administrator;
pub mod certificates;
pub mod document;
mod oidc;
mod registry;
mod tokens;

use crate::crm::{Entity, Kind, json_lines, unique};
use crate::servers::own::OwnServer;
use crate::servers::{free_port, log_dir};
use crate::world::{Finished, PATIENT_STORE, Processor, run_cli_with};
use administrator::Administrator;
use certificates::{Authority, STORE_PASSWORD};
use document::statements;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use registry::SecuredRegistry;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The text that all secrets contain, so that the test can search for it.
const SECRET: &str = "canary";

/// How long a record may take to become a dead letter.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user: its names in the documents, or `None` where it does not log in.
struct User {
    kafka: Option<&'static str>,
    store: Option<&'static str>,
}

const SETUP: User = User { kafka: Some("crm-setup"), store: Some("crm_setup") };
const PROCESSOR: User = User { kafka: Some("crm-processor"), store: Some("crm_processor") };
/// The user after the rotation.
const SUCCESSOR: User = User { kafka: Some("crm-processor-2"), store: Some("crm_processor_2") };
const IMPORT: User = User { kafka: None, store: Some("crm_import") };
const SHOW: User = User { kafka: None, store: Some("crm_show") };
const ERASE: User = User { kafka: None, store: Some("crm_erase") };
const CRM: User = User { kafka: Some("crm"), store: None };
const DWH: User = User { kafka: Some("dwh"), store: None };
const OPERATOR: User = User { kafka: Some("crm-operator"), store: Some("crm_operator") };

#[test]
fn a_locked_installation_works_with_the_documented_rights_alone_and_check_names_what_is_missing() {
    let Some(mut place) = Place::start() else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    place.set_up_by_the_administrator();
    place.import(&customer);
    let backlog = place.a_backlog_for_one_entity_is_written();
    let processor = place.run(&PROCESSOR, "slot-0");
    place.the_backlog_is_worked_off(&backlog);
    place.commands_are_answered(&customer, "1");
    place.others_see_what_they_may(&customer);
    place.the_operator_sends_dead_letters_again_and_publishes_snapshots(&customer);
    place.a_former_name_is_erased(&customer);
    place.check_is_content_and_shows_no_secrets(&PROCESSOR);
    place.the_systems_authorities_are_trusted_by_default();
    place.check_names_wrong_passwords();
    place.check_names_authorities_that_are_not_trusted();
    place.check_names_each_right_that_is_missing();
    place.check_says_what_it_may_not_see_and_finds_nothing_wrong_with_that();
    let second = place.rotate_users(&processor, &customer);
    let third = place.rotate_certificates(&second, &customer);
    for processor in [processor, second, third] {
        let log = processor.log();
        assert!(log.contains("starting") && !log.contains(SECRET), "{log}");
    }
}

/// The secured servers, and their administrator.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
    registry: SecuredRegistry,
    admin: Administrator,
    kafka: OwnServer,
    cassandra: OwnServer,
}

impl Place {
    /// Starts the servers. Returns `None` if they can't be had here.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is room");
        let authority = Authority::new("the authority");
        std::fs::write(folder.path().join("authorities.pem"), authority.pem()).expect("there is room");
        let identity = authority.identity();
        let store = identity.key_store(folder.path());
        let (kafka, cassandra) = std::thread::scope(|scope| {
            let cassandra = scope.spawn(|| OwnServer::secured_cassandra(&store, STORE_PASSWORD));
            (OwnServer::secured_kafka(&store, STORE_PASSWORD), cassandra.join().expect("it starts or is skipped"))
        });
        let (kafka, cassandra) = (kafka?, cassandra?);
        let ca = folder.path().join("authorities.pem");
        let admin = Administrator::new(kafka.address(), cassandra.address(), &ca, folder.path())?;
        Some(Self { registry: SecuredRegistry::start(&identity), folder, authority, admin, kafka, cassandra })
    }

    /// Writes a file in the folder, and returns its path.
    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// Writes the configuration of a user; its secrets are in files.
    fn config(&self, user: &User) -> PathBuf {
        let secret = |name: &str| format!("file:{}", self.file(name, password(name) + "\n").display());
        let (kafka, store) = (user.kafka.unwrap_or("nobody"), user.store.unwrap_or("nobody"));
        let ca = self.folder.path().join("authorities.pem").display().to_string();
        let security = format!(
            "\"security.protocol\" = \"SASL_SSL\"\n\"ssl.ca.location\" = \"{ca}\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
             \"sasl.username\" = \"{kafka}\"\n\"sasl.password\" = \"{}\"\n",
            secret(kafka)
        );
        let toml = format!(
            "[kafka]\nbootstrap_servers = \"{}\"\n[kafka.consumer]\n{security}[kafka.producer]\n{security}\
             [registry]\nurl = \"{}\"\nca_file = \"{ca}\"\nuser = \"{kafka}\"\npassword = \"{}\"\n\
             [store]\ncontact_points = [\"{}\"]\nuser = \"{store}\"\npassword = \"{}\"\n\
             replication = {{ class = \"NetworkTopologyStrategy\", replication_factor = 1 }}\n\
             tls = {{ enabled = true, ca_file = \"{ca}\" }}\n",
            self.kafka.address(),
            self.registry.url(),
            secret(kafka),
            self.cassandra.address(),
            secret(store),
        );
        self.file(&format!("{kafka}-{store}.toml"), toml)
    }

    fn cli(&self, user: &User, subcommand: &str, args: &[&str], environment: &[(&str, &str)]) -> Finished {
        let config = self.config(user).display().to_string();
        let words: Vec<_> = subcommand.split(' ').collect();
        let finished =
            run_cli_with(&[&words, &["--config", config.as_str()][..], args].concat(), &[&[PATIENT_STORE], environment].concat());
        assert!(!finished.to_string().contains(SECRET), "shows a secret: {finished}");
        finished
    }

    /// Makes the users, grants the rights of `setup`, runs `setup`, and grants everybody else's rights: tables must exist before
    /// rights on them can be granted.
    fn set_up_by_the_administrator(&mut self) {
        for user in [SETUP, PROCESSOR, CRM, DWH, OPERATOR] {
            self.make_user(&user);
        }
        self.grant("setup");
        self.cli(&SETUP, "setup", &["--partitions", "3"], &[]).succeeded();
        for section in ["run", "check", "import", "show", "send", "watch", "dlq", "snapshot", "erase"] {
            self.grant(section);
        }
    }

    /// Makes a user in Kafka and for the registry. The database's users are made together with their rights.
    fn make_user(&mut self, user: &User) {
        let name = user.kafka.expect("has one");
        self.admin.make_kafka_user(name, &password(name));
        self.registry.add_user(name, &password(name));
    }

    /// Executes the statements of a section of docs/security.md.
    fn grant(&mut self, section: &str) {
        let statements = statements("security.md", section);
        assert!(!statements.kafka.is_empty() || !statements.cql.is_empty(), "{section} grants nothing");
        for line in &statements.kafka {
            self.admin.kafka(line);
        }
        for statement in &statements.cql {
            self.admin.cql(&with_password(statement));
        }
    }

    fn import(&self, entity: &Entity) {
        let mut line = entity.line();
        line["customName"] = json!("0");
        let lines = self.file("entities.jsonl", json_lines(&[line]));
        self.cli(&IMPORT, "import", &[&lines.display().to_string()], &[]).succeeded();
    }

    fn run(&self, user: &User, slot: &str) -> Processor {
        let log = log_dir().join(format!("{}.log", unique("secured")));
        let processor = Processor::start(&self.config(user), &log, free_port(), slot, &[]);
        processor.until_ready();
        processor
    }

    /// Sends, while no processor runs, so many commands that the first read would ask for more request ids than the database
    /// takes in one list, if it asked for all.
    fn a_backlog_for_one_entity_is_written(&self) -> PathBuf {
        let customer = Entity::new(Kind::Customer, "ACTIVE");
        self.import(&customer);
        let command = |n: usize| {
            let (request_id, name) = (format!("backlog-{n}"), format!("name {n}"));
            json!({
                "useCase": "updateCustomerCustomName",
                "requestId": request_id,
                "customer": {"externalId": customer.external_id},
                "customName": name,
            })
        };
        let commands: Vec<_> = (0..300).map(command).collect();
        let backlog = self.file("backlog.jsonl", json_lines(&commands));
        let sent = self.cli(&CRM, "send", &["--file", &backlog.display().to_string(), "--timeout", "1s"], &[]);
        sent.exits(1);
        backlog
    }

    /// Checks that the backlog is worked off: its commands are sent again, and answered behind it.
    fn the_backlog_is_worked_off(&self, backlog: &Path) {
        let sent = self.cli(&CRM, "send", &["--file", &backlog.display().to_string(), "--json"], &[]).succeeded();
        assert_eq!(sent.stdout.lines().count(), 300, "{sent}");
    }

    fn commands_are_answered(&self, customer: &Entity, value: &str) {
        let args = ["updateCustomerCustomName", "--ref-id", &customer.ref_id, "--value", value, "--json"];
        let sent = self.cli(&CRM, "send", &args, &[]).succeeded();
        let reply: Json = serde_json::from_str(&sent.stdout).unwrap_or_else(|e| panic!("{e}: {sent}"));
        assert_eq!(reply["statusCode"], 200, "{sent}");
        assert!(!sent.stderr.contains("WARN"), "{sent}");
    }

    fn others_see_what_they_may(&self, customer: &Entity) {
        let shown = self.cli(&SHOW, "show", &["customer", &customer.external_id], &[]).succeeded();
        assert!(shown.stdout.contains(&customer.ref_id), "{shown}");
        let seen = self.cli(&DWH, "watch", &["transactions", "--from-beginning"], &[]).succeeded();
        assert!(seen.stdout.contains(&customer.ref_id) && !seen.stderr.contains("WARN"), "{seen}");
    }

    fn the_operator_sends_dead_letters_again_and_publishes_snapshots(&self, customer: &Entity) {
        self.send_what_is_no_command();
        let deadline = Instant::now() + PATIENCE;
        while self.cli(&OPERATOR, "dlq list", &["--json"], &[]).succeeded().stdout.is_empty() {
            assert!(Instant::now() < deadline, "no dead letter");
        }
        let resent = self.cli(&OPERATOR, "dlq resend", &["--all", "--yes", "--json"], &[]).succeeded();
        assert!(resent.stdout.contains(r#""sentAs":{"#), "{resent}");
        self.cli(&OPERATOR, "snapshot", &["customer", &customer.external_id], &[]).succeeded();
        let seen = self.cli(&DWH, "watch", &["transactions", "--from-beginning", "--json"], &[]).succeeded();
        assert!(seen.stdout.contains("crm-snapshot"), "{seen}");
    }

    /// The test erases from an outcome and from a claim, so that it writes to both tables.
    fn a_former_name_is_erased(&self, customer: &Entity) {
        let erased = self.cli(&ERASE, "erase", &["customer", &customer.external_id, "--yes"], &[]).succeeded();
        for expected in ["log: 2, 1 of them redacted", "ids: 1, 1 of them redacted"] {
            assert!(erased.stdout.contains(expected), "{erased}");
        }
    }

    /// Sends a record that is not a command, as the CRM.
    fn send_what_is_no_command(&self) {
        let (user, ca) = (CRM.kafka.expect("has one"), self.folder.path().join("authorities.pem"));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.address())
            .set("security.protocol", "SASL_SSL")
            .set("ssl.ca.location", ca.display().to_string())
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", user)
            .set("sasl.password", password(user))
            .create()
            .expect("librdkafka takes that");
        producer.send(BaseRecord::to("crm.commands").key("k").payload("no Avro")).expect("there is room");
        producer.flush(PATIENCE).expect("it is delivered");
    }

    fn check_is_content_and_shows_no_secrets(&self, user: &User) {
        let environment = [("CRM__STORE__REQUEST_TIMEOUT", "10s")];
        let checked = self.cli(user, "check", &[], &environment).succeeded();
        let line = |key: &str| checked.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{checked}"));
        assert!(line("store.request_timeout = \"10s\"").ends_with("# CRM__STORE__REQUEST_TIMEOUT"), "{checked}");
        assert!(line("store.password = file:").ends_with("# file"), "{checked}");
        assert!(line("store.keyspace = \"crm\"").ends_with("# default"), "{checked}");
        assert!(line("kafka.consumer.sasl.password = file:").ends_with("# file"), "{checked}");
    }

    /// Checks the system's authorities for the clients of the database and of the registry; librdkafka looks in places of its
    /// own.
    fn the_systems_authorities_are_trusted_by_default(&self) {
        let ca = self.folder.path().join("authorities.pem").display().to_string();
        let config = std::fs::read_to_string(self.config(&PROCESSOR)).expect("was written");
        let config = config.replace(&format!(", ca_file = \"{ca}\""), "").replace(&format!("ca_file = \"{ca}\"\n"), "");
        assert!(!config.contains("ca_file"), "{config}");
        let config = self.file("system.toml", config).display().to_string();
        run_cli_with(&["check", "--config", &config], &[("SSL_CERT_FILE", &ca)]).succeeded();
    }

    /// Checks that each finding names the server, and the keys to be mended.
    fn check_says(&self, environment: &[(&str, &str)], expected: &[&[&str]]) {
        let checked = self.cli(&PROCESSOR, "check", &[], environment).exits(1);
        for expected in expected {
            let is_it = |line: &str| line.starts_with("  !!  ") && expected.iter().all(|part| line.contains(part));
            assert!(checked.stdout.lines().any(is_it), "no finding with all of {expected:?} (by {environment:?}): {checked}");
        }
        let findings = checked.stdout.lines().filter(|line| line.starts_with("  !!  ")).count();
        assert_eq!(findings, expected.len(), "by {environment:?}: {checked}");
    }

    fn check_names_wrong_passwords(&self) {
        self.check_says(
            &[
                ("CRM__KAFKA__CONSUMER__SASL_PASSWORD", "wrong"),
                ("CRM__REGISTRY__PASSWORD", "wrong"),
                ("CRM__STORE__PASSWORD", "wrong"),
            ],
            &[
                &["kafka:", self.kafka.address(), "kafka.consumer", "SASL authentication error", "sasl.password"],
                &["registry:", &self.registry.url(), "401", "registry.password"],
                &["store:", "store.password"],
            ],
        );
        self.check_says(
            &[("CRM__KAFKA__PRODUCER__SASL_PASSWORD", "wrong")],
            &[&["rights:", "kafka.producer", "SASL authentication error", "sasl.password"]],
        );
    }

    fn check_names_authorities_that_are_not_trusted(&self) {
        let other = self.file("other.pem", Authority::new("another authority").pem()).display().to_string();
        self.check_says(
            &[
                ("CRM__KAFKA__CONSUMER__SSL_CA_LOCATION", &other),
                ("CRM__REGISTRY__CA_FILE", &other),
                ("CRM__STORE__TLS__CA_FILE", &other),
            ],
            &[
                &["kafka:", self.kafka.address(), "certificate verify failed", "ssl.ca.location"],
                &["registry:", &self.registry.url(), "certificate verify failed", "registry.ca_file"],
                &["store:", "certificate verify failed", "store.tls.ca_file"],
            ],
        );
    }

    /// Takes away one of Kafka's rights and one of the database's at a time, until each has been tried.
    fn check_names_each_right_that_is_missing(&mut self) {
        let run = statements("security.md", "run");
        let grants: Vec<_> = run.cql.iter().filter(|s| s.starts_with("GRANT")).cloned().collect();
        assert_eq!((run.kafka.len(), grants.len()), (4, 4), "as many as there are below");
        let named: [&[&[&str]]; 4] = [
            &[&["rights:", "Read", "topic crm.commands;", "--operation Read"]],
            &[&["rights:", "Read", "group crm-processor;", "--operation Read"]],
            &[
                &["rights:", "Write", "topic crm.replies;", "--operation Write"],
                &["rights:", "Write", "topic crm.transactions;", "--operation Write"],
                &["rights:", "Write", "topic crm.commands.dlq;", "--operation Write"],
            ],
            &[&["rights:", "Write", "transactional id crm-processor-", "--transactional-id", "prefixed"]],
        ];
        for ((acl, named), grant) in run.kafka.iter().zip(named).zip(&grants) {
            self.admin.kafka(&acl.replace("--add", "--remove --force"));
            self.admin.cql(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "));
            let words: Vec<_> = grant.split_whitespace().collect();
            let (right, table) = (words[1], words[4]);
            let of_store: &[&str] = &["store:", right, table, "docs/security.md"];
            self.check_says(&[], &[named, &[of_store]].concat());
            self.admin.kafka(acl);
            self.admin.cql(grant);
        }
        self.check_is_content_and_shows_no_secrets(&PROCESSOR);
    }

    /// The rights that stand behind the topics' settings in the document are optional.
    fn check_says_what_it_may_not_see_and_finds_nothing_wrong_with_that(&mut self) {
        let notes = |checked: &Finished, parts: &[&str]| {
            let is_it = |line: &str| line.starts_with("  --  ") && parts.iter().all(|part| line.contains(part));
            checked.stdout.lines().any(is_it)
        };
        let seen = self.cli(&PROCESSOR, "check", &[], &[]).succeeded();
        for topic in ["__consumer_offsets", "__transaction_state"] {
            let told = format!("  ok  topic: {topic} is there, with");
            assert!(seen.stdout.contains(&told), "{topic}: {seen}");
        }
        assert!(seen.stdout.contains("commitlog_sync is batch"), "{seen}");
        let check = statements("security.md", "check");
        let (kafka, cql) = (&check.kafka[1..], &check.cql);
        assert_eq!((kafka.len(), cql.len()), (2, 1), "as many as are taken away here");
        for acl in kafka {
            self.admin.kafka(&acl.replace("--add", "--remove --force"));
        }
        for grant in cql {
            self.admin.cql(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "));
        }
        let checked = self.cli(&PROCESSOR, "check", &[], &[]).succeeded();
        for parts in [
            &["__consumer_offsets", "can't be seen", "Describe and DescribeConfigs"],
            &["__transaction_state", "can't be seen", "Describe and DescribeConfigs"],
            &["commit log", "is not known", "SELECT on table system_views.settings"],
        ] {
            assert!(notes(&checked, parts), "no note with {parts:?}: {checked}");
        }
        for acl in kafka {
            self.admin.kafka(acl);
        }
        for grant in cql {
            self.admin.cql(grant);
        }
    }

    /// Rotates the users as the runbook says: makes the new one beside the old, restarts the process with the new one, takes the
    /// old one away.
    fn rotate_users(&mut self, processor: &Processor, customer: &Entity) -> Processor {
        let renamed =
            |s: &String| s.replace("User:crm-processor", "User:crm-processor-2").replace("crm_processor", "crm_processor_2");
        self.make_user(&SUCCESSOR);
        for section in ["run", "check"] {
            let statements = statements("security.md", section);
            for line in statements.kafka.iter().map(renamed) {
                self.admin.kafka(&line);
            }
            for statement in statements.cql.iter().map(renamed) {
                self.admin.cql(&with_password(&statement));
            }
        }
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0);
        let successor = self.run(&SUCCESSOR, "slot-0");

        let run = statements("security.md", "run");
        for acl in &run.kafka {
            self.admin.kafka(&acl.replace("--add", "--remove --force"));
        }
        let away = statements("runbook.md", "Rotating credentials");
        assert!(!away.kafka.is_empty() && !away.cql.is_empty(), "the runbook says how");
        for line in away.kafka.iter().filter(|line| line.contains("users")) {
            self.admin.kafka(line);
        }
        for statement in &away.cql {
            self.admin.cql(statement);
        }
        self.registry.remove_user("crm-processor");

        self.commands_are_answered(customer, "after the rotation of users");
        self.check_is_content_and_shows_no_secrets(&SUCCESSOR);
        self.cli(&PROCESSOR, "check", &[], &[]).exits(1);
        successor
    }

    /// Rotates the certificates as the runbook says: adds the new authority to the file, gives the servers new certificates,
    /// takes the old authority out of the file.
    fn rotate_certificates(&mut self, processor: &Processor, customer: &Entity) -> Processor {
        let new = Authority::new("the new authority");
        self.file("authorities.pem", [self.authority.pem(), new.pem()].concat());
        processor.signal("TERM");
        assert_eq!(processor.wait(), 0);
        let successor = self.run(&SUCCESSOR, "slot-0");
        let identity = new.identity();
        let folder = self.folder.path().join("new");
        std::fs::create_dir(&folder).expect("there is room");
        let store = identity.key_store(&folder);
        let changes = statements("runbook.md", "Rotating credentials").kafka;
        assert!(changes.iter().any(|line| line.contains("brokers")), "the runbook says how");
        for line in changes.iter().filter(|line| line.contains("brokers")) {
            let line = line.replace("NEW.p12", &store.display().to_string()).replace("BROKER", "1");
            self.admin.kafka(&line.replace("PASSWORD", STORE_PASSWORD));
        }
        self.registry.change_certificate(&identity);
        std::fs::copy(&store, self.folder.path().join("server.p12")).expect("there is room");
        self.cassandra.restart_by("TERM");

        self.file("authorities.pem", new.pem());
        self.check_is_content_and_shows_no_secrets(&SUCCESSOR);
        self.commands_are_answered(customer, "after the rotation of certificates");
        successor
    }
}

fn password(user: &str) -> String {
    format!("{SECRET}-{user}")
}

/// Returns the statement that makes a role, with the role's password.
fn with_password(statement: &str) -> String {
    let role = statement.strip_prefix("CREATE ROLE ").and_then(|rest| rest.split_whitespace().next());
    role.map_or_else(
        || statement.to_owned(),
        |role| statement.replace("PASSWORD = 'PASSWORD'", &format!("PASSWORD = '{}'", password(role))),
    )
}
