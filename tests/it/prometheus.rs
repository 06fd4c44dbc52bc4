//! Tests the metrics, the alert rules and the dashboard with Prometheus itself: its lints, its rule tests, and a server that
//! scrapes a processor. It comes from the Debian package `prometheus`.

pub mod server;

use crate::crm::{Entity, Kind, custom_name, rename, segment, unique};
use crate::gate::Gate;
use crate::operation::{metrics, named_in, path, queries, read, rules};
use crate::servers;
use crate::world::{World, shared};
use server::{HASTY, Prometheus, installed};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;

const RULES: &str = "deploy/prometheus/rules.yml";
const RULES_TEST: &str = "deploy/prometheus/rules_test.yml";

/// Runs promtool, which must succeed.
fn promtool(args: &[&str], input: &str) {
    let Some(mut promtool) = installed("promtool") else { return };
    promtool.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("it is installed");
    child.stdin.take().expect("is piped").write_all(input.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {}: {}\n{said}", args.join(" "), output.status);
}

#[test]
fn promtool_finds_nothing_to_blame_in_the_metrics_of_a_running_processor() {
    let Some(shared) = shared() else { return };
    shared.ask(&custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada"));
    let (status, exposition) = shared.processor.get("/metrics");
    assert_eq!(status, 200);
    promtool(&["check", "metrics"], &exposition);
}

#[test]
fn the_rules_are_valid_and_fire_when_their_tests_say() {
    for (args, file) in
        [(["check", "rules"], RULES), (["check", "config"], "deploy/prometheus/prometheus.yml"), (["test", "rules"], RULES_TEST)]
    {
        promtool(&[&args[..], &[&path(file).display().to_string()]].concat(), "");
    }
}

#[test]
fn each_alert_is_tested_and_has_its_section_in_the_runbook() {
    let (tests, runbook) = (read(RULES_TEST), read("docs/runbook.md"));
    let expected = |line: &str, next: Option<&&str>| -> Option<(String, bool)> {
        let (_, rest) = line.split_once("alertname: ")?;
        let name = rest.split(',').next()?.trim().to_owned();
        let empty = [Some(line), next.copied()].iter().flatten().any(|l| l.trim_end_matches('}').ends_with("exp_alerts: []"));
        Some((name, !empty))
    };
    let lines: Vec<_> = tests.lines().collect();
    let tested: BTreeSet<_> = lines.iter().enumerate().filter_map(|(n, line)| expected(line, lines.get(n + 1))).collect();
    let mut sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### Crm")).collect();
    let alerts: Vec<_> = rules().into_iter().filter(|rule| rule.is_alert).collect();
    assert!(alerts.len() > 15, "{alerts:#?}");
    for alert in alerts {
        for (fires, what) in [(true, "fires"), (false, "keeps quiet")] {
            assert!(tested.contains(&(alert.name.clone(), fires)), "no test of {RULES_TEST} says when {} {what}", alert.name);
        }
        let section = format!("runbook_url: docs/runbook.md#{}", alert.name.to_lowercase());
        for part in [section.as_str(), "summary: ", "severity: "] {
            assert!(alert.text.contains(part), "{} has no {part:?}", alert.name);
        }
        assert!(sections.remove(&alert.name[3..]), "docs/runbook.md has no section {}", alert.name);
    }
    assert!(sections.is_empty(), "there are no alerts for the sections {sections:?} of docs/runbook.md");
}

#[test]
fn the_metrics_that_rules_and_dashboard_ask_for_exist() {
    let (metrics, rules) = (metrics(), rules());
    let recorded = rules.iter().filter(|rule| !rule.is_alert).map(|rule| rule.name.as_str());
    let there: BTreeSet<_> = metrics.iter().map(|m| m.name.as_str()).chain(recorded).collect();
    let asked = rules.iter().map(|rule| (&rule.name, &rule.expr));
    for (what, expr) in asked.chain(queries().iter().map(|query| (&query.panel, &query.expr))) {
        let named = named_in(expr, &metrics);
        assert!(expr.contains("up{") || !named.is_empty(), "{what} asks for nothing of ours: {expr}");
        for name in named {
            assert!(there.contains(name.as_str()), "{what} asks for {name}, which is not there: {expr}");
        }
    }
}

#[test]
fn the_dashboard_shows_a_real_run_and_an_alert_a_real_fault() {
    let (Some(_), Some(cassandra)) = (installed("prometheus"), servers::cassandra()) else { return };
    let gate = Gate::before(cassandra);
    let through_gate = |config: &mut toml::Table| {
        let store = config["store"].as_table_mut().expect("is a table");
        store.insert("contact_points".into(), vec![gate.address()].into());
        store.insert("request_timeout".into(), "1s".into());
    };
    let Some(world) = World::set_up("watched", through_gate) else { return };
    let entities = [Kind::Customer, Kind::Account, Kind::Subscriber].map(|kind| Entity::new(kind, "ACTIVE"));
    world.import(&entities);
    let processor = world.run();
    let prometheus = Prometheus::scraping(&[processor.admin()], HASTY);

    let mut open: Vec<_> = queries();
    assert!(open.len() > 40, "{open:#?}");
    prometheus.until("each query of the dashboard returns numbers", |prometheus| {
        let [customer, account, subscriber] = &entities;
        world.ask_all(&[
            custom_name(&unique("r"), &customer.by_ref_id(), &unique("name")),
            segment(&unique("r"), &customer.by_ref_id(), "GOLD"),
            rename(Kind::Account, &unique("r"), &account.by_ref_id(), &unique("a")),
            rename(Kind::Subscriber, &unique("r"), &subscriber.by_ref_id(), &unique("s")),
        ]);
        open.retain(|query| {
            let expr = query.expr.replace("$__rate_interval", "20s").replace("$instance", ".+");
            !prometheus.query(&expr).iter().any(|value| value.is_finite())
        });
        if open.is_empty() { Ok(()) } else { Err(format!("{open:#?}")) }
    });
    prometheus.until("all rules are evaluated", Prometheus::rules_are_healthy);

    assert!(!prometheus.is_firing("CrmStoreDown"), "the store is there");
    gate.shut();
    prometheus.until("the alert fires", |p| p.fires("CrmStoreDown"));
    gate.open();
    prometheus.until("the alert is over", |p| p.keeps_quiet("CrmStoreDown"));
}
