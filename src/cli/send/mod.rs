//! `send`: a CRM at the command line. It sends one command, from flags, or many, from a file, and waits for the reply to each.

mod diagnosis;
mod file;
mod line;

use crate::config::Config;
use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use crate::telemetry::log;
use crate::toolbox::crm_client::{CrmClient, NoReply};
use crate::toolbox::flags::{ConfigFile, Form};
use crate::toolbox::paint::Paint;
use crate::toolbox::{FAILED, connect};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use line::{Outgoing, key_of, new_request_id};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = r#"Examples:
  crm-processor send --config crm.toml updateCustomerCustomName --external-id c-1 --value "Ann's Flowers"
  crm-processor send --config crm.toml updateCustomerSegment --external-id c-1 --value ENTERPRISE --expected-version 2
  crm-processor send --config crm.toml updateAccountExternalId --ref-id 0198c7a0-0000-7000-8000-00000000000a --value a-2
  crm-processor send --config crm.toml updateSubscriberState --external-id s-1 --value SUSPENDED --reason unpaid
  crm-processor send --config crm.toml updateSubscriberExternalId --external-id s-1     a 400: the value is missing
  crm-processor send --config crm.toml --file commands.jsonl                            many, "-" reads standard input

To see a duplicate, send the same --request-id twice. Without --request-id a random one is made up. All else that is left out is null in
the command.

A line of commands.jsonl:
  {"useCase":"updateCustomerCustomName","requestId":"r-1","customer":{"externalId":"c-1"},"customName":"Ann","expectedVersion":2,"key":"c-1"}
The entity is "customer", "account" or "subscriber", with "externalId" or "refId"; the new value is "customName", "customerSegment",
"externalId", or "state" with or without "stateReason". If "requestId" is left out, a random one is made up; if "key" is left out, it is
the entity's id. Either is null if the line says null. Replies are printed in the order of the file. A line that is no command, or
gets no reply, is a finding on standard error ("line 17: …").

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

/// One command.
#[derive(Debug, clap::Args)]
struct CommandArgs {
    /// What the command asks for
    #[arg(value_name = "USE_CASE", required_unless_present = "file", value_parser = use_case())]
    use_case: Option<UseCase>,
    /// The entity's external id; of a creation, that of the customer or account to which the entity will belong
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    external_id: Option<String>,
    /// The entity's refId, a UUID; of a creation, that of the customer or account to which the entity will belong
    #[arg(long, value_name = "UUID", allow_hyphen_values = true)]
    ref_id: Option<String>,
    /// The new value: a name, a segment, a state, an external id. A creation with more than that takes a line of a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    value: Option<String>,
    /// Why the entity gets its new state
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    reason: Option<String>,
    /// Names the request, so that it is recognised when it comes again [default: a random UUID]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    request_id: Option<String>,
    /// The version that the entity must have
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    expected_version: Option<i64>,
    /// The record's key: commands with the same key take effect in their order [default: the entity's id]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    key: Option<String>,
}

fn use_case() -> impl TypedValueParser<Value = UseCase> {
    let names = PossibleValuesParser::new(UseCase::ALL.iter().map(|u| u.name()));
    names.try_map(|name| UseCase::from_name(&name).ok_or("is no use case"))
}

/// After so long without a reply, `send` says that it still waits.
const SILENCE: Duration = Duration::from_secs(4);

/// `crm-processor send`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    let crm = CrmClient::connect(&config.kafka, connect::registry(&config)?).await?;
    let all_ok = match (args.command.outgoing(), args.file) {
        (Some(outgoing), _) => match send(&config, &crm, &outgoing, args.timeout, args.form).await? {
            Ok(ok) => ok,
            Err(no_reply) => return Err(with_way_out(&config, &no_reply).await),
        },
        (None, Some(file)) => {
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
                eprintln!("{}", way_out(&config, no_reply).await);
            }
            sent.all_ok
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    crm.close().await;
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Sends a command and prints the reply. Returns whether the status is 200, or why there is no reply.
async fn send(
    config: &Config,
    crm: &CrmClient,
    outgoing: &Outgoing,
    timeout: Duration,
    form: Form,
) -> io::Result<Result<bool, NoReply>> {
    let Outgoing { command, key } = outgoing;
    let paint = Paint::for_stdout();
    let mut out = io::stdout();
    let submitted = match crm.submit(command, key.as_deref()) {
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
        let answered = crm.answered();
        if answered == seen && crm.is_waiting() {
            return;
        }
        seen = answered;
    }
}

/// Says that `send` still waits for a reply, and what the processor says of itself.
async fn say_that_it_waits(config: &Config, timeout: Duration) {
    let found = diagnosis::of(config, None).await.join("\n");
    let (so_far, timeout) = (humantime::format_duration(SILENCE), humantime::format_duration(timeout));
    eprintln!("No reply for {so_far}; waiting for up to {timeout}. {found}");
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

impl CommandArgs {
    fn outgoing(self) -> Option<Outgoing> {
        let Self { use_case, external_id, ref_id, value, reason, request_id, expected_version, key } = self;
        let reference = (external_id.is_some() || ref_id.is_some()).then_some(RawReference { external_id, ref_id });
        let request_id = Some(request_id.unwrap_or_else(new_request_id));
        let use_case = use_case?;
        let values = use_case.first_value(value).with(Attribute::StateReason, reason);
        let command = RawCommand { use_case, request_id, reference, values, expected_version };
        Some(Outgoing { key: key.or_else(|| key_of(&command)), command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::RawValues;
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
    fn flags_become_a_command_with_a_key_and_a_request_id() {
        let outgoing = parse(&["updateAccountExternalId", "--external-id", "a-1", "--value", "a-2"]).unwrap().command.outgoing();
        let Outgoing { command, key } = outgoing.unwrap();
        assert_eq!((command.use_case, key.as_deref()), (UseCase::UpdateAccountExternalId, Some("a-1")));
        assert!(command.request_id.is_some_and(|id| !id.is_empty()));
        assert_eq!(command.values.get(Attribute::ExternalId), Some("a-2"));
    }

    #[test]
    fn what_is_left_out_is_null_and_what_is_wrong_may_be_sent() {
        let empty = parse(&["updateCustomerSegment", "--request-id", ""]).unwrap().command.outgoing().unwrap();
        let expected = RawCommand {
            use_case: UseCase::UpdateCustomerSegment,
            request_id: Some(String::new()),
            reference: None,
            values: RawValues::default(),
            expected_version: None,
        };
        assert_eq!(empty, Outgoing { command: expected, key: None });
        let flags = ["updateCustomerSegment", "--external-id", "-1", "--ref-id", "-", "--expected-version", "-3", "--key", "k"];
        let both = parse(&flags).unwrap().command.outgoing().unwrap();
        assert_eq!((both.command.expected_version, both.key.as_deref()), (Some(-3), Some("k")));
    }

    #[test]
    fn it_is_either_one_command_or_a_file() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument};
        assert_eq!(parse(&[]).unwrap_err(), MissingRequiredArgument);
        assert_eq!(parse(&["updateCustomer"]).unwrap_err(), InvalidValue);
        assert_eq!(parse(&["--file", "-", "updateCustomerSegment"]).unwrap_err(), ArgumentConflict);
        assert_eq!(parse(&["--file", "-", "--value", "x"]).unwrap_err(), ArgumentConflict);
        assert!(parse(&["--file", "-"]).unwrap().command.outgoing().is_none());
    }
}
