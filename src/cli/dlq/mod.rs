//! `dlq`: the dead letter topic for operators. It lists dead letters, shows one in full, and
//! sends letters again after an operator has mended their cause.

mod letter;
mod list;
mod resend;
mod selection;
mod show;

use crate::toolbox::paint::Paint;
use clap::Subcommand;
use rdkafka::message::OwnedMessage;
use std::process::ExitCode;

const HELP: &str = "\
Examples:
  crm-processor dlq list   --config crm.toml --since 1d
  crm-processor dlq show   --config crm.toml 3/17
  crm-processor dlq resend --config crm.toml --reason unknown_schema_id

A dead letter is named by its partition and offset on the dead letter topic. Reasons: null_value, not_wire_format, schema_header,
unknown_schema_id, odd_registry_answer, unknown_record_name, schema_unusable, malformed, undecodable, too_large,
correlation_header_too_long.";

/// Look at dead letters, and send them again
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::Args),
    Show(show::Args),
    Resend(resend::Args),
}

/// `crm-processor dlq`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::List(args) => list::run(args).await,
        What::Show(args) => show::run(args).await,
        What::Resend(args) => Box::pin(resend::run(args)).await,
    }
}

/// Shows a record of the dead letter topic, a letter or a mark, in a few lines for people.
pub(super) fn as_text(record: OwnedMessage, paint: Paint) -> String {
    match letter::mark(&record) {
        Some((id, mark)) => format!("{}  {}", paint.bold(id), paint.green(list::sent(&mark))),
        None => list::as_text(&letter::Letter { record }, None, paint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::DeadLetter;
    use crate::telemetry::series::Label as _;

    #[test]
    fn the_help_has_each_reason() {
        for reason in DeadLetter::all() {
            assert!(HELP.contains(reason.text()), "{reason:?}");
        }
    }
}
