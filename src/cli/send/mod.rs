//! `send`: a CRM at the command line. It sends one command, from flags, or many, from a file, and waits for the reply to each.

mod diagnosis;
mod file;
mod flags;
mod line;

use crate::config::Config;
use crate::telemetry::log;
use crate::toolbox::crm_client::{CrmClient, NoReply};
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::output::remark;
use crate::toolbox::paint::Paint;
use crate::toolbox::{FAILED, WRONG_CONFIGURATION, connect};
use flags::CommandArgs;
use line::CommandToSend;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = r#"Examples:
  crm-processor send --config crm.toml createCustomer --external-id c-1 --custom-name "Ann's Flowers" --segment RESIDENTIAL
  crm-processor send --config crm.toml createAccount --external-id a-1 --superior c-1
  crm-processor send --config crm.toml createSubscriber --external-id s-1 --superior a-1 --state INACTIVE --reason "no SIM yet"
  crm-processor send --config crm.toml updateCustomerCustomName --external-id c-1 --value "Ann & Sons" --actor "call centre"
  crm-processor send --config crm.toml updateCustomerSegment --external-id c-1 --value ENTERPRISE --expected-version 2
  crm-processor send --config crm.toml updateAccountExternalId --ref-id 0198c7a0-0000-7000-8000-00000000000a --value a-2
  crm-processor send --config crm.toml updateSubscriberState --external-id s-1 --value SUSPENDED --reason unpaid
  crm-processor send --config crm.toml updateSubscriberExternalId --external-id s-1     a 400: the value is missing
  crm-processor send --config crm.toml --file commands.jsonl                            many, "-" reads standard input

In an update, --external-id or --ref-id names the entity, and --value is the new value. In a creation, --external-id is that of the new
entity, and each other value has a flag of its own. To see a duplicate, send the same --request-id twice. Without --request-id a random one
is made up. All else that is left out is null in the command.

Lines of commands.jsonl:
  {"useCase":"createAccount","externalId":"a-1","customer":{"externalId":"c-1"},"customName":"Home"}
  {"useCase":"updateCustomerCustomName","requestId":"r-1","customer":{"externalId":"c-1"},"customName":"Ann","expectedVersion":2}
The entity (of a creation: the one to which the new entity belongs) is "customer", "account" or "subscriber", with "externalId" or "refId".
The values are "customName", "customerSegment", "externalId", "state" and "stateReason", those that the use case has. "actor" says who asks.
If "requestId" is left out, a random one is made up; if "key" is left out, it is the entity's id. Either is null if the line says null.
Replies are printed in the order of the file. A line that is no command, or gets no reply, is a finding on standard error ("line 17: …").

If no reply comes in time, `send` says where the command lies, whether the processor of this configuration is ready (/readyz on
admin.listen), and how far its consumer group is from answering. The command stays on its topic and will be answered.

The exit code is 0 if the status is 200 (with --file: the status of each line), else 1."#;

/// Send commands as a CRM does, and wait for the replies
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    command: CommandArgs,
    /// Send the commands of a file of JSON lines; - is standard input
    #[arg(long, value_name = "COMMANDS.jsonl", conflicts_with = "CommandArgs")]
    file: Option<PathBuf>,
    /// How long to wait for a reply
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    form: Form,
}

/// After so long without a reply, `send` says that it still waits.
const SILENCE: Duration = Duration::from_secs(4);

/// `crm-processor send`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outgoing = match args.command.outgoing() {
        Ok(outgoing) => outgoing,
        Err(findings) => {
            for finding in findings {
                remark(format_args!("crm-processor: {finding}"));
            }
            return Ok(ExitCode::from(WRONG_CONFIGURATION));
        }
    };
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let crm = CrmClient::connect(&config.kafka, connect::registry(&config)?).await?;
    let all_ok = match (outgoing, args.file) {
        (Some(outgoing), _) => match send(&config, &crm, &outgoing, args.timeout, args.form).await? {
            Ok(ok) => ok,
            Err(no_reply) => return Err(with_way_out(&config, &no_reply).await),
        },
        (None, file) => {
            let file = file.expect("clap asks for a file if there is no command");
            let mut sending = std::pin::pin!(file::send(&crm, &file, args.timeout, args.form));
            let sent = tokio::select! {
                sent = &mut sending => sent,
                () = silence(&crm) => {
                    let (sent, ()) = tokio::join!(sending, say_that_it_waits(&config, args.timeout));
                    sent
                }
            };
            let sent = sent?;
            if let Some(no_reply) = &sent.no_reply {
                remark(way_out(&config, no_reply).await);
            }
            sent.all_ok
        }
    };
    crm.close().await;
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Sends a command and prints the reply. Returns whether the status is 200, or why there is no reply.
async fn send(
    config: &Config,
    crm: &CrmClient,
    outgoing: &CommandToSend,
    timeout: Duration,
    form: Form,
) -> io::Result<Result<bool, NoReply>> {
    let CommandToSend { command, key, actor } = outgoing;
    let paint = Paint::for_stdout();
    let mut out = io::stdout();
    let submitted = match crm.submit(command, key.as_deref(), actor.as_ref()) {
        Ok(submitted) => submitted,
        Err(no_reply) => return Ok(Err(no_reply)),
    };
    if !form.is_json() {
        // The request id is shown because it may have been made up.
        let request = command.request_id.as_deref().unwrap_or_default();
        writeln!(out, "{}", paint.dim(format!("{}, request {request:?}", command.use_case.name())))?;
    }
    let mut reply = std::pin::pin!(submitted.reply(timeout));
    let early = tokio::time::timeout(SILENCE, &mut reply).await;
    let answer = if let Ok(answer) = early {
        answer
    } else {
        // To find out why takes seconds if nobody answers, and the reply may come meanwhile.
        let (answer, ()) = tokio::join!(reply, say_that_it_waits(config, timeout));
        answer
    };
    let reply = match answer {
        Ok(reply) => reply,
        Err(no_reply) => return Ok(Err(no_reply)),
    };
    if form.is_json() {
        writeln!(out, "{}", reply.json)?;
    } else {
        writeln!(out, "{}", reply.headline(paint))?;
        reply.details(paint).try_for_each(|detail| writeln!(out, "  {detail}"))?;
    }
    Ok(Ok(reply.is_ok()))
}

/// Resolves when commands have been waiting for [`SILENCE`] and none was answered meanwhile.
async fn silence(crm: &CrmClient) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(SILENCE).await;
        let settled = crm.settled();
        if settled == seen && crm.is_waiting() {
            return;
        }
        seen = settled;
    }
}

/// Says that `send` still waits for a reply, and what the processor says of itself.
async fn say_that_it_waits(config: &Config, timeout: Duration) {
    let found = diagnosis::of(config, None).await.join("\n");
    let (so_far, timeout) = (humantime::format_duration(SILENCE), humantime::format_duration(timeout));
    remark(format_args!("No reply for {so_far}; waiting for up to {timeout}. {found}"));
}

async fn with_way_out(config: &Config, no_reply: &NoReply) -> anyhow::Error {
    let way_out = way_out(config, no_reply).await;
    anyhow::anyhow!("{}", [no_reply.to_string(), way_out].join("\n").trim_end())
}

/// Returns what was found out about a missing reply, and what else to look at. Returns nothing unless the time ran out.
async fn way_out(config: &Config, no_reply: &NoReply) -> String {
    let NoReply::TimedOut { delivered, .. } = no_reply else { return String::new() };
    let mut lines = diagnosis::of(config, delivered.as_ref()).await;
    lines.extend(no_reply.way_out());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::error::ErrorKind> {
        let line = Line::try_parse_from(["send", "--config", "crm.toml"].iter().chain(flags));
        line.map(|line| line.args).map_err(|e| e.kind())
    }

    #[test]
    fn it_is_either_one_command_or_a_file() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, ValueValidation};
        assert_eq!(parse(&[]).unwrap_err(), MissingRequiredArgument);
        assert_eq!(parse(&["updateCustomer"]).unwrap_err(), InvalidValue);
        assert_eq!(parse(&["createCustomer", "--actor", " "]).unwrap_err(), ValueValidation);
        assert_eq!(parse(&["--file", "-", "updateCustomerSegment"]).unwrap_err(), ArgumentConflict);
        assert_eq!(parse(&["--file", "-", "--value", "x"]).unwrap_err(), ArgumentConflict);
        assert!(parse(&["--file", "-"]).unwrap().file.is_some());
    }
}
