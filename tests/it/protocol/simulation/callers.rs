//! The callers that run at once: lanes with their records, imports, an operator.

use super::erasing::agree;
use super::history::{Effect, Operation};
use super::{Answered, Defect, Defective, Process, Simulation, scene};
use crate::polls::cut_short;
use crm_processor::domain::answer::Answer;
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::request::SourceRecord;
use crm_processor::store::claims::{Decided, Submission};
use crm_processor::store::outcome::Outcome;
use crm_processor::store::simulated::Random;
use crm_processor::store::upkeep::import::Imported;
use crm_processor::store::{ApplyWrite, ConditionalStore, Consistency, EntityKey, EntityStatics, LogRow, StoreFault};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The chance per mille that a caller may crash.
const CRASHES: u64 = 300;
/// The most crashes at one lane's records. Each takes back half of them on average. A run ends at each creation, so that without a bound a
/// long lane might not come to its end.
const MOST_DEATHS: usize = 100;

impl Answered {
    /// The record was refused because its request id was used for something else before. Such a refusal is not stored.
    pub fn is_reused(&self) -> bool {
        self.decided.answer == Answer::Rejected(Rejection::RequestIdReused)
    }
}

impl Simulation {
    /// Lets one process after another work at the records, in order, in runs. A crash or a fault takes some of them back.
    pub async fn lane(&self, phase: usize, records: Vec<Submission>, mut random: Random) {
        let (mut done, mut deaths) = (0, 0);
        while done < records.len() {
            let (which, process) = self.process(&mut random);
            let named = records[done].entity_named();
            let most = usize::try_from(1 + random.below(5)).expect("few");
            let same = |s: &&Submission| s.entity_named() == named;
            let run: Vec<_> = records[done..].iter().take_while(same).take(most).cloned().collect();
            for submission in &run {
                let now = self.now.load(Relaxed);
                self.begun.lock().unwrap().entry(submission.request.record.clone()).or_insert(now);
            }
            let chance = if deaths < MOST_DEATHS { CRASHES } else { 0 };
            let decided = if random.chance(20) {
                perhaps(&mut random, chance, async { Ok(vec![process.give_up(&run[0]).await?]) }).await
            } else {
                perhaps(&mut random, chance, process.decide(&run)).await
            };
            match decided {
                Some(Ok(decided)) => {
                    done += decided.len();
                    if decided.len() > 1 {
                        self.note("a run of several was decided");
                    }
                    for (submission, decided) in run.into_iter().zip(decided) {
                        self.commit(phase, submission, decided);
                    }
                }
                Some(Err(_)) if self.defect == Some(Defect::FaultIsAnswered) => {
                    let answer = Answer::Rejected(Rejection::InternalError);
                    self.commit(phase, run[0].clone(), Decided { answer, replayed: false });
                    done += 1;
                }
                Some(Err(_)) => self.note("a fault was met"),
                None => {
                    self.crashed(which, &mut random);
                    deaths += 1;
                    done -= usize::try_from(random.below(done as u64 + 1)).expect("an index");
                }
            }
        }
    }

    /// Reads ahead for a record that some process has in a lane.
    pub async fn read_ahead(&self, submission: Submission, mut random: Random) {
        let (_, process) = self.process(&mut random);
        let worth = process.can_read_ahead(&submission);
        let read = async {
            process.read_ahead(&submission).await;
            Ok(())
        };
        if perhaps(&mut random, CRASHES, read).await.is_some() && worth && !process.can_read_ahead(&submission) {
            self.note("a command was read ahead");
        }
    }

    /// Notes a record's output. The first one counts; later ones are fenced, but must be the same.
    pub fn commit(&self, phase: usize, submission: Submission, mut decided: Decided) {
        if self.defect == Some(Defect::SourceRecordIgnored) {
            decided.replayed = false;
        }
        let request = submission.request.id.as_str().to_owned();
        let mut answers = self.answers.lock().unwrap();
        let Some(Answered { decided: first, .. }) = answers.get(&submission.request.record) else {
            self.note(what(&decided));
            let at = self.now.load(Relaxed);
            answers.insert(submission.request.record.clone(), Answered { submission, decided, phase, at });
            return;
        };
        // The entity that holds the reference now may have used a reused request id meanwhile. Then the request id is that
        // entity's.
        if first.publishes() || decided.publishes() || !self.several.lock().unwrap().contains(&request) {
            let same = (decided.replayed, decided.publishes()) == (first.replayed, first.publishes());
            assert!(same && agree(&decided.answer, &first.answer), "the same record {submission:?}: {decided:?}, {first:?}");
        }
    }

    pub async fn import(&self, entity: Entity, mut random: Random) {
        let begin = self.now.load(Relaxed);
        loop {
            let (which, process) = self.process(&mut random);
            match perhaps(&mut random, CRASHES, process.import(entity.clone())).await {
                Some(Ok(imported)) => return self.imported(begin, entity, &imported, &process).await,
                Some(Err(_)) => self.note("a fault was met"),
                None => self.crashed(which, &mut random),
            }
        }
    }

    async fn imported(&self, begin: u64, entity: Entity, imported: &Imported, process: &Process<Defective>) {
        let end = self.now.load(Relaxed);
        let reference = Reference::RefId(entity.ref_id);
        let there = loop {
            if let Ok(shown) = process.show(entity.entity_type, &reference).await {
                break shown.is_some();
            }
        };
        assert!(there || matches!(imported, Imported::Contradicts(_)), "{imported:?}");
        let (event, effect) = match imported {
            Imported::Created => ("an entity was imported", Effect::Created(entity)),
            Imported::Existed => ("an import came too late", Effect::Existed(entity)),
            Imported::Contradicts(_) => ("an import contradicted", Effect::Contradicted(entity)),
        };
        self.note(event);
        self.beside.lock().unwrap().push(Operation { begin, end, effect });
    }

    /// Changes a state behind the processor's back, as far as the conditions allow.
    pub async fn operate(&self, phase: usize, (entity_type, name): (EntityType, &'static str), state: State) {
        let key = EntityKey { entity_type, ref_id: self.world.ref_id(name) };
        let begin = self.now.load(Relaxed);
        for _ in 0..5 {
            let Ok(read) = self.store.read_entity(key, &[], Consistency::Serial).await else { continue };
            let statics = read.statics.expect("it is there from the beginning");
            let entity = Entity { state, version: statics.entity.version + 1, ..statics.entity.clone() };
            let row = LogRow { request_id: scene::OPERATIONS[phase].into(), changed_to: None, outcome: operated(key), ttl: None };
            let _ = self.store.apply(ApplyWrite::about(&statics, Some(EntityStatics { entity, ..statics }), vec![row])).await;
        }
        let effect = Effect::Operated(entity_type, key.ref_id, state);
        self.beside.lock().unwrap().push(Operation { begin, end: u64::MAX, effect });
    }

    fn process(&self, random: &mut Random) -> (usize, Arc<Process<Defective>>) {
        let processes = self.processes.lock().unwrap();
        let which = usize::try_from(random.below(processes.len() as u64)).expect("an index");
        (which, Arc::clone(&processes[which]))
    }

    /// Ends a caller; perhaps its whole process, and with it the cache.
    fn crashed(&self, which: usize, random: &mut Random) {
        self.note("a caller crashed");
        if random.chance(300) {
            self.note("a process was replaced");
            self.processes.lock().unwrap()[which] = Arc::new(self.world.process_with(&self.options));
        }
    }

    fn note(&self, event: &'static str) {
        self.happened.lock().unwrap().note(event);
    }
}

/// Returns the outcome that an operator's operation stores, because whoever reads the whole log must find one.
fn operated(key: EntityKey) -> Vec<u8> {
    let record = SourceRecord { topic: "operator".into(), partition: 0, offset: 0 };
    let answer = Answer::Rejected(Rejection::InternalError);
    Outcome { fingerprint: key.ref_id, record, at: 0, epoch: None, answer, actor: None }.encode()
}

fn what(decided: &Decided) -> &'static str {
    match &decided.answer {
        _ if decided.replayed => "a stored answer was given again",
        Answer::Changed(transaction) if transaction.use_case.is_creation() => "an entity was created",
        Answer::Changed(_) => "a change was published",
        Answer::Unchanged(_) => "a value was there already",
        Answer::Rejected(rejection) => rejection.code(),
    }
}

/// Returns the result of `work`, or `None` if its process crashes, by this chance per mille: `work` is then dropped at some await.
async fn perhaps<T>(
    random: &mut Random,
    chance: u64,
    work: impl Future<Output = Result<T, StoreFault>>,
) -> Option<Result<T, StoreFault>> {
    let after = if random.chance(chance) { random.below(40) } else { u64::MAX };
    cut_short(work, after).await
}
