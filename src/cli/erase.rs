//! `erase`: replaces an entity's former custom names in everything that the store keeps about the entity.
//!
//! It prints counts only: it is run to get rid of values, and output is often kept.

use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::use_case::UseCase;
use crate::store::upkeep::erase::{ERASED, Erased, Erasure, ErasureCount};
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::flags::Named;
use crate::toolbox::output::remark;
use crate::toolbox::{FAILED, connect};
use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor erase --config crm.toml --ref-id customer 0198c7a0-0000-7000-8000-00000000000a
  crm-processor erase --config crm.toml --ref-id customer 0198c7a0-0000-7000-8000-00000000000a --yes

Without --yes it only counts what it would replace. With --yes each former custom name of the entity becomes "erased": in the stored
outcomes of its requests, from which duplicates are answered and `show` prints the history, and in what is stored of its import or
creation. That can't be undone.

The present custom name stays: overwrite it with `crm-processor send` first. External ids, refIds and request ids stay, because
duplicates are recognised by them; correlation ids and segments stay, too. Topics, backups and other systems are not touched:
docs/runbook.md says what else to do.

It may be repeated, and processors may run meanwhile. If the store is the embedded one, stop the processor first.
The exit code is 1 if there is no such entity."#;

/// Erase the former custom names of an entity
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    named: Named,
    /// Replace the names; without this flag they are only counted
    #[arg(long)]
    yes: bool,
}

/// `crm-processor erase`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let reference = args.named.reference()?;
    let claims = connect::claims(&config).await?;
    let erasure = if args.yes { Erasure::Done } else { Erasure::Counted };
    let erased = claims.erase(args.named.entity_type, &reference, erasure).await.map_err(|fault| connect::store_trouble(&fault));
    let Some(erased) = erased.context("not everything was looked at; run it again")? else {
        remark(args.named.missing());
        return Ok(ExitCode::from(FAILED));
    };
    std::io::stdout().write_all(report(&erased, erasure).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn report(erased: &Erased, erasure: Erasure) -> String {
    let Erased { entity, rows, claims } = erased;
    let done = match erasure {
        Erasure::Counted => "with a former custom name",
        Erasure::Done => "redacted",
    };
    let line = |what, ErasureCount { all, former }: &ErasureCount| format!("  {what}: {all}, {former} of them {done}\n");
    let mut text = format!("{} at version {}\n", entity.entity_type, entity.version);
    text += &line("rows of its log", rows);
    text += &line("claims on its external ids", claims);
    text += match erasure {
        _ if rows.former + claims.former == 0 => "no former custom name is left\n",
        Erasure::Counted => "nothing was replaced: add --yes to do it\n",
        Erasure::Done => "the replaced names are still in backups, and in the database's files until it compacts them\n",
    };
    text += "its external ids stay: they are keys\n";
    text + &about_the_present_name(entity)
}

/// Returns a line which says that the present custom name stays, and how to get rid of it. Returns nothing if there is no such name, or
/// if it is erased already.
fn about_the_present_name(entity: &Entity) -> String {
    let (entity_type, state) = (entity.entity_type, entity.state);
    if entity.custom_name.as_ref().is_none_or(|name| name.as_str() == ERASED) {
        return String::new();
    }
    let use_case = match entity_type {
        EntityType::Customer => UseCase::UpdateCustomerCustomName,
        EntityType::Account => UseCase::UpdateAccountCustomName,
        EntityType::Subscriber => UseCase::UpdateSubscriberCustomName,
    };
    let way_out = match state {
        State::Deactivated => format!("a deactivated {entity_type} takes no commands"),
        State::Inactive | State::Active | State::Suspended => {
            let overwrite = format!("crm-processor send --config FILE {} --ref-id REFID --value", use_case.name());
            format!("if it is personal, `{overwrite} {ERASED} --request-id ID`, and run this again")
        }
    };
    format!("its present custom name stays: {way_out}\n")
}
