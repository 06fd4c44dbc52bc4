//! Tests restarts at every await: wherever a process dies, its successor finds the store in a state in which it can answer each
//! record once. The test goes through one await after another, for each kind of command, with and without a rival in between.

use super::scene::created;
use super::verdict::check;
use super::{Faults, Random, Simulation, history, same_command};
use crate::polls::{complete, polls};
use crm_processor::domain::use_case::UseCase::{
    UpdateCustomerCustomName, UpdateCustomerExternalId, UpdateCustomerState, UpdateSubscriberExternalId,
};
use crm_processor::store::claims::Submission;
use std::sync::Arc;

/// A number of polls that no command needs.
const MOST_POLLS: u64 = 200;

type Commands = fn(&Simulation) -> Vec<Submission>;

/// Returns the work of a process when it dies: runs of commands that name one entity.
const WORK: &[(&str, Commands)] = &[
    ("a name", |s| vec![s.world.name("r1", s.world.by_id("d"), "Ada")]),
    ("a name, twice", |s| {
        let first = s.world.name("r1", s.world.by_id("d"), "Ada");
        vec![s.world.again(&first), first]
    }),
    ("a run of names", |s| {
        let name = |(request, value)| s.world.name(request, s.world.by_id("d"), value);
        [("r1", "Ada"), ("r2", "Ada"), ("r3", "Bea"), ("r1", "Cleo")].map(name).to_vec()
    }),
    ("a name by refId", |s| vec![s.world.name("r1", s.world.by_ref("d"), "Ada")]),
    ("a refused version", |s| vec![s.world.submit(UpdateCustomerCustomName, "r1", s.world.by_id("d"), "Ada", Some(7))]),
    ("a name for nobody", |s| vec![s.world.name("r1", s.world.by_id("z"), "Ada")]),
    ("a name for no refId", |s| vec![s.world.name("r1", s.world.by_ref("e"), "Ada")]),
    ("a rename", |s| vec![s.world.rename("r1", s.world.by_id("a"), "x")]),
    ("a rename by refId", |s| vec![s.world.rename("r1", s.world.by_ref("a"), "x")]),
    ("a rename to an id that is held", |s| vec![s.world.rename("r1", s.world.by_id("a"), "b")]),
    ("a rename to its own id", |s| vec![s.world.rename("r1", s.world.by_id("a"), "a")]),
    ("renames to and fro", |s| {
        let rename = |(request, to)| s.world.rename(request, s.world.by_ref("a"), to);
        [("r1", "x"), ("r2", "a"), ("r3", "x"), ("r4", "b")].map(rename).to_vec()
    }),
    ("a creation", |s| vec![s.world.creation("r1", "x", s.world.by_id("d"))]),
    ("a creation by the superior's refId, twice", |s| {
        let first = s.world.creation("r1", "x", s.world.by_ref("d"));
        vec![s.world.again(&first), first]
    }),
    ("a creation with an id that is held", |s| vec![s.world.creation("r1", "b", s.world.by_id("d"))]),
    ("a creation below nobody", |s| vec![s.world.creation("r1", "x", s.world.by_id("z"))]),
    ("a subscriber's rename", |s| {
        let (a, x) = (s.world.by_id("a"), s.world.id("x"));
        vec![s.world.submit(UpdateSubscriberExternalId, "r1", a, x.as_str(), None)]
    }),
];

/// Returns the commands that another process decides before the first one's records come again.
const RIVALS: &[(&str, Commands)] = &[
    ("nobody", |_| Vec::new()),
    ("who wants the same id", |s| vec![s.world.rename("rival", s.world.by_ref("b"), "x")]),
    ("who names the wanted id", |s| vec![s.world.rename("rival", s.world.by_id("x"), "y")]),
    ("who renames the entity otherwise", |s| vec![s.world.rename("rival", s.world.by_ref("a"), "y")]),
    ("who takes its old id", |s| vec![s.world.rename("rival", s.world.by_ref("b"), "a")]),
    ("who creates an account with the wanted id", |s| vec![s.world.creation("rival", "x", s.world.by_ref("d"))]),
    ("who deactivates the customer", |s| {
        vec![s.world.submit(UpdateCustomerState, "rival", s.world.by_ref("d"), "DEACTIVATED", None)]
    }),
    ("who renames the customer", |s| {
        let (d, z) = (s.world.by_ref("d"), s.world.id("z"));
        vec![s.world.submit(UpdateCustomerExternalId, "rival", d, z.as_str(), None)]
    }),
    ("who names the customer", |s| vec![s.world.name("rival", s.world.by_ref("d"), "Dora")]),
];

#[test]
fn a_process_may_die_at_any_await() {
    let mut deaths = 0;
    for (work, commands) in WORK {
        for (rival, others) in RIVALS {
            for (gives_up, seed) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
                let alive = (0..MOST_POLLS).find(|after| {
                    println!("{work}; dies after {after} polls; then {rival}; gives up: {gives_up}; seed {seed}");
                    deaths += 1;
                    dies(*after, *commands, *others, gives_up, seed)
                });
                assert!(alive.is_some(), "{work} takes more than {MOST_POLLS} polls");
            }
        }
    }
    assert!(deaths > 1_000, "{deaths} deaths");
}

/// Lets a process die after so many polls. Others, and then a successor with its cache or without, do the remaining work. With
/// `gives_up` the death was a panic, and its first command is given up. Returns `true` if the work was done before the process
/// could die.
fn dies(after: u64, work: Commands, others: Commands, gives_up: bool, seed: u64) -> bool {
    let s = Simulation::new(&mut Random::new(seed), None);
    // There must be an await before and after nearly each operation.
    s.store.set_faults(Faults { yields: 4, ..Faults::default() });
    let (before, run, others) = (s.entities(), work(&s), others(&s));
    let process = |n: usize| Arc::clone(&s.processes.lock().unwrap()[n]);
    for submission in run.iter().chain(&others) {
        let request_id = &submission.request.id;
        let other = |o: &&Submission| o.request.id == *request_id && !same_command(o, submission);
        if run.iter().any(|o| other(&o)) {
            s.several.lock().unwrap().insert(request_id.as_str().into());
        }
        s.begun.lock().unwrap().insert(submission.request.record.clone(), 0);
        s.created.lock().unwrap().extend(created(submission));
    }
    let decided = polls(process(0).decide(&run), after);
    let done = decided.is_some();
    if !others.is_empty() {
        for (submission, decided) in others.iter().zip(complete(process(1).decide(&others)).expect("no faults")) {
            s.commit(0, submission.clone(), decided);
        }
    }
    if gives_up {
        let decided = complete(process(0).give_up(&run[0])).expect("no faults");
        s.commit(0, run[0].clone(), decided);
    }
    for n in [0, 2] {
        for (submission, decided) in run.iter().zip(complete(process(n).decide(&run)).expect("no faults")) {
            s.commit(0, submission.clone(), decided);
        }
    }
    complete(check(&s));
    history::assert_linearizable(&s.operations(0, &before), &before, &s.entities());
    done
}
