//! Goes through all states of a scenario.

use super::protocol::Protocol;
use super::scenario::Scenario;
use super::system::System;
use super::trace::trace;
use super::weakened::Weakening;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::time::Instant;

/// Checks that every promise holds in every state, and that everything that the scenario is about is reached.
///
/// # Panics
/// If that is not so. A promise that is violated is printed with the shortest way there.
pub fn holds(scenario: Scenario) {
    let scenario = match std::env::var("CRM_MODEL").as_deref() {
        Ok("large") => scenario.with_more_faults(),
        Ok("zombies") => scenario.with_zombies(),
        _ => scenario,
    };
    let (system, begun) = (system(scenario, None), Instant::now());
    let checker = system.clone().checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{}: {} states, {} steps deep, {:.1} s",
        system.scenario.name,
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f32()
    );
    let (promises, reached): (Vec<_>, Vec<_>) =
        system.properties().into_iter().partition(|property| property.expectation == Expectation::Always);
    for promise in promises {
        if let Some(path) = checker.discovery(promise.name) {
            panic!("{}: violated: {}\n{}", system.scenario.name, promise.name, trace(&system, path));
        }
    }
    // A violation ends the search, so what was never reached can be told only if there is none.
    for property in reached {
        assert!(checker.discovery(property.name).is_some(), "{}: never reached: {}", system.scenario.name, property.name);
    }
}

/// Returns the promises that are violated in a scenario if the protocol is weakened. The list is empty if all hold nevertheless.
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

fn system(scenario: Scenario, weakening: Option<Weakening>) -> System {
    let protocol = Protocol { commands: scenario.commands.clone(), weakening };
    System { scenario, protocol }
}
