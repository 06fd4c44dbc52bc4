//! `erase`: replaces the custom names that an entity had before in what the store keeps about it.
//!
//! What it prints is counts: it is run to get rid of values, and what is printed is often kept.

use crate::domain::entity::{Entity, EntityType, State};
use crate::store::upkeep::erase::{ERASED, Erased, Erasure, Found};
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::flags::Named;
use crate::toolbox::{FAILED, connect};
use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor erase --config crm.toml --ref-id customer 0198c7a0-0000-7000-8000-00000000000a
  crm-processor erase --config crm.toml --ref-id customer 0198c7a0-0000-7000-8000-00000000000a --yes

Without --yes it only says how much there is. With --yes each custom name that the entity had before becomes "erased": in the stored
outcomes of its requests, which are the answers to duplicates and what `show` shows, and in what is stored of its import. That can't be
taken back.

The present custom name stays: first overwrite it with `crm-processor send`. External ids, refIds and request ids stay, for by them
duplicates are known; correlation ids and segments stay, too. Topics, backups and other systems are not touched: docs/runbook.md says
what else is to be done.

It may be repeated, and processors may run meanwhile. Where the store is the embedded one, the processor must be stopped.
The exit code is 1 where there is no such entity."#;

/// Erase the custom names that an entity had before
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    named: Named,
    /// Replace them: without it, they are only counted
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
    let Some(erased) = erased.context("not all was looked at, run it again")? else {
        eprintln!("{}", args.named.missing());
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
    let line = |what, Found { all, former }: &Found| format!("  {what}: {all}, {former} of them {done}\n");
    let mut text = format!("{} at version {}\n", entity.entity_type, entity.version);
    text += &line("rows of its log", rows);
    text += &line("claims on its external ids", claims);
    text += match erasure {
        _ if rows.former + claims.former == 0 => "no former custom name is left\n",
        Erasure::Counted => "nothing was replaced: add --yes to do it\n",
        Erasure::Done => "what was replaced stands in backups, and in the database's files until it compacts them\n",
    };
    text += "its external ids stay: they are keys\n";
    text + &about_the_present_name(entity)
}

/// That it stays, and the way to get rid of it.
fn about_the_present_name(entity: &Entity) -> String {
    let (entity_type, state) = (entity.entity_type, entity.state);
    if entity.custom_name.as_ref().is_none_or(|name| name.as_str() == ERASED) {
        return String::new();
    }
    let way_out = match (entity_type, state) {
        (EntityType::Account | EntityType::Subscriber, _) => format!("no command changes that of {entity_type}s"),
        (EntityType::Customer, State::Deactivated) => "a deactivated customer takes no commands".into(),
        (EntityType::Customer, State::Inactive | State::Active | State::Suspended) => {
            let overwrite = "crm-processor send --config FILE updateCustomerCustomName --ref-id REFID --value";
            format!("if it is personal, `{overwrite} {ERASED} --request-id ID`, and run this again")
        }
    };
    format!("its present custom name stays: {way_out}\n")
}
