//! Tests `dlq`: what an operator sees of dead letters, and that each is sent again only once, however often and by however many
//! operators `dlq resend` is called.

use crate::crm::{Draft, Entity, Kind, custom_name, unique};
use crate::guarded::Guarded;
use crate::inbox::{self, Inbox, Record};
use crate::world::{Finished, OUTPUT_PARTITIONS, Sent, World, binary, run_on_terminal};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value as Json, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// A limit below the size of the padded commands.
const SMALL: &str = "1024";

impl World {
    fn dlq_command(&self, what: &str, args: &[&str]) -> Finished {
        let config = self.config.display().to_string();
        crate::world::run_cli(&[&["dlq", what, "--config", &config], args].concat())
    }

    /// Makes a dead letter as the processor writes it.
    fn dead_letter(&self, n: usize) -> Draft {
        let headers = [("topic", self.commands.clone()), ("partition", "0".into()), ("offset", n.to_string())];
        let draft = Draft::raw(Some(n.to_string().into_bytes()));
        headers.into_iter().fold(draft, |draft, (name, value)| draft.header(&format!("__connect.errors.{name}"), value))
    }

    fn dlq_lines(&self, what: &str, args: &[&str]) -> Vec<Json> {
        let told = self.dlq_command(what, args).succeeded();
        told.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {told}"))).collect()
    }
}

fn filled(draft: Draft) -> Draft {
    draft.header("filling", vec![b'x'; 2_000])
}

fn place(record: &Record) -> String {
    format!("{}/{}", record.partition, record.offset)
}

fn offsets(lines: &[Json]) -> Vec<(i64, i64)> {
    lines.iter().map(|line| (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap())).collect()
}

/// Checks the list by each filter: two dead letters are too large, and one is not a command.
fn assert_listed(world: &World, letters: &[Arc<Record>], sent: &[Sent]) {
    let [first, second, third] = letters else { panic!("three were sent: {letters:?}") };
    let listed = world.dlq_lines("list", &[]);
    let mut expected: Vec<_> = letters.iter().map(|r| (i64::from(r.partition), r.offset)).collect();
    expected.sort_unstable();
    assert_eq!(offsets(&listed), expected, "{listed:?}");
    let of_first = listed.iter().find(|l| l["partition"] == first.partition && l["offset"] == first.offset).expect("is listed");
    let origin = json!({"topic": world.commands, "partition": sent[0].partition, "offset": sent[0].offset});
    assert_eq!(
        (&of_first["reason"], &of_first["key"], &of_first["origin"], &of_first["resent"]),
        (&json!("too_large"), &json!("k"), &origin, &Json::Null),
        "{of_first}"
    );
    for (flags, expected) in [
        (&["--reason", "too_large"][..], &[first, second][..]),
        (&["--reason", "too_large,not_wire_format"], &[first, second, third]),
        (&["--key", "other"], &[third]),
        (&["--since", "1h"], &[first, second, third]),
        (&["--until", "1h"], &[]),
        (&["--origin", "elsewhere"], &[]),
        (&["--partition", &third.partition.to_string(), "--offsets", &third.offset.to_string()], &[third]),
    ] {
        let mut expected: Vec<_> = expected.iter().map(|r| (i64::from(r.partition), r.offset)).collect();
        expected.sort_unstable();
        assert_eq!(offsets(&world.dlq_lines("list", flags)), expected, "{flags:?}");
    }
    let counts = world.dlq_lines("list", &["--counts"]);
    let counts: Vec<_> = counts.iter().map(|c| (&c["reason"], &c["letters"], &c["resent"])).collect();
    assert_eq!(counts, [(&json!("not_wire_format"), &json!(1), &json!(0)), (&json!("too_large"), &json!(2), &json!(0))]);
    let text = world.dlq_command("list", &["--text"]).succeeded();
    assert!(text.stdout.contains("3 dead letters") && text.stdout.contains("more than the 1024 allowed"), "{text}");
}

/// Shows in full a dead letter that can be decoded, as JSON, too, and one that can't.
fn assert_shown(world: &World, first: &Record, third: &Record) -> Json {
    let whole = world.dlq_lines("show", &[&place(first)]).remove(0);
    assert_eq!((&whole["errors"]["topic"], &whole["key"]), (&json!(world.commands), &json!("k")), "{whole}");
    let shown = &world.dlq_lines("show", &[&place(third)])[0];
    assert_eq!((&shown["value"], &shown["valueHex"]), (&Json::Null, &json!("6e6fff4176726f")), "{shown}");
    assert!(shown["undecodable"].as_str().is_some_and(|why| why.contains("wire format")), "{shown}");
    let text = world.dlq_command("show", &[&place(third), "--text"]).succeeded();
    assert!(text.stdout.contains("00000000: 6e6f ff41 7672 6f") && text.stdout.contains("exception.message"), "{text}");
    let absent = world.dlq_command("show", &["0/999999"]).exits(1);
    assert!(absent.stderr.contains("no dead letter at 0/999999"), "{absent}");
    whole
}

#[test]
fn dead_letters_are_listed_shown_and_sent_again_once_their_cause_is_mended() {
    let Some(world) = World::set_up("dlq", |_| {}) else { return };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let small = world.start_with(&unique("slot"), &[("CRM__KAFKA__MAX_COMMAND_BYTES", SMALL)]);
    small.until_ready();
    let requests = [unique("r"), unique("r")];
    let correlations = [unique("c"), unique("c")];
    let draft = |n: usize, name| {
        filled(custom_name(&requests[n], &customer.by_ref_id(), name)).key("k").header("correlation-id", &correlations[n])
    };
    let drafts = [draft(0, "Ada"), draft(1, "Bob"), Draft::raw(Some(b"no\xffAvro".to_vec())).key("other")];
    let sent = world.send_all(&drafts);
    let letters: Vec<Arc<Record>> = sent
        .iter()
        .map(|sent| {
            let (partition, offset) = (sent.partition.to_string(), sent.offset.to_string());
            let connect = |r: &Record, name: &str, value: &str| r.text(&format!("__connect.errors.{name}")) == Some(value);
            world.inbox.first("a dead letter", |r| {
                r.topic == world.dlq && connect(r, "partition", &partition) && connect(r, "offset", &offset)
            })
        })
        .collect();
    let [first, _, third] = &letters[..] else { unreachable!("three were sent") };

    assert_listed(&world, &letters, &sent);
    let shown = assert_shown(&world, first, third);
    assert_eq!((&shown["value"]["requestId"], &shown["value"]["customName"]), (&json!(requests[0]), &json!("Ada")), "{shown}");
    assert_eq!(shown["headers"]["correlation-id"], json!(correlations[0]), "{shown}");

    // The cause is mended.
    small.signal("TERM");
    assert_eq!(small.wait(), 0);
    let _processor = world.run();
    let on_commands = || inbox::count(world.kafka(), &[&world.commands]);
    let unasked = world.dlq_command("resend", &["--reason", "too_large"]).exits(1);
    assert!(unasked.stderr.contains("--yes"), "{unasked}");
    let config = world.config.display().to_string();
    let Some(asked) = run_on_terminal(&["dlq", "resend", "--config", &config, "--reason", "too_large"], "n\n", &[]) else {
        return;
    };
    assert!(asked.stdout.contains("Send 2 dead letters to") && asked.stdout.contains("nothing was sent"), "{asked}");
    let unchosen = world.dlq_command("resend", &["--yes"]).exits(1);
    assert!(unchosen.stderr.contains("--all"), "{unchosen}");
    assert_eq!(on_commands(), 3, "nothing was sent unasked");

    let resent = world.dlq_lines("resend", &["--reason", "too_large", "--yes"]);
    assert_eq!(resent.len(), 2, "{resent:?}");
    for line in &resent {
        let sent_as = &line["sentAs"];
        assert_eq!((&sent_as["topic"], &sent_as["partition"]), (&json!(world.commands), &json!(sent[0].partition)), "{line}");
    }
    let answered = |n: usize, version: i64| {
        let reply = world.inbox.first("a reply to a command that was sent again", |r| {
            r.topic == world.replies
                && r.header("correlation-id") == Some(correlations[n].as_bytes())
                && r.body["statusCode"] == 200
        });
        assert_eq!(reply.body["businessTransaction"]["version"], json!(version), "in their order: {reply:?}");
    };
    answered(0, 2);
    answered(1, 3);
    let commands = Inbox::open(world.kafka(), &[&world.commands], &[]);
    let came = |letter: &Record| {
        let from = format!("{}/{}", world.dlq, place(letter));
        commands.first("the command that was sent again", |r| r.text("crm-resent-from") == Some(&from))
    };
    let again = came(first);
    assert_eq!((&again.key, &again.value), (&drafts[0].key, &drafts[0].value()), "as it came");
    assert_eq!(again.headers[..again.headers.len() - 1], drafts[0].headers, "without the errors");

    // Nothing is sent twice, unless the operator asks for it.
    let nothing = world.dlq_command("resend", &["--reason", "too_large", "--yes"]).succeeded();
    assert!(nothing.stderr.contains("nothing to send") && nothing.stdout.is_empty(), "{nothing}");
    let named = world.dlq_command("resend", &[&place(first), "--yes"]).succeeded();
    assert!(named.stderr.contains("is left out: sent again as"), "{named}");
    assert_eq!(on_commands(), 5);
    assert_eq!(offsets(&world.dlq_lines("list", &["--pending"])), [(i64::from(third.partition), third.offset)]);
    let listed = world.dlq_lines("list", &["--key", "k"]);
    assert!(listed.iter().all(|l| l["resent"]["as"].as_str().is_some_and(|to| to.starts_with(&world.commands))), "{listed:?}");
    assert_eq!(world.dlq_lines("resend", &[&place(first), "--again", "--yes"]).len(), 1);
    let is_replay = |r: &Record| r.topic == world.replies && r.body["requestId"] == requests[0] && r.body["replayed"] == true;
    world.inbox.first("the stored answer to what was sent once more", is_replay);

    // A record that still can't be read comes back, and tells from where it was sent again.
    assert_eq!(world.dlq_lines("resend", &["--all", "--yes"]).len(), 1);
    let from = format!("{}/{}", world.dlq, place(third));
    let back = world.inbox.first("a dead letter once more", |r| r.topic == world.dlq && r.text("crm-resent-from") == Some(&from));
    assert_eq!(back.value, third.value);
}

#[test]
fn resends_at_the_same_time_send_each_dead_letter_once() {
    const LETTERS: usize = 150;
    let Some(world) = World::set_up("dlq-race", |_| {}) else { return };
    world.send_all_to(&world.dlq, &(0..LETTERS).map(|n| world.dead_letter(n)).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..3).map(|_| scope.spawn(|| world.dlq_command("resend", &["--all", "--yes"]))).collect();
        for racer in racers {
            // A resend that was fenced by a later one fails, and says so.
            let told = racer.join().expect("no panic");
            assert!(told.code == 0 || told.stderr.contains("has begun and taken the place of this one"), "{told}");
        }
    });
    world.dlq_command("resend", &["--all", "--yes"]).succeeded();
    let commands = Inbox::open(world.kafka(), &[&world.commands], &[]);
    let values = commands.until("each letter on the command topic", |records| {
        (records.len() >= LETTERS).then(|| records.iter().map(|r| r.value.clone().expect("has one")).collect::<Vec<_>>())
    });
    let different: std::collections::BTreeSet<_> = values.iter().collect();
    assert_eq!((different.len(), inbox::count(world.kafka(), &[&world.commands])), (LETTERS, LETTERS));
    assert_eq!(world.dlq_lines("list", &["--pending"]), Vec::<Json>::new());
}

#[test]
fn a_resend_waits_for_the_marks_of_an_earlier_one_behind_a_transaction_that_is_open() {
    let Some(world) = World::set_up("dlq-open", |_| {}) else { return };
    let letter = world.send_all_to(&world.dlq, &[world.dead_letter(0)])[0];
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.kafka()).set("transactional.id", unique("open"));
    let open: BaseProducer = config.create().expect("a producer");
    open.init_transactions(Inbox::PATIENCE).expect("Kafka is there");
    open.begin_transaction().expect("it is initialised");
    for partition in 0..OUTPUT_PARTITIONS {
        open.send(BaseRecord::to(&world.dlq).partition(partition).key("k").payload("v")).expect("there is room");
    }
    open.flush(Inbox::PATIENCE).expect("the broker takes them");
    // The mark stands behind these records, so that readers of what is committed do not see it yet.
    let place = format!("{}/{}", letter.partition, letter.offset);
    let headers = [("crm-dlq-resent", place), ("crm-dlq-resent-as", format!("{}/0/0", world.commands))];
    let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    let marking: BaseProducer = ClientConfig::new().set("bootstrap.servers", world.kafka()).create().expect("a producer");
    let mark = BaseRecord::<(), ()>::to(&world.dlq).partition(letter.partition).headers(headers);
    marking.send(mark).expect("there is room");
    marking.flush(Inbox::PATIENCE).expect("the broker takes it");

    let mut resend = Command::new(binary());
    resend.args(["dlq", "resend", "--all", "--yes", "--config"]).arg(&world.config);
    let mut resend = Guarded::spawn(&resend, &world.dir().join("resend.log"), None);
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !resend.log().contains("waiting until") {
        assert!(resend.ended().is_none() && Instant::now() < deadline, "it does not wait; {}", resend.log_tail());
        crate::pause();
    }
    open.abort_transaction(Inbox::PATIENCE).expect("it is open");
    assert_eq!(resend.wait(Inbox::PATIENCE).code(), Some(0), "{}", resend.log_tail());
    assert!(resend.log().contains("0 dead letters sent"), "{}", resend.log_tail());
    assert_eq!(inbox::count(world.kafka(), &[&world.commands]), 0);
}
