//! Sends a hundred thousand records that are damaged in every way, with commands among them, through the real Kafka and the real
//! binary. Each is on the dead letter topic once and as it came, or was answered once, and the processor's memory stays bounded.

use crate::crm::{Draft, Entity, Kind, custom_name, segment, unique};
use crate::inbox::Record;
use crate::registry;
use crate::world::{Processor, Sent, World};
use serde_json::{Value as Json, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// The number of records. It is somewhat more than a hundred thousand, because some damaged records can still be read, and some
/// are valid on purpose.
const RECORDS: usize = 110_000;
const MALFORMED: usize = 100_000;
/// The number of batches in which the records are sent.
const PORTIONS: usize = 10;
/// One in so many records is a valid command.
const COMMANDS: usize = 40;
const KEYS: usize = 64;
/// How much the processor may grow in the second half of the run. Everything that it holds at most (2,048 records between intake
/// and commit, 4 MiB read ahead, a transaction of 8 MiB, the allocator's reserves) is held in the first half, too; a leak of 1
/// KiB a record would be 50 MiB.
const MAX_GROWTH_MIB: u64 = 24;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("is below a usize")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Makes the values to damage: values in the wire format, of all commands and several schemas; and values whose schemas are
/// hostile.
struct Corpus {
    good: Vec<Vec<u8>>,
    hostile: Vec<Vec<u8>>,
}

impl Corpus {
    fn new() -> Self {
        let nobody = json!({"externalId": "nobody"});
        let request = || unique("r");
        let mut longer = registry::command_schema("UpdateCustomerCustomName");
        let fields = longer["fields"].as_array_mut().expect("is a list");
        fields.insert(1, json!({"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}));
        fields.push(json!({"name": "more", "type": {"type": "map", "values": ["null", "double", "bytes"]}, "default": {}}));
        let drafts = [
            custom_name(&request(), &nobody, "Ada"),
            custom_name(&request(), &json!({"refId": "4b1d6a4e-6d3c-4c53-9c2e-0d8e6a1f3b5a"}), "Eve").expecting(7),
            segment(&request(), &nobody, "ENTERPRISE"),
            crate::crm::rename(Kind::Account, &request(), &nobody, "somebody"),
            crate::crm::rename(Kind::Subscriber, &request(), &nobody, "somebody").expecting(1),
            custom_name(&request(), &nobody, "Ada").written_with(&longer),
        ];
        let good: Vec<_> = drafts.iter().map(|d| d.value().expect("has a value")).collect();
        let hostile = hostile_schemas().into_iter().map(|schema| {
            let id = registry::register(&unique("hostile"), &schema);
            [&[0], &id.to_be_bytes()[..], &good[0][5..]].concat()
        });
        Self { hostile: hostile.collect(), good }
    }

    /// Returns a value, and whether it is certain that the value can't be read.
    fn damaged(&self, random: &mut Random) -> (Option<Vec<u8>>, bool) {
        const NUMBERS: [&[u8]; 5] =
            [&[0xff; 12], b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x01", b"\x80\x80\x80\x80\x08", b"\xff\xff\xff\xff\x0f"];
        let mut value = self.good[random.below(self.good.len())].clone();
        let place = 5 + random.below(value.len() - 5);
        let certain = match random.below(12) {
            0 => return (None, true),
            1 => return (Some(self.hostile[random.below(self.hostile.len())].clone()), true),
            2 => {
                // With byte 0 at its beginning it would be in the wire format.
                let count = random.below(60);
                return (Some([&[1 + random.next().to_le_bytes()[0] % 255], &random.bytes(count)[..]].concat()), true);
            }
            3 => {
                value.truncate(random.below(value.len()));
                true
            }
            4 => {
                let count = 1 + random.below(20);
                value.extend(random.bytes(count));
                true
            }
            // Only a few ids are used, because the processor asks the registry for each.
            5 => {
                value[1..5]
                    .copy_from_slice(&(0xfff0_0000_u32 + u32::try_from(random.below(20)).expect("is small")).to_be_bytes());
                true
            }
            // A branch that no union here has, an impossible length, a number that never ends.
            6 => {
                value.splice(5..6, NUMBERS[random.below(NUMBERS.len())].iter().copied());
                true
            }
            7 => {
                value.splice(place..place, NUMBERS[random.below(NUMBERS.len())].iter().copied());
                false
            }
            8 => {
                let other = &self.good[random.below(self.good.len())];
                value.splice(place.., other[5 + random.below(other.len() - 5)..].iter().copied());
                false
            }
            9 if random.below(200) == 0 => {
                value.extend(random.bytes(100_000));
                true
            }
            9 | 10 => {
                value.remove(place);
                false
            }
            _ => {
                value[place] ^= 1 << random.below(8);
                false
            }
        };
        (Some(value), certain)
    }
}

/// Returns hostile schemas: recursive, deep, exponential, with names that are defined twice, in odd namespaces, or not of a type
/// that we can read.
fn hostile_schemas() -> Vec<Json> {
    let record = |name: &str, fields: Json| json!({"type": "record", "name": name, "namespace": "crm.v1", "fields": fields});
    let command = |fields| record("UpdateCustomerCustomName", fields);
    let deep = (0..60).fold(json!("int"), |inner, _| json!({"type": "array", "items": inner}));
    let doubling = (0..40).fold(json!("boolean"), |inner, n| {
        let again = if n == 0 { json!("int") } else { json!(format!("D{}", n - 1)) };
        record(&format!("D{n}"), json!([{"name": "a", "type": inner}, {"name": "b", "type": again}]))
    });
    let mut renamed = registry::command_schema("UpdateCustomerSegment");
    renamed["namespace"] = "crm".into();
    vec![
        command(json!([{"name": "requestId", "type": ["null", "UpdateCustomerCustomName"]}])),
        command(json!([{"name": "requestId", "type": {"type": "string", "logicalType": "uuid"}}, {"name": "x", "type": deep}])),
        command(json!([{"name": "x", "type": doubling}])),
        command(json!([{"name": "requestId", "type": {"type": "int", "logicalType": "date"}}])),
        command(json!([{"name": "customer", "type": ["null", "string"]}])),
        renamed,
        json!({"type": "array", "items": "string"}),
    ]
}

/// A record that was sent.
struct Case {
    draft: Draft,
    correlation: String,
    /// `None` if the damage decides whether the record can be read.
    readable: Option<bool>,
}

fn case(n: usize, corpus: &Corpus, customers: &[Entity], random: &mut Random) -> Case {
    let correlation = unique("c");
    let key = format!("key-{}", random.below(KEYS));
    if n.is_multiple_of(COMMANDS) {
        let customer = &customers[random.below(customers.len())];
        let draft = custom_name(&unique("r"), &customer.by_ref_id(), &n.to_string()).key(key);
        return Case { draft: draft.header("correlation-id", &correlation), correlation, readable: Some(true) };
    }
    let (value, certain) = corpus.damaged(random);
    let mut draft = Draft::raw(value).key(key).null_header("nothing").header("bytes", random.bytes(n % 7));
    if random.below(16) == 0 {
        draft = draft.without_key();
    }
    // Records that may be readable are answered in any case. Of the others, every fourth asks for a reply.
    if !certain || n.is_multiple_of(4) {
        draft = draft.header("correlation-id", &correlation);
    }
    Case { draft, correlation, readable: certain.then_some(false) }
}

fn memory_mib(processor: &Processor, when: &str) -> u64 {
    let mib = |name| processor.memory_kib(name) / 1024;
    println!("memory {when}: {} MiB now, {} MiB at most", mib("VmRSS"), mib("VmHWM"));
    mib("VmRSS")
}

/// Returns the dead letters by the place of their records, and checks that each is there once.
fn dead_letters(records: Vec<Arc<Record>>) -> HashMap<(i32, i64), Arc<Record>> {
    let mut dead = HashMap::new();
    for record in records {
        let number =
            |name: &str| record.text(&format!("__connect.errors.{name}")).expect("is there").parse::<i64>().expect("a number");
        let at = (i32::try_from(number("partition")).expect("is small"), number("offset"));
        let before = dead.insert(at, record);
        assert!(before.is_none(), "twice on the DLQ: {before:?}");
    }
    dead
}

fn is_unreadable(reply: &Record) -> bool {
    reply.body["errors"][0]["code"] == "CASM-RECORD-UNREADABLE"
}

#[test]
fn a_hundred_thousand_malformed_records_are_on_the_dlq_as_they_came_and_leave_nothing_behind() {
    let Some(world) = World::set_up("malformed", |_| {}) else { return };
    let customers: Vec<_> = (0..50).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let corpus = Corpus::new();
    let seed = std::env::var("CRM_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    println!("CRM_SEED={seed}");
    let mut random = Random(seed);
    let cases: Vec<_> = (0..RECORDS).map(|n| case(n, &corpus, &customers, &mut random)).collect();
    let processor = world.run();
    memory_mib(&processor, "before");

    let start = Instant::now();
    let mut sent = Vec::new();
    let mut middle = 0;
    for (n, portion) in cases.chunks(RECORDS / PORTIONS).enumerate() {
        let drafts: Vec<_> = portion.iter().map(|c| c.draft.clone()).collect();
        sent.extend(world.send_all(&drafts));
        if n + 1 == PORTIONS / 2 {
            until_done(&world, RECORDS / 2);
            middle = memory_mib(&processor, "in the middle");
        }
    }
    until_done(&world, RECORDS);
    println!("{RECORDS} records in {:?}", start.elapsed());
    let end = memory_mib(&processor, "at the end");
    assert!(end <= middle + MAX_GROWTH_MIB, "grew from {middle} to {end} MiB in the second half");
    check(&world, &cases, &sent);
    assert_eq!(processor.metric("crm_panics_total"), 0);
    assert_eq!(processor.metric("crm_records_held"), 0);
    assert!(!processor.log().contains("panic"), "{}", processor.log_tail());
    processor.until_ready();
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
}

/// Waits until so many records are on the DLQ or have been answered as commands.
fn until_done(world: &World, count: usize) {
    world.inbox.until(&format!("{count} dead letters and answers to commands"), |records| {
        let done = records.iter().filter(|r| r.topic == world.dlq || (r.topic == world.replies && !is_unreadable(r)));
        (done.count() >= count).then_some(())
    });
}

fn check(world: &World, cases: &[Case], sent: &[Sent]) {
    let expected_replies = cases.iter().filter(|c| c.draft.headers.iter().any(|(name, _)| name == "correlation-id")).count();
    let records = world.inbox.until("all replies and dead letters", |records| {
        (records.iter().filter(|r| r.topic == world.replies).count() >= expected_replies).then(|| records.to_vec())
    });
    let (dead, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|r| r.topic == world.dlq);
    let mut replies: HashMap<String, Arc<Record>> = HashMap::new();
    for reply in others.into_iter().filter(|r| r.topic == world.replies) {
        let before = replies.insert(reply.text("correlation-id").expect("all have one").to_owned(), reply);
        assert!(before.is_none(), "two replies: {before:?}");
    }
    assert_eq!(replies.len(), expected_replies);
    check_order(&dead);
    let mut dead = dead_letters(dead);
    let mut readable = 0;
    for (case, sent) in cases.iter().zip(sent) {
        let letter = dead.remove(&(sent.partition, sent.offset));
        let reply = replies.get(&case.correlation);
        let was_read = reply.is_some_and(|r| !is_unreadable(r));
        readable += usize::from(was_read);
        assert_eq!(letter.is_none(), was_read, "{:?}: {letter:?}, {reply:?}", case.draft);
        assert!(case.readable.is_none_or(|r| r == was_read), "{:?}: {letter:?}, {reply:?}", case.draft);
        let Some(letter) = letter else { continue };
        let kept: Vec<_> = letter.headers.iter().filter(|(name, _)| !name.starts_with("__connect.errors.")).cloned().collect();
        let intact = (letter.value == case.draft.value(), letter.key == case.draft.key, kept == case.draft.headers);
        assert_eq!(intact, (true, true, true), "value, key, headers of {letter:?}, which was {:?}", case.draft);
    }
    assert!(dead.is_empty(), "nobody sent {dead:?}");
    println!("{} dead letters, {readable} readable, {} replies", cases.len() - readable, replies.len());
    assert!(readable > RECORDS / COMMANDS && cases.len() - readable >= MALFORMED, "{readable} were readable");
}

/// Checks that dead letters with the same key are in the order of their records. `dead` is in the order of the topic.
fn check_order(dead: &[Arc<Record>]) {
    let mut last: HashMap<&[u8], i64> = HashMap::new();
    let mut partitions: HashMap<&[u8], HashSet<i32>> = HashMap::new();
    for letter in dead {
        let Some(key) = letter.key.as_deref() else { continue };
        let offset = letter.text("__connect.errors.offset").expect("is there").parse().expect("a number");
        partitions.entry(key).or_default().insert(letter.partition);
        let before = last.insert(key, offset);
        assert!(before.is_none_or(|before| before < offset), "{letter:?} comes after offset {before:?} of its key");
    }
    assert!(partitions.len() == KEYS && partitions.values().all(|p| p.len() == 1), "each key in one partition: {partitions:?}");
}
