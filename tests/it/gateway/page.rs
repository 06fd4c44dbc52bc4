//! Tests the page for people in a real browser, Debian's Chromium: look-ups, commands, refusals and replays, by mouse and by the keyboard
//! alone, under a policy that nothing violates. What the page must do is in `page/page.mjs`.

use super::access::{self, Key};
use super::client::Gateway;
use crate::crm::{Entity, Kind};
use crate::examples::node::installed;
use crate::servers;
use crate::world::World;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn people_use_the_page_by_mouse_and_by_keyboard() {
    if Command::new("chromium").arg("--version").output().is_err() {
        servers::skip("Chromium is not installed (Debian: apt-get install chromium)");
        return;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gateway/page");
    let Some(folder) = installed("node-playwright-core-1.60.0", &source, &["page.mjs"]) else { return };
    let Some(world) = World::set_up("gateway-page", |_| {}) else { return };
    let (customer, deactivated) = (Entity::new(Kind::Customer, "ACTIVE"), Entity::new(Kind::Customer, "DEACTIVATED"));
    world.import(&[customer.clone(), deactivated.clone()]);
    // Twice the page waits so long for nothing. Later it must have its answers within this time.
    let gateway = Gateway::start(&world, &[("CRM__GATEWAY__REPLY_TIMEOUT", "6s")]);
    let key = Key::new("people");
    let keys = world.dir().join("keys.json");
    std::fs::write(&keys, key.set()).unwrap();
    let guarded = access::guarded(&world, &keys);
    let ids = |entity: &Entity| json!({"externalId": entity.external_id, "refId": entity.ref_id});
    let pictures = std::env::var("CRM_SCREENSHOTS").ok();
    let setting = json!({
        "base": gateway.base(),
        "guarded": guarded.base(),
        "reader": key.bearer("Bob Agent", "crm.read", 600).trim_start_matches("Bearer "),
        "writer": key.bearer("Ann Agent", "crm.read crm.write", 600),
        "customer": ids(&customer),
        "deactivated": ids(&deactivated),
        "pictures": pictures,
    });

    let mut node = Command::new("node");
    node.arg(folder.join("page.mjs")).arg(setting.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut people = node.spawn().expect("node is there");
    let (mut to, from) = (people.stdin.take().unwrap(), BufReader::new(people.stdout.take().unwrap()));
    let (mut processor, mut last) = (None, String::new());
    for line in from.lines().map(Result::unwrap) {
        if line == "processor, please" {
            processor = Some(world.run());
            world.inbox.first("the reply to what the page has sent", |r| world.holds_replies(&r.topic));
            to.write_all(b"it runs\n").unwrap();
        }
        last = line;
    }
    assert!(people.wait().unwrap().success(), "what failed is above; the last line was {last}");
    assert!(processor.is_some(), "the page has shown a command without an answer");
    let seen: Value = serde_json::from_str(&last).unwrap_or_else(|e| panic!("{e}: {last}"));
    for status in [200, 202, 400, 401, 403, 404, 412, 504] {
        assert!(seen["statuses"].as_array().unwrap().contains(&json!(status)), "{status} was not seen: {seen}");
    }
    // Four names were given. Whatever else was clicked on was refused, or had taken effect already.
    assert_eq!(world.transactions(&customer).len(), 4, "{seen}");
}
