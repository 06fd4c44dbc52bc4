//! Checks that personal data is only in the records and in the store. No log, metric, trace, probe or error text holds any value
//! that a CRM has sent: no name, external id or key, and no byte of a record that is not a command. All cases run with values
//! that bear a mark, and the test searches everything that operators see for the mark.

use crate::collector::{Collector, hexadecimal};
use crate::crm::{Draft, Entity, Kind, create, custom_name, json_lines, rename, segment, state, unique};
use crate::gate::Gate;
use crate::gateway::access::{Key, taking_tokens};
use crate::gateway::client::Gateway;
use crate::inbox::Record;
use crate::world::{LARGEST_RECORD, Processor, World};
use crate::{runtime, servers, topics};
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use toml::{Table, Value};
use uuid::Uuid;

/// The mark: it is in each value that the CRM sends, and in nothing else.
const MARK: &str = "Kanarie";
/// The largest record that some topics take for a while.
const SMALL: usize = 8_000;

/// Returns a unique value with the mark.
fn marked(what: &str) -> String {
    unique(&format!("{MARK}{what}"))
}

/// The texts that operators see, with the places where they see them.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// Adds the error texts of a reply. Its other fields are the CRM's own.
    fn add_reply(&mut self, reply: &Record) {
        self.add("the errors of a reply", format!("{} {}", reply.body["errors"], reply.body["statusMessage"]));
    }

    /// Adds the headers that the processor gave to a dead letter.
    fn add_dead_letter(&mut self, record: &Record) {
        for (name, value) in record.headers.iter().filter(|(name, _)| name.starts_with("__connect.errors.")) {
            self.add(&format!("{name} of a dead letter"), String::from_utf8_lossy(value.as_deref().unwrap_or_default()));
        }
    }

    /// Returns each line that holds the mark, as text or as hexadecimal or decimal bytes.
    fn leaks(&self) -> Vec<String> {
        let numbers = MARK.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(", ");
        let signs = [MARK.to_lowercase(), numbers, hexadecimal(MARK.as_bytes())];
        let lines = self.0.iter().flat_map(|(place, text)| text.lines().map(move |line| (place, line)));
        let leaks = lines.filter(|(_, line)| signs.iter().any(|sign| line.to_lowercase().contains(sign.as_str())));
        leaks.map(|(place, line)| format!("{place}: {line}")).collect()
    }
}

#[test]
fn the_search_finds_the_mark_in_every_form() {
    for leak in
        ["the name is Kanarie-7", "KANARIE", "\"kanarie\"", "Some([1, 75, 97, 110, 97, 114, 105, 101, 45])", "0x4B616e61726965"]
    {
        let mut seen = Seen::default();
        seen.add("a log", format!("fine\n{leak}\nfine"));
        assert_eq!(seen.leaks(), [format!("a log: {leak}")]);
    }
    let mut seen = Seen::default();
    seen.add("a log", "a canary, 75, 97, 110");
    assert_eq!(seen.leaks(), [""; 0]);
}

/// An installation whose entities, commands and files bear the mark.
struct Cage {
    world: World,
    gate: Gate,
    collector: Collector,
    seen: Seen,
    customer: Entity,
    deactivated: Entity,
    account: Entity,
    other_account: Entity,
    subscriber: Entity,
}

impl Cage {
    fn set_up() -> Option<Self> {
        let gate = Gate::before(servers::cassandra()?);
        let collector = Collector::start();
        let adjust = |config: &mut Table| {
            let store = config["store"].as_table_mut().expect("is a table");
            store.insert("contact_points".into(), vec![gate.address()].into());
            let section = |key: &str, value: &str| Value::Table(Table::from_iter([(key.to_owned(), value.into())]));
            config.insert("log".into(), section("format", "json"));
            config.insert("telemetry".into(), section("otlp_endpoint", &collector.url));
        };
        let world = World::set_up("cage", adjust)?;
        let entity = |kind, state| Entity { external_id: marked("Id"), ..Entity::new(kind, state) };
        Some(Self {
            customer: entity(Kind::Customer, "ACTIVE"),
            deactivated: entity(Kind::Customer, "DEACTIVATED"),
            account: entity(Kind::Account, "ACTIVE"),
            other_account: entity(Kind::Account, "ACTIVE"),
            subscriber: entity(Kind::Subscriber, "ACTIVE"),
            seen: Seen::default(),
            world,
            gate,
            collector,
        })
    }

    /// Runs a subcommand and keeps its standard error.
    fn run(&mut self, subcommand: &str, args: &[&str], code: i32) -> String {
        let finished = self.world.cli(subcommand, args).exits(code);
        // The last line names the arguments: the test adds it.
        let said: Vec<_> = finished.stderr.lines().filter(|line| !line.starts_with("(crm-processor ")).collect();
        self.seen.add(&format!("the standard error of {subcommand}"), said.join("\n"));
        finished.stdout
    }

    /// Imports good lines, and bad lines of each kind.
    fn import(&mut self) {
        let mut lines: Vec<Json> = Vec::new();
        for entity in [&self.customer, &self.deactivated, &self.account, &self.other_account, &self.subscriber] {
            let mut line = entity.line();
            line["customName"] = marked("Name").into();
            lines.push(line);
        }
        let stranger = || Entity { external_id: marked("Id"), ..Entity::new(Kind::Customer, "ACTIVE") };
        let with = |mut line: Json, field: &str, value: &str| {
            line[field] = value.into();
            line
        };
        lines.extend([
            with(stranger().line(), "customName", &format!("{}\u{7}", marked("Name"))),
            with(stranger().line(), "customerSegment", &marked("Segment")),
            with(stranger().line(), "state", &marked("State")),
            with(stranger().line(), "refId", &marked("Ref")),
            with(stranger().line(), "type", &marked("Type")),
            with(stranger().line(), "externalId", &format!(" {}", marked("Id"))),
            // These lines contradict entities that exist.
            with(self.customer.line(), "externalId", &marked("Id")),
            with(stranger().line(), "externalId", &self.customer.external_id),
        ]);
        let text = format!("{}{{\"customName\": \"{}\n\"{}\"\n", json_lines(&lines), marked("Name"), marked("Name"));
        let file = self.world.dir().join("marked.jsonl");
        std::fs::write(&file, text).expect("the folder can be written to");
        let said = self.run("import", &[&file.display().to_string()], 1);
        assert!(said.contains("5 created") && said.contains("10 findings"), "{said}");
    }

    /// Sends commands for each kind of answer.
    fn commands(&self) -> Vec<Draft> {
        let (customer, account) = (self.customer.by_external_id(), self.account.by_ref_id());
        let (request, name) = (unique("r"), marked("Name"));
        let named = |name: &str| custom_name(&unique("r"), &customer, name);
        let renamed = |id: &str| rename(Kind::Account, &unique("r"), &account, id);
        let good = custom_name("r", &customer, &name).value().expect("has a value");
        let created = |kind, external_id: &str, superior: &Json, reason: &str| {
            let mut creation = create(kind, &unique("r"), external_id, superior);
            creation.body["customName"] = marked("Name").into();
            creation.body["stateReason"] = reason.into();
            creation
        };
        let drafts = vec![
            // A change, a no-op, a duplicate, and the request id with other contents.
            custom_name(&request, &customer, &name),
            named(&name),
            custom_name(&request, &customer, &name),
            custom_name(&request, &customer, &marked("Name")),
            segment(&unique("r"), &customer, "ENTERPRISE"),
            renamed(&marked("Id")),
            rename(Kind::Subscriber, &unique("r"), &self.subscriber.by_external_id(), &marked("Id")),
            state(Kind::Account, &unique("r"), &account, "SUSPENDED", marked("Reason")),
            created(Kind::Customer, &marked("Id"), &Json::Null, &marked("Reason")),
            created(Kind::Account, &marked("Id"), &customer, &marked("Reason")),
            // Who asks, well-formed or not.
            named(&marked("Name")).header("crm-actor", marked("Actor")),
            named(&marked("Name")).header("crm-actor", format!(" {}", marked("Actor"))),
            // Bugs, before and after the outcome is stored.
            custom_name(&unique("early"), &customer, &marked("Name")),
            rename(Kind::Account, &unique("late"), &account, &marked("Id")),
            // Commands that are refused for their own contents.
            Draft::new("UpdateCustomerCustomName", json!({"customName": marked("Name"), "customer": customer})),
            named(&format!("{}\u{7}", marked("Name"))),
            named(&marked("Name").repeat(20)),
            custom_name(&format!("{}\u{7}", marked("Request")), &customer, &name),
            custom_name(&marked("Request").repeat(200), &customer, &name),
            custom_name(&unique("r"), &json!({"refId": marked("Ref")}), &name),
            custom_name(&unique("r"), &json!({"refId": self.customer.ref_id, "externalId": marked("Id")}), &name),
            named(&name).expecting(-1),
            segment(&unique("r"), &customer, &marked("Segment")),
            state(Kind::Account, &unique("r"), &account, &marked("State"), Json::Null),
            state(Kind::Account, &unique("r"), &account, "ACTIVE", format!(" {}", marked("Reason"))),
            renamed(&format!(" {}", marked("Id"))),
            created(
                Kind::Account,
                &format!(" {}", marked("Id")),
                &json!({"refId": marked("Ref")}),
                &format!(" {}", marked("Reason")),
            ),
            // Commands that are refused for the state of the entity or of others.
            custom_name(&unique("r"), &json!({"externalId": marked("Id")}), &name),
            custom_name(&unique("r"), &self.deactivated.by_external_id(), &name),
            named(&marked("Name")).expecting(77),
            renamed(&self.other_account.external_id),
            created(Kind::Account, &self.other_account.external_id, &customer, "x"),
            created(Kind::Account, &marked("Id"), &json!({"externalId": marked("Id")}), "x"),
            created(Kind::Account, &marked("Id"), &self.deactivated.by_external_id(), "x"),
            // Unreadable records.
            Draft::raw(None),
            Draft::raw(Some(marked("Value").into_bytes())),
            Draft::raw(Some([b"\0\x3b\x9a\xc9\xff", marked("Value").as_bytes()].concat())),
            Draft::raw(Some(good[..good.len() - 4].to_vec())),
            Draft::raw(Some([&good[..], marked("Value").as_bytes()].concat())),
            Draft::raw(Some(marked("Value").repeat(60_000).into_bytes())),
            // Commands with a reply topic of their own.
            named(&marked("Name")).header("kafka_replyTopic", marked("Topic")),
            named(&marked("Name")).header("kafka_replyTopic", &self.world.missing_replies),
            named(&marked("Name")).header("kafka_replyPartition", marked("Partition")),
        ];
        drafts.into_iter().map(bearing).collect()
    }

    /// Sends commands and keeps the parts of the replies that operators see.
    fn ask_all(&mut self, drafts: &[Draft]) -> Vec<Arc<Record>> {
        let replies = self.world.ask_all(drafts);
        for reply in &replies {
            self.seen.add_reply(reply);
        }
        replies
    }

    fn name(&self) -> Draft {
        bearing(custom_name(&unique("r"), &self.customer.by_external_id(), &marked("Name")))
    }

    /// The broker refuses a reply, which goes elsewhere, and a dead letter, which is held.
    fn outputs_are_refused(&mut self, processor: &Processor) {
        topics::limit(&self.world.other_replies, SMALL);
        topics::limit(&self.world.dlq, SMALL);
        let redirected = self.name().key(marked("Key").repeat(1_000)).header("kafka_replyTopic", &self.world.other_replies);
        let large = bearing(Draft::raw(Some(marked("Value").repeat(1_000).into_bytes())));
        self.world.send(&large);
        self.ask_all(&[redirected]);
        processor.until_metric("crm_records_held", 1);
        self.look_at(processor);
        topics::limit(&self.world.dlq, LARGEST_RECORD);
        processor.until_metric("crm_records_held", 0);
    }

    /// Lets the store be away for a while.
    fn the_store_is_away(&mut self, processor: &Processor) {
        self.gate.shut();
        let draft = self.name().header("correlation-id", "while away");
        self.world.send(&draft);
        processor.until_metric("crm_store_up", 0);
        self.look_at(processor);
        self.run("show", &["customer", &self.customer.external_id.clone()], 1);
        self.gate.open();
        let reply = self.world.inbox.first("a reply", |r| r.text("correlation-id") == Some("while away"));
        self.seen.add_reply(&reply);
    }

    /// Starts a gateway whose tokens bear the mark, and the key that signs them.
    fn gateway(&self) -> (Gateway, Key) {
        let key = Key::new("kid");
        let file = self.world.dir().join("keys.json");
        std::fs::write(&file, key.set()).expect("the folder can be written to");
        let gateway = Gateway::start(&self.world, &taking_tokens(("CRM__GATEWAY__AUTH__JWKS_FILE", &file.display().to_string())));
        (gateway, key)
    }

    /// Sends over HTTP what is answered, what is refused, and what is no request of ours, all with marks.
    fn ask_over_http(&mut self, gateway: &Gateway, key: &Key) {
        let token = key.bearer(&marked("Actor"), "crm.read crm.write", 3600);
        let trace = || format!("00-{}-00f067aa0ba902b7-01", Uuid::new_v4().simple());
        let with = |token: &str, method: &Method, path: &str, body: String| {
            let (correlation, state, trace) = (marked("Correlation"), format!("crm={}", marked("State")), trace());
            let headers = [
                ("authorization", token),
                ("correlation-id", &*correlation),
                ("traceparent", &*trace),
                ("tracestate", &*state),
                ("x-other", &*correlation),
            ];
            runtime().block_on(gateway.send(method, path, &headers, body)).status
        };
        let post = |path: &str, body: String| with(&token, &Method::POST, path, body);
        let get = |path: &str| with(&token, &Method::GET, path, String::new());
        let named = |reference: Json, name: &str| {
            json!({"requestId": unique("r"), "customer": reference, "customName": name}).to_string()
        };
        let naming = "/v1/updateCustomerCustomName";
        let (customer, stranger) = (self.customer.by_external_id(), json!({"externalId": marked("Id")}));
        let unknown = json!({"requestId": unique("r"), marked("Field"): marked("Value")}).to_string();
        let mut got = vec![
            post(naming, named(customer.clone(), &marked("Name"))),
            post(naming, named(stranger, &marked("Name"))),
            post(naming, named(self.deactivated.by_external_id(), &marked("Name"))),
            post(naming, named(customer, &marked("Name").repeat(20))),
            post(naming, named(json!({"refId": marked("Ref")}), &marked("Name"))),
            post(naming, unknown),
            post(naming, marked("Value")),
            post(naming, marked("Value").repeat(10_000)),
            post(&format!("/v1/{}", marked("UseCase")), "{}".to_owned()),
            with(&format!("Bearer {}", marked("Token")), &Method::POST, naming, "{}".to_owned()),
            with(&marked("Token"), &Method::POST, naming, "{}".to_owned()),
            with(&key.bearer(&marked("Actor"), "crm.read", -3600), &Method::POST, naming, "{}".to_owned()),
            with(&key.bearer(&marked("Actor"), &marked("Scope"), 3600), &Method::POST, naming, "{}".to_owned()),
        ];
        for path in [
            format!("/v1/customers?externalId={}", self.customer.external_id),
            format!("/v1/customers?externalId={}", marked("Id")),
            format!("/v1/customers/{}", marked("Ref")),
            format!("/v1/customers/requests/{}?externalId={}", marked("Request"), marked("Id")),
        ] {
            got.push(get(&path));
        }
        self.gate.shut();
        got.push(get(&format!("/v1/customers?externalId={}", self.customer.external_id)));
        self.look_at_gateway(gateway);
        self.gate.open();
        assert_eq!(got, [200, 400, 400, 400, 400, 400, 400, 413, 404, 401, 401, 401, 403, 200, 404, 400, 404, 503]);
        self.look_at_gateway(gateway);
        gateway.terminate();
        assert_eq!(gateway.wait(), 0, "{}", gateway.log());
        let log = gateway.log();
        assert!(log.contains("the store can't be read for a client"), "{log}");
        self.seen.add("the gateway's log", log);
    }

    fn look_at_gateway(&mut self, gateway: &Gateway) {
        for path in ["/metrics", "/readyz", "/livez", "/log-level"] {
            self.seen.add(&format!("the gateway's {path}"), gateway.admin(path));
        }
    }

    fn look_at(&mut self, processor: &Processor) {
        for path in ["/metrics", "/readyz", "/livez", "/log-level"] {
            self.seen.add(path, processor.get(path).1);
        }
    }
}

/// Makes a command in a sampled trace, with marks wherever a record may bear one.
fn bearing(draft: Draft) -> Draft {
    let draft = draft.key(marked("Key")).header("user", marked("User")).header("tracestate", format!("crm={}", marked("State")));
    draft.header("traceparent", format!("00-{}-00f067aa0ba902b7-01", Uuid::new_v4().simple()))
}

#[test]
fn nothing_that_operators_see_holds_what_a_crm_has_sent() {
    let Some(mut cage) = Cage::set_up() else { return };
    cage.import();
    let processor = cage.world.start_with(&unique("slot"), &[("FAILPOINTS", "deciding=return(early);decided=return(late)")]);
    processor.until_ready();

    let drafts = cage.commands();
    let replies = cage.ask_all(&drafts);
    // Its correlation header is invalid, so there is no reply.
    let silent = bearing(Draft::raw(Some(marked("Value").into_bytes()))).header("correlation-id", marked("C").repeat(100));
    cage.world.send(&silent);
    cage.outputs_are_refused(&processor);
    cage.the_store_is_away(&processor);
    let (gateway, key) = cage.gateway();
    cage.ask_over_http(&gateway, &key);
    cage.look_at(&processor);
    // `check` exits with 1, because a reply topic is missing.
    let checked = cage.run("check", &[], 1);
    cage.seen.add("the output of check", checked);
    cage.run("show", &["customer", &marked("Id")], 1);
    let (customer, name) = (cage.customer.external_id.clone(), marked("Name"));
    cage.run("send", &["updateCustomerCustomName", "--external-id", &customer, "--value", &name, "--expected-version", "77"], 1);
    let shown = cage.run("show", &["customer", &customer], 0);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    // All cases happened: each code was answered, dead letters were written, warnings logged, spans collected.
    let codes: std::collections::BTreeSet<_> =
        replies.iter().filter_map(|r| Some(r.body["errors"][0]["code"].as_str()?.to_owned())).collect();
    assert_eq!(codes.len(), 10, "{codes:?}");
    let dead = cage.world.inbox.all(|r| r.topic == cage.world.dlq);
    assert!(dead.len() >= 8, "{dead:?}");
    for record in &dead {
        cage.seen.add_dead_letter(record);
    }
    let log = processor.log();
    for said in ["a bug: a panic", "because of a bug", "does not answer", "the broker refuses an output", "not on the allow-list"]
    {
        assert!(log.contains(said), "{said:?} is not in {log}");
    }
    cage.seen.add("the log", log);
    let spans = cage.collector.spans();
    assert!(spans.iter().filter(|span| span.name == "command").count() > drafts.len(), "{spans:#?}");
    assert!(spans.iter().filter(|span| span.name == "request").count() > 10, "{spans:#?}");
    for span in spans {
        cage.seen.add("a span", span.text);
    }

    let leaks = cage.seen.leaks();
    assert!(leaks.is_empty(), "{} leaks: {leaks:#?}", leaks.len());

    // The search finds the mark where it belongs.
    cage.seen.add("show", shown);
    for reply in &replies {
        cage.seen.add("a reply", reply.body.to_string());
    }
    assert!(cage.seen.leaks().len() > 10, "{:#?}", cage.seen.leaks());
}
