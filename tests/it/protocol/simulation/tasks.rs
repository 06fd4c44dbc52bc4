//! Runs many callers at once, deterministically: some task goes on to its next await, then some other, and now and then one is
//! left alone for long.

use crm_processor::store::simulated::Random;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// The number of steps after which work that still goes on will never end.
const PATIENCE: u64 = 200_000;
/// The steps in a thousand after which a task stalls, and the longest stall.
const STALLS: u64 = 4;
const STALL: u64 = 400;

/// A caller.
pub struct Task<'a> {
    work: Pin<Box<dyn Future<Output = ()> + 'a>>,
    stalled_until: u64,
}

impl<'a> Task<'a> {
    pub fn new(work: impl Future<Output = ()> + 'a) -> Self {
        Self { work: Box::pin(work), stalled_until: 0 }
    }
}

/// Runs the tasks until all are done. Calls `step` at the beginning of each step.
pub fn run(mut tasks: Vec<Task<'_>>, random: &mut Random, mut step: impl FnMut(u64)) {
    let mut context = Context::from_waker(Waker::noop());
    for now in 0.. {
        if tasks.is_empty() {
            return;
        }
        assert!(now < PATIENCE, "{} callers get nowhere", tasks.len());
        step(now);
        let which = usize::try_from(random.below(tasks.len() as u64)).expect("an index");
        let task = &mut tasks[which];
        if now < task.stalled_until {
            continue;
        }
        if task.work.as_mut().poll(&mut context).is_ready() {
            drop(tasks.swap_remove(which));
        } else if random.chance(STALLS) {
            task.stalled_until = now + random.below(STALL);
        }
    }
}
