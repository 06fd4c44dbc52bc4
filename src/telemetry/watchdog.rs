//! The last resort against a process that hangs: a thread that ends it when the processor's loop does not come round any more. `/livez`
//! fails then, too, but not everybody asks, and if all threads of the runtime hang, nobody answers.

use super::health::{Health, STUCK_AFTER};
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// How often the thread looks.
const LOOK: Duration = Duration::from_secs(5);
/// How long the loop may not come round until the process is ended. An orchestrator that asks `/livez` acts before that.
pub const END_AFTER: Duration = STUCK_AFTER.saturating_add(Duration::from_secs(30));

/// Starts the thread, which ends with the process.
///
/// # Errors
/// The operating system gives no thread.
pub fn start(health: Arc<Health>) -> std::io::Result<()> {
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        while health.since_beat().is_none_or(|since| since < END_AFTER) {
            rest();
        }
        end();
    })?;
    Ok(())
}

/// Ends the process at once, by SIGABRT, because nothing in it can be relied on to end in order. Nothing is lost by that: it is the same as
/// a kill. A core dump, if the system makes one, shows where the threads are.
fn end() -> ! {
    tracing::error!(
        seconds = END_AFTER.as_secs(),
        threads = threads(),
        "the processor's loop does not come round any more, because of a bug; the process ends, to be started anew: what it was processing \
         will be processed again"
    );
    std::process::abort()
}

/// Returns each thread's name, its state and the hundredths of a second that it has computed, as Linux has them; nothing elsewhere.
fn threads() -> String {
    let mut text = String::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        // The name stands in parentheses, and may have spaces and parentheses itself. The state is the first field behind it, and user and
        // system time are the twelfth and thirteenth.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some(((_, name), rest)) = stat.rsplit_once(')').and_then(|(head, rest)| Some((head.split_once('(')?, rest))) else {
            continue;
        };
        let fields: Vec<_> = rest.split_whitespace().collect();
        let [Some(state), Some(user), Some(system)] = [0, 11, 12].map(|n| fields.get(n)) else { continue };
        let _ = write!(text, "{name} {state} {user}+{system}; ");
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own, which must not depend on the runtime that it watches")]
fn rest() {
    std::thread::sleep(LOOK);
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
