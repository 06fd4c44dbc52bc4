//! Measures a gateway beside the topic, with the same processors in the same run: the latency of both at a rate, in turn; then how many
//! commands each takes; then the gateway's memory while many requests are open. The commands are those of the case `name`.

use super::bars::bar;
use super::cases::{Case, CaseStep};
use super::http_clients::{Clients, SentCommands};
use super::latency::Latency;
use super::load::Crm;
use super::measure::used;
use super::measured::Usage;
use super::process::{Process, free_address, until_all_ready};
use super::round::Round;
use super::table::{TableLine, mib};
use super::workbench::Bench;
use crate::domain::attribute::Attribute;
use crate::domain::command::RawReference;
use crate::domain::use_case::UseCase;
use anyhow::{Context as _, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How many commands a second the latency is measured at, unless the options say otherwise.
const RATE: f64 = 100.0;
/// How long each of the turns is in which the latency is measured.
const TURN_SECONDS: f64 = 10.0;
/// How many turns either way has, so that a slow moment of the machine rarely falls to one of them alone.
const TURNS: u32 = 2;
/// How many clients send at a rate. Each has one command under way at most.
const AT_RATE: u32 = 64;
/// How many clients send as fast as they are answered. Some are always ahead of the processor's next transaction.
const AT_ONCE: u32 = 512;
/// How many requests are open while memory is measured.
const OPEN: u32 = 1000;
/// The longest that a gateway lets a client wait, within which the open requests are answered.
const WAIT: &str = "wait=30";
/// How long the requests may take to be open.
const OPENING: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The measurements of one way: through the topic, or through the gateway.
#[derive(Default)]
struct Way {
    seconds: f64,
    taken: Vec<Duration>,
    cpu: Duration,
    peak_kib: u64,
}

/// A gateway that is ready, and its address.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Bench {
    /// Measures the gateway and the topic, and prints their lines.
    pub(super) async fn over_http(&mut self, base: &Round) -> anyhow::Result<()> {
        let bar = bar("http: importing");
        let needs = Case::Name.needs(self.options.commands(), self.options.entities);
        self.fleet.complete(&base.config, needs, &bar).await?;
        bar.finish_and_clear();
        let round = self.place.round().await?;
        ensure!(round.config.gateway.tls.is_none(), "bench --http speaks plain HTTP: leave gateway.tls out of the configuration");
        for number in 0..usize::from(self.options.instances) {
            self.place.processors.push(Process::processor(&round, number)?);
        }
        until_all_ready(&mut self.place.processors, self.options.partitions).await?;
        let address = free_address()?;
        let mut gateway = Gateway { process: Process::gateway(&round, address, AT_ONCE.max(OPEN))?, address };
        gateway.process.until_ready().await?;
        let measured = self.beside_the_topic(&round, &gateway).await;
        if measured.is_err() {
            let all = self.place.processors.iter().chain([&gateway.process]);
            let tails: Vec<_> = all.map(Process::log_tail).collect();
            return measured.context(format!("of the processes, {}", tails.join("\n")));
        }
        gateway.process.stop().await?;
        for processor in self.place.processors.drain(..) {
            processor.stop().await?;
        }
        Ok(())
    }

    async fn beside_the_topic(&mut self, round: &Round, gateway: &Gateway) -> anyhow::Result<()> {
        let rate = self.options.rate.unwrap_or(RATE);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a million a second at most")]
        let each = ((rate * TURN_SECONDS) as u32).clamp(1, self.options.commands());
        let (mut topic, mut http) = (Way::default(), Way::default());
        // Connections, metadata and caches are a matter of starting.
        self.through_topic(round, 1, None).await?;
        for _ in 0..TURNS {
            topic.add(self.through_topic(round, each, Some(rate)).await?);
            let mut clients = gateway.clients(AT_RATE).await?;
            self.through_gateway(gateway, &mut clients, AT_RATE, None).await?;
            http.add(self.through_gateway(gateway, &mut clients, each, Some(rate)).await?);
        }
        let (topic, http) = (topic.line("topic-at-rate"), http.line("http-at-rate"));
        self.report.line(&topic)?;
        self.report.line(&http)?;
        let [more, more_at_worst] = [http.reply_ms.p50 - topic.reply_ms.p50, http.reply_ms.p99 - topic.reply_ms.p99];
        let remark = format!("at {rate}/s through the gateway: p50 {more:+.2} ms, p99 {more_at_worst:+.2} ms beside the topic");
        self.report.remark(&remark)?;

        let commands = self.options.commands();
        let topic = self.through_topic(round, commands, None).await?.line("topic");
        self.report.line(&topic)?;
        let mut clients = gateway.clients(AT_ONCE).await?;
        self.through_gateway(gateway, &mut clients, AT_ONCE, None).await?;
        let http = self.through_gateway(gateway, &mut clients, commands, None).await?.line("http");
        self.report.line(&http)?;
        let of_a_core = 1e6 / http.cpu_us_per_command.max(1e-9);
        self.report.remark(&format!("the gateway's CPU time would do for {of_a_core:.0} requests/s on one core"))?;
        drop(clients);
        self.memory(gateway).await
    }

    /// Sends commands through the topic, and measures the processors. Without a rate, all are written at once.
    async fn through_topic(&mut self, round: &Round, commands: u32, per_second: Option<f64>) -> anyhow::Result<Way> {
        let bar = bar("http: through the topic");
        // A CRM of its own reads the replies from here on: none of the gateway's.
        let mut crm = Crm::open(round, true).await?;
        let mut batch = self.prepare(&mut crm, &Case::Name.steps(commands, self.options.entities))?;
        let before = used(&self.place.processors)?.cpu;
        let (start, came);
        if let Some(per_second) = per_second {
            let sending = crm.write_at(&mut batch, per_second);
            start = sending.start;
            came = self.replies(&mut crm, &batch, &bar).await?;
            sending.done().await?;
        } else {
            start = Instant::now();
            crm.write(&mut batch).await?;
            came = self.replies(&mut crm, &batch, &bar).await?;
        }
        bar.finish_and_clear();
        let after = used(&self.place.processors)?;
        let due = |number: u32| per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(number) / rate));
        let taken = (0..).zip(&came).map(|(number, came)| came.saturating_duration_since(start + due(number))).collect();
        let last = came.iter().max().copied().unwrap_or(start);
        let cpu = after.cpu.saturating_sub(before);
        Ok(Way { seconds: (last - start).as_secs_f64(), taken, cpu, peak_kib: after.peak_kib })
    }

    /// Sends commands through the gateway, and measures the gateway. Without a rate, each client sends as soon as it is answered.
    async fn through_gateway(
        &mut self,
        gateway: &Gateway,
        clients: &mut Clients,
        commands: u32,
        per_second: Option<f64>,
    ) -> anyhow::Result<Way> {
        let bodies = self.bodies(commands);
        let before = gateway.process.usage()?.cpu;
        let SentCommands { seconds, taken } = clients.send(bodies, per_second).await?;
        let Usage { cpu, peak_kib, .. } = gateway.process.usage()?;
        Ok(Way { seconds, taken, cpu: cpu.saturating_sub(before), peak_kib })
    }

    /// Measures the gateway's memory with and without open requests.
    async fn memory(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let mut clients = gateway.clients(OPEN).await?;
        let bodies = self.bodies(OPEN);
        let idle = gateway.process.usage()?;
        self.place.processors.iter().try_for_each(Process::pause)?;
        let open = async {
            let deadline = Instant::now() + OPENING;
            while gateway.process.open_requests().await? < f64::from(OPEN) {
                ensure!(Instant::now() < deadline, "not all of {OPEN} requests are open");
                sleep(LOOK_AGAIN).await;
            }
            let open = gateway.process.usage()?;
            self.place.processors.iter().try_for_each(Process::go_on)?;
            anyhow::Ok(open)
        };
        let (sent, open) = tokio::try_join!(clients.send(bodies, None), open)?;
        let way = Way { cpu: gateway.process.usage()?.cpu.saturating_sub(idle.cpu), ..Way::from(sent) };
        let line = Way { peak_kib: open.present_kib, ..way }.line("http-open");
        self.report.line(&line)?;
        let (with, without) = (mib(open.present_kib), mib(idle.present_kib));
        self.report.remark(&format!("the gateway has {with:.1} MiB with {OPEN} open requests, and {without:.1} MiB with none"))
    }

    /// Returns the bodies of commands that were not sent before.
    fn bodies(&mut self, commands: u32) -> Vec<String> {
        self.pass += 1;
        let body = |step: &CaseStep| {
            let (command, _) = self.fleet.command(self.pass, *step);
            let RawReference { external_id, .. } = command.reference.unwrap_or_default();
            let name = command.values.get(Attribute::CustomName);
            let customer = serde_json::json!({ "externalId": external_id });
            serde_json::json!({"requestId": command.request_id, "customer": customer, "customName": name}).to_string()
        };
        Case::Name.steps(commands, self.options.entities).iter().map(body).collect()
    }
}

impl Gateway {
    async fn clients(&self, count: u32) -> anyhow::Result<Clients> {
        let path = format!("/v1/{}", UseCase::UpdateCustomerCustomName.name());
        Clients::connect(self.address, count as usize, path, WAIT).await
    }
}

impl From<SentCommands> for Way {
    fn from(SentCommands { seconds, taken }: SentCommands) -> Self {
        Self { seconds, taken, ..Self::default() }
    }
}

impl Way {
    /// Adds what another turn of the same way has measured.
    fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.taken.extend(other.taken);
        self.cpu += other.cpu;
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn line(self, case: &str) -> TableLine {
        let commands = self.taken.len() as f64;
        TableLine {
            case: case.into(),
            commands: self.taken.len() as u64,
            seconds: self.seconds,
            commands_per_second: commands / self.seconds.max(1e-9),
            ceiling_per_second: None,
            ratio: None,
            lwts_per_command: None,
            records_per_transaction: None,
            cpu_us_per_command: self.cpu.as_secs_f64() * 1e6 / commands.max(1.0),
            peak_memory_mib: mib(self.peak_kib),
            reply_ms: Latency::of(self.taken),
            steps_ms: None,
        }
    }
}
