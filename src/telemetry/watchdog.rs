//! The last resort against a process that hangs: a thread that ends the process when its main loop begins no more rounds. (The main loop is
//! that of the processor, or that of the gateway's reader of replies.) `/livez` fails then, too, but not everybody asks it, and if all
//! threads of the runtime hang, it does not answer.

use super::health::{Health, STUCK_AFTER};
use super::process::Stat;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// How often the thread looks.
const LOOK: Duration = Duration::from_secs(5);
/// How recently the loop must have begun a round to count as healthy. Each loop begins a round at least that often, even if it has nothing
/// to do.
const ROUND: Duration = Duration::from_secs(15);
/// How long the loop may begin no round before the process is ended. An orchestrator that asks `/livez` acts earlier.
const END_AFTER: Duration = STUCK_AFTER.saturating_add(Duration::from_secs(30));

/// How long the log may take to say why the process ends. Whoever reads it may hang, too.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts the thread, which ends with the process.
///
/// # Errors
/// The operating system gives no thread.
pub fn start(health: Arc<Health>) -> std::io::Result<()> {
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        // The thread counts the time by its own looks. If the whole process was frozen, the loop gets a chance to come round.
        let mut stuck = Duration::ZERO;
        while stuck + ROUND < END_AFTER {
            rest(LOOK);
            let came_round = health.since_beat().is_none_or(|since| since < ROUND);
            stuck = if came_round { Duration::ZERO } else { stuck + LOOK };
        }
        end();
    })?;
    Ok(())
}

/// Ends the process at once, by SIGABRT, because nothing in it can be relied on to end in order. Nothing is lost by that: it is the same as
/// a kill. A core dump, if the system makes one, shows where the threads are.
fn end() -> ! {
    // If the system gives no thread for the message, the process ends without one.
    let saying = std::thread::Builder::new().name("last-words".into()).spawn(|| {
        tracing::error!(
            seconds = END_AFTER.as_secs(),
            threads = threads(),
            "the process's main loop does not come round any more, because of a bug; the process ends, to be started anew: what it was \
             doing will be done again"
        );
    });
    let (step, mut waited) = (LAST_WORDS / 20, Duration::ZERO);
    while waited < LAST_WORDS && saying.as_ref().is_ok_and(|saying| !saying.is_finished()) {
        rest(step);
        waited += step;
    }
    std::process::abort()
}

/// Returns each thread with its name, its state and the CPU time that it has used; nothing on systems other than Linux.
fn threads() -> String {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let told = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        Stat::read(&stat).map(|Stat { name, state, cpu, .. }| format!("{name} {state} {cpu:?}"))
    });
    told.collect::<Vec<_>>().join("; ")
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own, which must not depend on the runtime that it watches")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_are_told_with_their_states() {
        let named = std::thread::Builder::new().name("to be (told)".into());
        let told = named.spawn(threads).unwrap().join().unwrap();
        assert!(told.contains("to be (told) R ") || !std::path::Path::new("/proc/self/task").exists(), "{told}");
    }
}
