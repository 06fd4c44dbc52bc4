//! `show`: the current values of an entity and its history.

use crate::domain::entity::EntityType;
use crate::domain::transaction::Change;
use crate::domain::values::Actor;
use crate::store::outcome::ImportOutcome;
use crate::store::upkeep::show::HistoryEntry;
use crate::store::{EntityKey, EntityStatics};
use crate::toolbox::flags::{ConfigFile, Named};
use crate::toolbox::output::remark;
use crate::toolbox::shown;
use crate::toolbox::{FAILED, connect};
use crate::wire::headers::rfc3339;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

const HELP: &str = "\
Examples:
  crm-processor show --config crm.toml customer c-1
  crm-processor show --config crm.toml --ref-id account 0198c7a0-0000-7000-8000-00000000000a --json

--json prints {\"entity\": <values>, \"version\": n, \"history\": [{version, occurredAt, useCase, requestId, changes}, … oldest first]};
times are milliseconds since 1970. An entry has an actor, too, if the command named one. An external id that the entity gave up
does not find it. The exit code is 1 if there is no such entity.";

/// Show the values of an entity, and its history
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    named: Named,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `crm-processor show`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let reference = args.named.reference()?;
    let claims = connect::claims(&config).await?;
    let shown = claims.show(args.named.entity_type, &reference).await.map_err(|fault| connect::store_trouble(&fault))?;
    let Some((statics, history)) = shown else {
        remark(args.named.missing());
        return Ok(ExitCode::from(FAILED));
    };
    let text = if args.json {
        format!("{}\n", as_json(&statics, &history))
    } else {
        let key = EntityKey { entity_type: statics.entity.entity_type, ref_id: statics.entity.ref_id };
        // A created entity has the first row of an import, too; its history begins with its creation.
        let import = match history.first() {
            Some(first) if first.use_case.is_creation() => None,
            _ => claims.imported(key).await.map_err(|fault| connect::store_trouble(&fault))?,
        };
        as_text(&statics, import.as_ref(), &history)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(statics: &EntityStatics, history: &[HistoryEntry]) -> Value {
    json!({
        "entity": shown::entity(statics.entity.clone()),
        "version": statics.entity.version,
        "history": history.iter().map(shown::change).collect::<Vec<_>>(),
    })
}

fn as_text(statics: &EntityStatics, import: Option<&ImportOutcome>, history: &[HistoryEntry]) -> String {
    let entity = &statics.entity;
    let mut text = format!("{} {}, version {}\n", entity.entity_type, entity.external_id, entity.version);
    let mut line = |name: &str, value: Option<String>| {
        let _ = writeln!(text, "  {name:<16}  {}", value.unwrap_or_else(|| "-".into()));
    };
    line("refId", Some(entity.ref_id.to_string()));
    line("state", Some(entity.state.name().into()));
    line("stateReason", entity.state_reason.as_ref().map(|reason| reason.as_str().into()));
    line("stateValidFrom", entity.state_valid_from.map(rfc3339));
    line("customName", entity.custom_name.as_ref().map(|name| name.as_str().into()));
    let superior = entity.superior.map(|ref_id| ref_id.to_string());
    match entity.entity_type {
        EntityType::Customer => {
            line("customerSegment", entity.segment.as_ref().map(|segment| segment.as_str().into()));
            line("segmentValidFrom", entity.segment_valid_from.map(rfc3339));
        }
        EntityType::Account => line("customerRefId", superior),
        EntityType::Subscriber => line("accountRefId", superior),
    }
    if let Some(ImportOutcome { at, external_id, actor }) = import {
        let _ = writeln!(text, "imported as {external_id}  {}{}", rfc3339(*at), by(actor.as_ref()));
    }
    text += if history.is_empty() { "no changes\n" } else { "changes\n" };
    for HistoryEntry { version, occurred_at, use_case, request_id, actor, changes } in history {
        let changes: Vec<_> = changes.iter().map(in_words).collect();
        let (at, by) = (rfc3339(*occurred_at), by(actor.as_ref()));
        let _ =
            writeln!(text, "  version {version}  {at}  {}  request {request_id}{by}: {}", use_case.name(), changes.join(", "));
    }
    text
}

fn by(actor: Option<&Actor>) -> String {
    actor.map(|actor| format!(" by {actor}")).unwrap_or_default()
}

fn in_words(change: &Change) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "-".into(), |text| format!("{text:?}"));
    format!("{} {} → {}", change.attribute.name(), value(&change.old), value(&change.new))
}
