//! The load of a soak: new names, one customer after another, so many a second.

use crate::crm::{Draft, Entity, custom_name, unique};
use crate::world::World;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the load looks for commands that are due. What it adds to the time to a reply is less.
const TICK: Duration = Duration::from_millis(2);

#[derive(Clone)]
pub struct Load {
    entities: Arc<[Entity]>,
    /// The beginning of the request ids.
    run: Arc<str>,
    sent: Arc<AtomicUsize>,
}

impl Load {
    pub fn new(entities: Vec<Entity>) -> Self {
        Self { entities: entities.into(), run: unique("soak").into(), sent: Arc::default() }
    }

    /// Returns how many commands were sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Acquire)
    }

    /// Sends `rate` commands a second until `end`.
    pub fn flow(&self, world: &World, rate: u32, end: Instant) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            let due = usize::try_from(now.duration_since(begun).as_micros() * u128::from(rate) / 1_000_000).expect("is a count");
            while self.sent() < due {
                // A command that the brokers do not take is not answered, which the end shows.
                drop(world.begin_to_send(&[self.command(self.sent())]));
                self.sent.fetch_add(1, Ordering::Release);
            }
            tick();
        }
    }

    fn command(&self, number: usize) -> Draft {
        let entity = &self.entities[number % self.entities.len()];
        let request = format!("{}-{number}", self.run);
        custom_name(&request, &entity.by_ref_id(), &format!("name {number}"))
            .key(&entity.ref_id)
            .header("correlation-id", Correlation { number, sent: now() }.to_string())
    }
}

/// What the correlation id says: the command's number, from 0, and when it was sent, since the epoch.
#[derive(Clone, Copy)]
pub struct Correlation {
    pub number: usize,
    pub sent: Duration,
}

impl Correlation {
    pub fn parse(text: &str) -> Option<Self> {
        let (number, sent) = text.split_once(' ')?;
        Some(Self { number: number.parse().ok()?, sent: Duration::from_micros(sent.parse().ok()?) })
    }
}

impl std::fmt::Display for Correlation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.sent.as_micros())
    }
}

/// Returns the number of the command in a request id of the load.
pub fn number_of(request: &str) -> Option<usize> {
    request.rsplit_once('-')?.1.parse().ok()
}

/// Returns the time since the epoch.
#[expect(clippy::disallowed_methods, reason = "the time at which a command is sent stands in its correlation id")]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970")
}

#[expect(clippy::disallowed_methods, reason = "the pace of the load")]
fn tick() {
    std::thread::sleep(TICK);
}
