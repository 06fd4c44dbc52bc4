//! Tests many commands at once: commands that share a key take effect in order, and of those that want the same
//! external id one wins.

use crate::crm::{Kind, custom_name, rename, segment, unique};
use crate::world::shared;
use serde_json::{Value as Json, json};

#[test]
fn commands_with_one_key_take_effect_in_their_order() {
    const COMMANDS: i64 = 150;
    let Some(shared) = shared() else { return };
    let (customer, other) = (shared.customer(), shared.customer());
    let key = unique("k");
    // Some commands are about another entity, and some name the same entity in another way. With one key they are in one lane all
    // the same.
    let drafts: Vec<_> = (0..COMMANDS)
        .map(|n| {
            let draft = match n % 3 {
                0 => custom_name(&unique("r"), &other.by_ref_id(), &n.to_string()),
                1 => custom_name(&unique("r"), &customer.by_ref_id(), &n.to_string()),
                _ => custom_name(&unique("r"), &customer.by_external_id(), &n.to_string()),
            };
            draft.key(&key)
        })
        .collect();
    let replies = shared.ask_all(&drafts);
    assert!(replies.iter().all(|r| r.body["statusCode"] == 200), "{replies:#?}");
    assert!(replies.windows(2).all(|two| two[0].offset < two[1].offset), "replies in the order of the commands: {replies:#?}");
    for (entity, mine) in [(&customer, [1, 2].as_slice()), (&other, &[0])] {
        let names: Vec<_> =
            shared.transactions(entity).iter().map(|r| r.body["customer"]["customName"].as_str().map(str::to_owned)).collect();
        let expected: Vec<_> = (0..COMMANDS).filter(|n| mine.contains(&(n % 3))).map(|n| Some(n.to_string())).collect();
        assert_eq!(names, expected, "of {entity:?}");
    }
}

#[test]
fn commands_about_one_entity_under_many_keys_leave_no_gap_in_its_versions() {
    const COMMANDS: usize = 60;
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let drafts: Vec<_> = (0..COMMANDS).map(|n| custom_name(&unique("r"), &customer.by_ref_id(), &n.to_string())).collect();
    let counted = || shared.processor.metric("crm_entity_key_changes_total");
    let before = counted();
    let replies = shared.ask_all(&drafts);
    // Each draft has a key of its own.
    let changes = counted() - before;
    assert!(changes >= COMMANDS as u64 - 1, "the operator sees that the entity comes under many keys: {changes}");
    let log = shared.processor.log();
    let line = log.lines().find(|line| line.contains("come under several keys"));
    assert!(line.is_some_and(|line| line.contains("request_id")), "{line:?} in {}", shared.processor.log_tail());
    let mut versions: Vec<_> = replies.iter().map(|r| r.body["businessTransaction"]["version"].as_u64()).collect();
    versions.sort_unstable();
    let expected: Vec<_> = (2..).take(COMMANDS).map(Some).collect();
    assert_eq!(versions, expected, "{replies:#?}");

    let transactions = shared.transactions(&customer);
    assert_eq!(transactions.len(), COMMANDS);
    let mut by_version: Vec<_> = transactions.iter().map(|r| (r.body["version"].as_u64(), &r.body["changes"][0])).collect();
    by_version.sort_unstable_by_key(|(version, _)| *version);
    let chained = by_version.windows(2).all(|two| two[0].1["new"] == two[1].1["old"]);
    assert!(chained, "each change is on top of the one before: {by_version:#?}");
}

#[test]
fn of_many_renames_to_one_id_exactly_one_wins() {
    const RIVALS: usize = 25;
    let Some(shared) = shared() else { return };
    for kind in [Kind::Account, Kind::Subscriber] {
        let rivals: Vec<_> = (0..RIVALS).map(|_| shared.entity(kind, "ACTIVE")).collect();
        let wanted = unique("wanted");
        let drafts: Vec<_> = rivals.iter().map(|rival| rename(kind, &unique("r"), &rival.by_external_id(), &wanted)).collect();
        let replies = shared.ask_all(&drafts);
        let won: Vec<_> = replies.iter().zip(&rivals).filter(|(r, _)| r.body["statusCode"] == 200).collect();
        assert_eq!(won.len(), 1, "exactly one of {RIVALS} wins {wanted}: {replies:#?}");
        let lost: Vec<_> = replies.iter().filter(|r| r.body["statusCode"] != 200).map(|r| &r.body["errors"][0]["code"]).collect();
        assert!(lost.iter().all(|code| *code == "CASM-EXTERNAL-ID-NOT-UNIQUE"), "{lost:?}");

        let (_, winner) = won[0];
        let found = shared.ask(&rename(kind, &unique("r"), &json!({"externalId": wanted}), &unique("next")));
        assert_eq!(found.body["businessTransaction"]["refId"], winner.ref_id.as_str(), "{found:?}");
        for loser in rivals.iter().filter(|rival| *rival != winner) {
            let kept = shared.ask(&rename(kind, &unique("r"), &loser.by_external_id(), &loser.external_id));
            assert_eq!(kept.body["businessTransaction"]["version"], 1, "a loser keeps its id and version: {kept:?}");
        }
    }
}

#[test]
fn ids_that_go_round_in_a_ring_end_with_one_holder_each() {
    const ROUNDS: usize = 12;
    let Some(shared) = shared() else { return };
    let ring: Vec<_> = (0..4).map(|_| shared.account()).collect();
    // Each account tries for its neighbour's first id again and again, from many lanes. Which account gets an id is left to
    // chance, but exactly one holds it.
    let drafts: Vec<_> = (0..ROUNDS * ring.len())
        .map(|n| {
            let (who, whose) = (&ring[n % ring.len()], &ring[(n + 1 + n / ring.len()) % ring.len()]);
            let target = if n % 3 == 0 { unique("away") } else { whose.external_id.clone() };
            rename(Kind::Account, &unique("r"), &who.by_ref_id(), &target)
        })
        .collect();
    let replies = shared.ask_all(&drafts);
    let codes = |r: &crate::inbox::Record| r.body["errors"][0]["code"].clone();
    let taken = json!("CASM-EXTERNAL-ID-NOT-UNIQUE");
    assert!(replies.iter().all(|r| r.body["statusCode"] == 200 || codes(r) == taken), "{replies:#?}");

    let mut holders: Vec<_> = ring
        .iter()
        .map(|account| {
            // Lanes publish independently of each other, so the version says which change was the last.
            let changes = shared.transactions(account);
            let last = changes.iter().max_by_key(|r| r.body["version"].as_i64());
            last.map_or(json!(account.external_id), |last| last.body["account"]["externalId"].clone())
        })
        .collect();
    holders.sort_unstable_by_key(Json::to_string);
    let count = holders.len();
    holders.dedup();
    assert_eq!(holders.len(), count, "an id has two holders: {holders:?}");
}

#[test]
fn a_hot_key_with_mixed_commands_is_answered_one_by_one() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let key = unique("k");
    let again = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").key(&key);
    let by_ref_id = customer.by_ref_id();
    let drafts = [
        again.clone(),
        segment(&unique("r"), &by_ref_id, "ENTERPRISE").key(&key),
        again.clone(),
        custom_name(&unique("r"), &by_ref_id, "Bob").expecting(3).key(&key),
        custom_name(&unique("r"), &by_ref_id, "Eve").expecting(3).key(&key),
        custom_name(&unique("r"), &by_ref_id, "Bob").key(&key),
        custom_name(&unique("r"), &by_ref_id, "").key(&key),
        segment(again.request(), &by_ref_id, "ENTERPRISE").key(&key),
        segment(&unique("r"), &by_ref_id, "RESIDENTIAL").expecting(4).key(&key),
    ];
    let replies = shared.ask_all(&drafts);
    let got: Vec<_> = replies
        .iter()
        .map(|r| {
            let code = r.body["errors"][0]["code"].as_str().unwrap_or("").to_owned();
            (r.body["replayed"] == true, r.body["businessTransaction"]["version"].as_i64(), code)
        })
        .collect();
    let row = |replayed, version, code: &str| (replayed, version, code.to_owned());
    let expected = [
        row(false, Some(2), ""),
        row(false, Some(3), ""),
        row(true, Some(2), ""),
        row(false, Some(4), ""),
        row(false, None, "CASM-VERSION-CONFLICT"),
        row(false, Some(4), ""),
        row(false, None, "CASM-MANDATORY-ATTRIBUTE"),
        row(false, None, "CASM-REQUEST-ID-REUSED"),
        row(false, Some(5), ""),
    ];
    assert_eq!(got, expected, "{replies:#?}");
}
