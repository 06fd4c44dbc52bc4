//! Runs a simulation by many seeds, on all cores.
//!
//! `CRM_SEEDS=n` runs the first n seeds, `CRM_SEEDS=m..n` those from m to below n, `CRM_SEED=n` that one alone.

use std::fmt::Debug;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread::{available_parallelism, scope};

/// Runs `simulate` by each seed, by the first `default` seeds if the environment names no others, and hands the results to
/// `take`. A seed that fails prints how to run it alone, and the test fails.
pub fn each<T: Send>(default: u64, simulate: impl Fn(u64) -> T + Sync, take: impl FnMut(T) + Send) {
    let open = Mutex::new(range(default));
    let take = Mutex::new(take);
    let work = || {
        while let Some(seed) = next(&open) {
            match catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
                Ok(done) => take.lock().unwrap()(done),
                Err(panic) => {
                    open.lock().unwrap().end = 0;
                    eprintln!("re-run with CRM_SEED={seed}");
                    resume_unwind(panic);
                }
            }
        }
    };
    scope(|threads| {
        let threads: Vec<_> = (0..available_parallelism().map_or(1, usize::from)).map(|_| threads.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

fn next(open: &Mutex<Range<u64>>) -> Option<u64> {
    open.lock().unwrap().next()
}

/// Returns the seeds to run.
pub fn range(default: u64) -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("a seed is a number, not {text:?}"));
    if let Ok(seed) = std::env::var("CRM_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("CRM_SEEDS").as_deref() {
        Ok(text) => match text.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(text),
        },
        Err(_) => 0..default,
    }
}

/// Checks that one of the first `budget` seeds fails with a deliberate defect.
pub fn must_fail(defect: impl Debug, budget: u64, simulate: impl Fn(u64)) {
    for seed in 0..budget {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            println!("{defect:?}: found after {} seeds: {text:.300}", seed + 1);
            return;
        }
    }
    panic!("{defect:?} is not found within {budget} seeds");
}

/// Makes a test for each defect, which calls the function `found` of the module that uses the macro.
macro_rules! defects {
    ($($name:ident: $defect:ident),+ $(,)?) => { $(
        #[test]
        fn $name() {
            found(Defect::$defect);
        }
    )+ };
}
pub(crate) use defects;
