//! Goes through all states of a scenario.

use super::protocol::Protocol;
use super::scenario::Scenario;
use super::system::{Action, State, System};
use super::weakened::Weakening;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};
use std::fmt::Write as _;
use std::time::Instant;

/// All that is promised holds in every state, and all that the scenario is about is reached.
///
/// # Panics
/// With how it comes about, if not.
pub fn holds(scenario: Scenario) {
    let scenario = if large() { scenario.large() } else { scenario };
    let (system, begun) = (system(scenario, None), Instant::now());
    let checker = system.clone().checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{}: {} states, {} steps deep, {:.1} s",
        system.scenario.name,
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f32()
    );
    for property in system.properties() {
        match (property.expectation, checker.discovery(property.name)) {
            (Expectation::Sometimes, None) => panic!("{}: never reached: {}", system.scenario.name, property.name),
            (Expectation::Always, Some(path)) => {
                panic!("{}: violated: {}\n{}", system.scenario.name, property.name, trace(&system, path));
            }
            _ => {}
        }
    }
}

/// What is violated in a scenario if the protocol is weakened; nothing if it holds all the same.
pub fn violated(weakening: Weakening, scenario: Scenario) -> Vec<&'static str> {
    let (system, begun) = (system(scenario, Some(weakening)), Instant::now());
    let checker = system.clone().checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let promises = system.properties().into_iter().filter(|p| p.expectation == Expectation::Always);
    let violated = promises.filter_map(|p| Some((p.name, checker.discovery(p.name)?)));
    let mut names = Vec::new();
    for (name, path) in violated {
        println!(
            "{weakening:?} in {}: {name}\n{} states, {:.1} s\n{}",
            system.scenario.name,
            checker.unique_state_count(),
            begun.elapsed().as_secs_f32(),
            trace(&system, path)
        );
        names.push(name);
    }
    names
}

fn large() -> bool {
    std::env::var("CRM_MODEL").is_ok_and(|size| size == "large")
}

fn system(scenario: Scenario, weakening: Option<Weakening>) -> System {
    let protocol = Protocol { commands: scenario.commands.clone(), weakening };
    System { scenario, protocol }
}

/// The shortest way to a state: what each attempt does, and what has changed in the store by it.
fn trace(system: &System, path: Path<State, Action>) -> String {
    let mut text = String::new();
    for (record, command) in system.protocol.commands.iter().enumerate() {
        let _ = writeln!(text, "  record {record}: {command:?}");
    }
    let steps = path.into_vec();
    for pair in steps.windows(2) {
        let ((before, action), (after, _)) = (&pair[0], &pair[1]);
        let Some(action) = action else { continue };
        let _ = match action {
            Action::Proceed(i) => writeln!(text, "{:?}: {:?}", system.run(*i), before.attempts[*i].step),
            Action::TimeOut(i) => writeln!(text, "{:?}: times out: {:?}", system.run(*i), before.attempts[*i].step),
            Action::Land(n) => writeln!(text, "lands: {:?}", before.in_flight[*n].expect("a write in flight")),
            Action::Crash(i) | Action::Panic(i) | Action::Remember(i) | Action::TakeSingly(i) | Action::AnswerUnread(i) => {
                writeln!(text, "{:?}: {action:?}", system.run(*i))
            }
            Action::Expire(_) | Action::Forget(..) => writeln!(text, "{action:?}"),
        };
        for (record, output) in after.outputs.iter().enumerate() {
            if before.outputs[record].is_none()
                && let Some(output) = output
            {
                let _ = writeln!(text, "    record {record} is answered: {output:?}");
            }
        }
    }
    if let Some((last, _)) = steps.last() {
        let _ = writeln!(text, "in the end:");
        for (id, partition) in last.store.ids.iter().enumerate().filter(|(_, p)| p.statics.claim.is_some()) {
            let _ = writeln!(text, "  id {id}: {:?}", partition.statics);
        }
        for entity in &last.store.entities {
            let _ = writeln!(text, "  {:?}", entity.statics);
        }
        for (request, outcome) in last.store.outcomes() {
            let _ = writeln!(text, "  request {request}: {outcome:?}");
        }
    }
    text
}
