//! `import`: creates the entities of a file of JSON lines. The file is streamed, so it may be larger than memory. Many lines are processed
//! at once, and the result is that of one after another: a line waits for earlier ones that name its entity or its external id.

mod line;

use crate::domain::entity::Entity;
use crate::domain::values::Actor;
use crate::pauses::Pauses;
use crate::store::claims::Claims;
use crate::store::configured::ConfiguredStore;
use crate::store::upkeep::import::{Imported, Importing};
use crate::store::{EntityKey, IdKey, StoreFault};
use crate::toolbox::flags::{ConfigFile, actor};
use crate::toolbox::lines::{Line, open, read_lines};
use crate::toolbox::output::{remark, say};
use crate::toolbox::pace::measured;
use crate::toolbox::{FAILED, connect};
use anyhow::{Context as _, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

/// How many lines may be under way at once: enough to keep the store busy.
const IN_FLIGHT: usize = 128;
/// How many lines are read ahead.
const READ_AHEAD: usize = 1_024;
/// How many times a line is tried before the import is given up. With the pauses, that takes about half a minute.
const ATTEMPTS: u32 = 10;

const HELP: &str = r#"ENTITIES.jsonl ("-" reads standard input) has lines of these forms, one for each type; customName,
customerSegment, stateReason, stateValidFrom (milliseconds since 1970, or a time as in RFC 3339) and the superior's refId may be
left out:
  {"type":"customer","refId":"<uuid>","externalId":"c-1","state":"ACTIVE","customName":"…","customerSegment":"…"}
  {"type":"account","refId":"<uuid>","externalId":"a-1","state":"ACTIVE","customerRefId":"<uuid>"}
  {"type":"subscriber","refId":"<uuid>","externalId":"s-1","state":"ACTIVE","accountRefId":"<uuid>"}

An entity that exists is left as it is. A bad line, or one that contradicts what is there, is a finding on standard error ("line 17: …").
All other lines are imported. The exit code is 1 if there was any finding.

Example:
  crm-processor import --config crm.toml --actor "migration of March" entities.jsonl"#;

/// Import customers, accounts and subscribers; safe to repeat
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// A file of JSON lines; - is standard input
    #[arg(value_name = "ENTITIES.jsonl")]
    entities: PathBuf,
    /// The name of the person or system that imports; `show` prints it in the entities' histories
    #[arg(long, value_name = "TEXT", value_parser = actor)]
    actor: Option<Actor>,
}

/// `crm-processor import`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let (input, size) = open(&args.entities)?;
    let claims = Arc::new(connect::claims(&config).await?);
    let (sender, mut lines) = mpsc::channel(READ_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_lines(input, &sender));

    let actor = args.actor;
    let mut import = Import { claims, actor, busy: HashSet::new(), running: FuturesUnordered::new(), tally: Tally::new(size) };
    let rules = config.rules();
    while let Some(Line { number, text, bytes }) = lines.recv().await {
        import.tally.bar.inc(bytes);
        match text.map_err(|reason| vec![reason]).and_then(|text| line::parse(&text, &rules)) {
            Ok(entity) => import.start(number, entity).await?,
            Err(findings) => import.tally.finding(number, &findings.join("; ")),
        }
    }
    while import.finish_one().await? {}
    reading.await?.with_context(|| format!("reading {}", args.entities.display()))?;
    Ok(import.tally.conclude())
}

/// An import under way.
struct Import {
    claims: Arc<Claims<ConfiguredStore>>,
    actor: Option<Actor>,
    /// The partitions of the lines under way.
    busy: HashSet<Partition>,
    running: FuturesUnordered<JoinHandle<Done>>,
    tally: Tally,
}

/// A partition of the store on which a line works: that of its entity, or that of its external id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Partition {
    Entity(EntityKey),
    Id(IdKey),
}

struct Done {
    number: u64,
    partitions: [Partition; 2],
    result: Result<Imported, StoreFault>,
}

impl Import {
    /// Starts a line as soon as there is room and no line is under way that has one of its partitions.
    async fn start(&mut self, number: u64, entity: Entity) -> anyhow::Result<()> {
        let (entity_type, ref_id) = (entity.entity_type, entity.ref_id);
        let partitions = [
            Partition::Entity(EntityKey { entity_type, ref_id }),
            Partition::Id(IdKey { entity_type, external_id: entity.external_id.clone() }),
        ];
        while self.running.len() >= IN_FLIGHT || partitions.iter().any(|p| self.busy.contains(p)) {
            self.finish_one().await?;
        }
        self.busy.extend(partitions.iter().cloned());
        let (claims, importing) = (self.claims.clone(), Importing::by(self.actor.clone()));
        self.running.push(tokio::spawn(async move {
            let result = import(&claims, entity, importing).await;
            Done { number, partitions, result }
        }));
        Ok(())
    }

    /// Waits until a line is done. Returns false if none is under way.
    async fn finish_one(&mut self) -> anyhow::Result<bool> {
        let Some(done) = self.running.next().await else { return Ok(false) };
        let Done { number, partitions, result } = done.map_err(|e: JoinError| anyhow::anyhow!("a bug: {e}"))?;
        for partition in &partitions {
            self.busy.remove(partition);
        }
        match result {
            Ok(Imported::Created) => self.tally.created += 1,
            Ok(Imported::Existed) => self.tally.existed += 1,
            Ok(Imported::Contradicts(how)) => self.tally.finding(number, &how),
            Err(fault) => bail!("line {number}: {fault}; the import gave up: repeat it when the store answers again"),
        }
        Ok(true)
    }
}

/// Imports an entity, and tries again for a while if the store does not answer. An entity that is there because of an attempt that ended
/// in a fault counts as created.
async fn import(claims: &Claims<ConfiguredStore>, entity: Entity, mut importing: Importing) -> Result<Imported, StoreFault> {
    let mut pauses = Pauses::WHILE_AWAY;
    for _ in 1..ATTEMPTS {
        if let Ok(imported) = claims.import_again(entity.clone(), &mut importing).await {
            return Ok(imported);
        }
        pauses.wait().await;
    }
    claims.import_again(entity, &mut importing).await
}

/// The results of the lines so far, and the bar that shows the progress on a terminal.
struct Tally {
    created: u64,
    existed: u64,
    findings: u64,
    start: Instant,
    bar: ProgressBar,
}

impl Tally {
    fn new(size: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        let template = match size {
            Some(_) => "{bar:40} {bytes}/{total_bytes}  {elapsed} (left: {eta})",
            None => "{spinner} {bytes}  {elapsed}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { created: 0, existed: 0, findings: 0, start: Instant::now(), bar }
    }

    fn finding(&mut self, number: u64, text: &str) {
        self.findings += 1;
        self.bar.suspend(|| remark(format_args!("line {number}: {text}")));
    }

    fn conclude(self) -> ExitCode {
        self.bar.finish_and_clear();
        let Self { created, existed, findings, start, .. } = self;
        let (seconds, rate) = measured(start, created + existed);
        say(format_args!("{created} created, {existed} existed, {findings} findings, in {seconds:.1} s ({rate:.0} entities/s)"));
        if findings == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
    }
}
