//! The commands that the CRM sends meanwhile: all use cases, many about the same entities and ids, some twice, some refused.

use crate::crm::{Draft, Entity, Kind, create, custom_name, rename, segment, state, unique};
use crate::runtime;
use crate::world::{Sent, World};
use crm_processor::store::simulated::Random;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many external ids accounts contend for.
const RING: u64 = 40;
/// How many times a second the CRM sends the commands that are due.
const TICKS: usize = 20;

/// See the module. One thread sends, another says how much.
pub struct Traffic {
    customers: Vec<Entity>,
    accounts: Vec<Entity>,
    subscribers: Vec<Entity>,
    ring: String,
    /// The largest number of commands that are sent in all.
    most: usize,
    state: Mutex<State>,
}

struct State {
    random: Random,
    sent: Vec<Draft>,
    /// The customers that commands were to create.
    created: Vec<Entity>,
    correlations: Vec<String>,
    /// When the brokers had each of the commands: known when all have been sent.
    taken: Vec<Instant>,
    /// How many commands may be sent in all by now.
    allowed: usize,
    per_second: usize,
    needs_store: bool,
    plain: bool,
    stopped: bool,
}

impl Traffic {
    /// Makes the traffic of a seed, of so many commands at most.
    pub fn new(seed: u64, most: usize) -> Self {
        let entities = |kind, count| (0..count).map(|_| Entity::new(kind, "ACTIVE")).collect();
        let state = State {
            random: Random::new(seed ^ 1),
            sent: Vec::new(),
            created: Vec::new(),
            correlations: Vec::new(),
            taken: Vec::new(),
            allowed: 0,
            per_second: 0,
            needs_store: false,
            plain: false,
            stopped: false,
        };
        Self {
            customers: entities(Kind::Customer, 600),
            accounts: entities(Kind::Account, 200),
            subscribers: entities(Kind::Subscriber, 200),
            ring: unique("ring"),
            most,
            state: Mutex::new(state),
        }
    }

    /// Returns the entities to import.
    pub fn entities(&self) -> Vec<Entity> {
        [&*self.customers, &*self.accounts, &*self.subscribers].concat()
    }

    /// Lets the CRM send so many more commands, so many a second.
    pub fn allow(&self, more: usize, per_second: usize) {
        let mut state = self.state();
        state.allowed = (state.allowed + more).min(self.most);
        state.per_second = per_second;
        state.needs_store = false;
    }

    /// Lets the CRM send so many more commands that can't be answered without the store. Returns the number of the first.
    pub fn only_what_needs_the_store(&self, more: usize, per_second: usize) -> usize {
        self.allow(more, per_second);
        let mut state = self.state();
        state.needs_store = true;
        state.sent.len()
    }

    /// Lets the CRM send so many commands a second from now on, without end.
    pub fn flow(&self, per_second: usize) {
        self.allow(self.most, per_second);
    }

    /// Lets the CRM send only changes of customers' names from now on, so many a second. Nobody contends for names, so the
    /// traffic itself is never slow.
    pub fn flow_plainly(&self, per_second: usize) {
        self.flow(per_second);
        self.state().plain = true;
    }

    /// Stops the CRM for now.
    pub fn halt(&self) {
        let mut state = self.state();
        state.allowed = state.sent.len();
    }

    pub fn allowed(&self) -> usize {
        self.state().allowed
    }

    pub fn sent(&self) -> usize {
        self.state().sent.len()
    }

    /// Returns the correlation ids of all commands that were sent so far.
    pub fn correlations(&self) -> Vec<String> {
        self.state().correlations.clone()
    }

    /// Returns the correlation ids of all commands, with the moments at which the brokers had them. [`Traffic::flow_to`] must be
    /// over.
    pub fn taken(&self) -> Vec<(String, Instant)> {
        let state = self.state();
        state.correlations.iter().cloned().zip(state.taken.iter().copied()).collect()
    }

    pub fn correlations_from(&self, first: usize) -> HashSet<String> {
        self.state().correlations[first..].iter().cloned().collect()
    }

    /// Returns the requests about customers with the position of their first command in the traffic. All commands about one
    /// customer have the same key.
    pub fn order(&self) -> HashMap<String, usize> {
        let state = self.state();
        let mut order = HashMap::new();
        for (n, draft) in state.sent.iter().enumerate().filter(|(_, d)| d.record.contains("Customer")) {
            order.entry(draft.request().to_owned()).or_insert(n);
        }
        order
    }

    /// Sends the commands that are allowed while `course` runs, and waits until the brokers have them.
    pub fn flow_to<T>(&self, world: &World, course: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.send_to(world));
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(course));
            self.state().stopped = true;
            sender.join().expect("the CRM does not panic");
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The CRM does not wait for a partition that is away before it sends to another one.
    fn send_to(&self, world: &World) {
        let mut deliveries = Vec::new();
        for tick in 0.. {
            let due = {
                let mut state = self.state();
                if state.stopped {
                    break;
                }
                let until = |tick: usize| tick * state.per_second / TICKS;
                let due = (state.allowed - state.sent.len()).min(until(tick + 1) - until(tick));
                (0..due).map(|_| self.next(&mut state)).collect::<Vec<_>>()
            };
            let taken = |delivery| async move {
                let _: Sent = delivery.await;
                Instant::now()
            };
            deliveries.extend(world.begin_to_send(&due).into_iter().map(|delivery| runtime().spawn(taken(delivery))));
            rest();
        }
        let taken = runtime().block_on(futures::future::try_join_all(deliveries));
        self.state().taken = taken.expect("the brokers take all commands");
    }

    fn next(&self, state: &mut State) -> Draft {
        let correlation = unique("c");
        let draft = self.command(state).header("correlation-id", &correlation);
        state.correlations.push(correlation);
        state.sent.push(draft.clone());
        draft
    }

    fn command(&self, state: &mut State) -> Draft {
        let random = &mut state.random;
        let (request, value) = (unique("r"), unique("v"));
        let customer = pick(random, &self.customers);
        let account = pick(random, &self.accounts);
        let subscriber = pick(random, &self.subscribers);
        if state.plain {
            return custom_name(&request, &customer.by_ref_id(), &value).key(&customer.ref_id);
        }
        let ring = |random: &mut Random| format!("{}-{}", self.ring, random.below(RING));
        match random.below(100) {
            0..38 => custom_name(&request, &customer.by_external_id(), &value).key(&customer.ref_id),
            38..46 => {
                let code = ["ENTERPRISE", "RESIDENTIAL", "SMALL_BUSINESS"][index(random, 3)];
                segment(&request, &customer.by_ref_id(), code).key(&customer.ref_id)
            }
            // Accounts contend for these ids: many are taken, many were given up a moment ago.
            46..60 => rename(Kind::Account, &request, &account.by_ref_id(), &ring(random)).key(&account.ref_id),
            60..66 => rename(Kind::Account, &request, &account.by_ref_id(), &value).key(&account.ref_id),
            // This command is in another lane than those above, and names an id that may be nobody's.
            66..71 => {
                let id = ring(random);
                rename(Kind::Account, &request, &serde_json::json!({"externalId": id}), &value).key(&id)
            }
            71..76 => rename(Kind::Subscriber, &request, &subscriber.by_ref_id(), &value).without_key(),
            76..79 => of_state(Kind::Customer, &request, customer, random),
            79..82 => of_state(Kind::Account, &request, account, random),
            // The account may want an id that another one holds, and may be the superior's first or its hundredth.
            82..84 => new(create(Kind::Account, &request, &ring(random), &customer.by_external_id())),
            84..86 => new(create(Kind::Subscriber, &request, &value, &account.by_ref_id())),
            86..88 => {
                let creation = new(create(Kind::Customer, &request, &value, &serde_json::Value::Null));
                state.created.push(Entity::created_by(&creation));
                creation
            }
            88..90 if !state.created.is_empty() => {
                let customer = pick(random, &state.created);
                let command = match random.below(8) {
                    0 => self::state(Kind::Customer, &request, &customer.by_ref_id(), "DEACTIVATED", serde_json::Value::Null),
                    1..4 => rename(Kind::Customer, &request, &customer.by_ref_id(), &value),
                    _ => custom_name(&request, &customer.by_ref_id(), &value),
                };
                command.key(&customer.ref_id)
            }
            90..97 if !state.sent.is_empty() => {
                let earlier = state.sent[index(&mut state.random, state.sent.len())].clone();
                if state.needs_store && !needs_store(&earlier) {
                    return self.command(state);
                }
                Draft { headers: Vec::new(), ..earlier }
            }
            97..99 if !state.needs_store => custom_name(&request, &customer.by_ref_id(), " ").key(&customer.ref_id),
            _ => custom_name(&request, &customer.by_ref_id(), &value).expecting(1).key(&customer.ref_id),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a command needs the store. One with a blank name is refused before anything is read.
fn needs_store(draft: &Draft) -> bool {
    draft.body["customName"] != " "
}

/// Gives a creation the key that all commands about its entity have.
fn new(creation: Draft) -> Draft {
    let key = Entity::created_by(&creation).ref_id;
    creation.key(key)
}

fn of_state(kind: Kind, request: &str, of: &Entity, random: &mut Random) -> Draft {
    let (to, reason) = [("ACTIVE", None), ("SUSPENDED", Some("unpaid")), ("INACTIVE", None)][index(random, 3)];
    state(kind, request, &of.by_ref_id(), to, reason).key(&of.ref_id)
}

fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).expect("is below a usize")
}

fn pick<'a>(random: &mut Random, from: &'a [Entity]) -> &'a Entity {
    &from[index(random, from.len())]
}

#[expect(clippy::disallowed_methods, reason = "the pace of the CRM")]
fn rest() {
    std::thread::sleep(Duration::from_secs(1) / u32::try_from(TICKS).expect("is small"));
}
