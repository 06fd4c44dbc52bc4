//! Plays one command after another, tells what is asked and what comes back, and compares each answer and each topic with what the scene
//! promises.

use super::promise::Promise;
use super::stage::Stage;
use crate::domain::command::{RawCommand, RawReference};
use crate::toolbox::crm_client::{Submitted, header, key_of};
use crate::toolbox::paint::{Paint, say};
use crate::toolbox::reply::DecodedReply;
use anyhow::Context as _;
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long an answer may take. Answers come in milliseconds; this is for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A show under way.
pub struct Show<'a> {
    stage: &'a mut Stage,
    paint: Paint,
    began: Instant,
    /// How many conditional writes the imports took.
    writes_before: u64,
    scenes: usize,
    commands: usize,
    statuses: BTreeMap<(i32, String), usize>,
    replayed: usize,
    published: usize,
    dead_letters: usize,
    broken: usize,
}

impl<'a> Show<'a> {
    /// Begins a show.
    pub fn begin(stage: &'a mut Stage, paint: Paint) -> Self {
        let writes_before = stage.metrics.conditional_writes();
        Self {
            stage,
            paint,
            began: Instant::now(),
            writes_before,
            scenes: 0,
            commands: 0,
            statuses: BTreeMap::new(),
            replayed: 0,
            published: 0,
            dead_letters: 0,
            broken: 0,
        }
    }

    /// Begins a scene.
    pub fn scene(&mut self, title: &str) -> anyhow::Result<()> {
        self.scenes += 1;
        say("")?;
        say(self.paint.bold(format!("{}. {title}", self.scenes)))
    }

    /// Sends a command as the CRM does, tells the answer, and compares it with the promise.
    pub async fn ask(&mut self, story: &str, command: &RawCommand, promise: Promise) -> anyhow::Result<DecodedReply> {
        self.tell(story, &in_words(command))?;
        let writes = self.stage.metrics.conditional_writes();
        let reply = self.submit(command)?.reply(PATIENCE).await?;
        let writes = self.stage.metrics.conditional_writes() - writes;
        self.answered(&reply, &conditional_writes(writes))?;
        if let Some(transaction) = &reply.business_transaction {
            let place = if promise.publishes() { "crm.transactions" } else { "in the reply only" };
            say(format!("       {} {}", self.paint.cyan(format!("{place}:")), transaction.summary()))?;
        }
        self.check(promise.broken_by(&reply))?;
        if promise.publishes() {
            self.must_publish(&reply).await?;
        }
        self.must_publish_no_more()?;
        Ok(reply)
    }

    /// Sends something that is no command, as a CRM may do by mistake.
    pub async fn send_garbage(&mut self, story: &str, value: &str, promise: Promise) -> anyhow::Result<()> {
        self.tell(story, value)?;
        let submitted = self.stage.crm.submit_bytes(value.as_bytes(), Some("garbage"))?;
        let reply = submitted.reply(PATIENCE).await?;
        self.answered(&reply, "")?;
        let letter = soon(self.stage.dead_letters.next(), "a dead letter").await?;
        let reason = header(&letter, "__connect.errors.exception.message").map(String::from_utf8_lossy).unwrap_or_default();
        say(format!("       {} the record as it came, with the reason: {reason}", self.paint.cyan("crm.commands.dlq:")))?;
        self.check(promise.broken_by(&reply))?;
        self.dead_letters += 1;
        if letter.payload() != Some(value.as_bytes()) {
            self.check(vec!["the dead letter has other bytes than the record".into()])?;
        }
        self.must_publish_no_more()
    }

    /// Sends commands all at once, each under a key of its own, so that nothing orders them. Exactly one must win; the answers to the
    /// others must be as `refusal` promises.
    pub async fn race(&mut self, story: &str, commands: &[RawCommand], refusal: Promise) -> anyhow::Result<()> {
        self.tell(story, &commands.iter().map(in_words).collect::<Vec<_>>().join("\n       "))?;
        let submitted = commands.iter().map(|c| self.submit(c)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut winners = Vec::new();
        for (command, submitted) in commands.iter().zip(submitted) {
            let reply = submitted.reply(PATIENCE).await?;
            let note = format!("to request {}", command.request_id.as_deref().unwrap_or("-"));
            self.answered(&reply, &note)?;
            if reply.is_ok() {
                let changes = reply.business_transaction.iter().flat_map(|t| &t.changes);
                let asked = command.values.get(command.use_case.first_attribute());
                if !changes.map(|c| c.new.as_deref()).eq([asked]) {
                    self.check(vec!["a command won that did not get what it asked for".into()])?;
                }
                winners.push(reply);
            } else {
                self.check(refusal.broken_by(&reply))?;
            }
        }
        for winner in &winners {
            if let Some(transaction) = &winner.business_transaction {
                say(format!("       {} {}", self.paint.cyan("crm.transactions:"), transaction.summary()))?;
            }
            self.must_publish(winner).await?;
        }
        if winners.len() != 1 {
            self.check(vec![format!("{} commands won the race, but exactly one should have", winners.len())])?;
        }
        self.must_publish_no_more()
    }

    /// Ends the show: prints the numbers, and returns whether all promises were kept.
    pub async fn end(mut self) -> anyhow::Result<bool> {
        self.stage.settled(self.commands).await?;
        self.must_publish_no_more()?;
        let dead_letters = self.stage.dead_letters.length()?;
        if usize::try_from(dead_letters).ok() != Some(self.dead_letters) {
            self.check(vec![format!("{dead_letters} dead letters are on the topic, but {} were promised", self.dead_letters)])?;
        }
        self.say_numbers()?;
        Ok(self.broken == 0)
    }

    fn say_numbers(&self) -> anyhow::Result<()> {
        let row = |name: &str, value: usize, note: &str| {
            let note = if note.is_empty() { String::new() } else { format!("  {}", self.paint.dim(note)) };
            say(format!("  {name:<34}{value:>6}{note}"))
        };
        let writes = self.stage.metrics.conditional_writes() - self.writes_before;
        #[expect(clippy::cast_precision_loss, reason = "a show has dozens of commands")]
        let each = writes as f64 / self.commands.max(1) as f64;
        say("")?;
        say(self.paint.bold("The show in numbers"))?;
        row("commands", self.commands, &format!("answered in {:.1} s", self.began.elapsed().as_secs_f64()))?;
        for ((code, message), count) in &self.statuses {
            let note = if *code == 200 { format!("{} of them replayed", self.replayed) } else { String::new() };
            row(&format!("  {code} {message}"), *count, &note)?;
        }
        row("Business Transactions", self.published, "one for each change")?;
        row("dead letters", self.dead_letters, "")?;
        row("conditional writes", usize::try_from(writes)?, &format!("{each:.2} per command"))?;
        say(format!("  {:<34}http://{}/metrics", "metrics", self.stage.admin))
    }

    fn submit(&mut self, command: &RawCommand) -> anyhow::Result<Submitted> {
        Ok(self.stage.crm.submit(command, key_of(command).as_deref(), None)?)
    }

    fn tell(&self, story: &str, command: &str) -> anyhow::Result<()> {
        say(format!("   {story}"))?;
        say(format!("     {} {}", self.paint.dim("→"), self.paint.dim(command)))
    }

    fn answered(&mut self, reply: &DecodedReply, note: &str) -> anyhow::Result<()> {
        self.commands += 1;
        self.replayed += usize::from(reply.replayed);
        *self.statuses.entry((reply.status_code, reply.status_message.clone())).or_default() += 1;
        say(format!("     {} {}  {}", self.paint.dim("←"), reply.headline(self.paint), self.paint.dim(note)).trim_end())?;
        reply.findings(self.paint).try_for_each(|finding| say(format!("       {finding}")))
    }

    /// Prints each promise that was broken, and counts it.
    fn check(&mut self, broken: Vec<String>) -> anyhow::Result<()> {
        self.broken += broken.len();
        broken.into_iter().try_for_each(|finding| say(self.paint.red(format!("     ✗ not as promised: {finding}"))))
    }

    /// Checks that the next Business Transaction on the topic is the one that the reply shows.
    async fn must_publish(&mut self, reply: &DecodedReply) -> anyhow::Result<()> {
        let record = soon(self.stage.transactions.next(), "a Business Transaction").await?;
        self.published += 1;
        let published = self.stage.decoder.decode(record.payload()).await??;
        let mut broken = Vec::new();
        if published != reply.json["businessTransaction"] {
            broken.push(format!("the Business Transaction on the topic is not that of the reply: {published}"));
        }
        if record.key() != Some(key(&published).as_bytes()) {
            broken.push("the Business Transaction's key does not name its entity".into());
        }
        self.check(broken)
    }

    fn must_publish_no_more(&mut self) -> anyhow::Result<()> {
        let there = self.stage.transactions.length()?;
        if usize::try_from(there).ok() == Some(self.published) {
            return Ok(());
        }
        self.check(vec![format!("{there} Business Transactions are on the topic, but {} were promised", self.published)])
    }
}

async fn soon(next: impl Future<Output = anyhow::Result<OwnedMessage>>, what: &str) -> anyhow::Result<OwnedMessage> {
    timeout(PATIENCE, next).await.with_context(|| format!("{what} was promised and did not come"))?
}

fn conditional_writes(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => "(1 conditional write)".into(),
        n => format!("({n} conditional writes)"),
    }
}

/// Returns the key that a Business Transaction must have: `customer:<refId>`.
fn key(transaction: &Value) -> String {
    let text = |field: &str| transaction[field].as_str().unwrap_or_default();
    format!("{}:{}", text("entityType").to_lowercase(), text("refId"))
}

/// Returns a command in words: `updateCustomerCustomName: request r-1, customer c-1, customName "Ann"`.
fn in_words(command: &RawCommand) -> String {
    let RawCommand { use_case, request_id, reference, values, expected_version } = command;
    let mut parts = Vec::new();
    parts
        .extend(request_id.as_ref().map(|id| if id.contains(' ') { format!("request {id:?}") } else { format!("request {id}") }));
    if let Some(RawReference { external_id, ref_id }) = reference {
        let ids: Vec<_> = external_id.iter().chain(ref_id).map(String::as_str).collect();
        let of = use_case.reference_type().unwrap_or(use_case.entity_type());
        parts.push(format!("{of} {}", ids.join(" and ")));
    }
    let given = use_case.attributes().iter().filter_map(|a| Some((a.name(), values.get(*a)?)));
    parts.extend(given.map(|(name, value)| format!("{name} {value:?}")));
    parts.extend(expected_version.map(|version| format!("expected version {version}")));
    if parts.is_empty() { format!("{}: empty", use_case.name()) } else { format!("{}: {}", use_case.name(), parts.join(", ")) }
}
