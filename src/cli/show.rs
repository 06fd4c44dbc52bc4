//! `show`: the current values of an entity and its history.

use super::{ConfigFile, FAILED, connect};
use crate::domain::Timestamp;
use crate::domain::command::Reference;
use crate::domain::entity::{Entity, EntityType};
use crate::domain::transaction::Change;
use crate::domain::values::{CustomName, ExternalId, SegmentCode, parse_ref_id};
use crate::store::EntityStatics;
use crate::store::upkeep::show::HistoryEntry;
use anyhow::anyhow;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const HELP: &str = "\
Examples:
  crm-processor show --config crm.toml customer c-1
  crm-processor show --config crm.toml --ref-id account 0198c7a0-0000-7000-8000-00000000000a --json

--json prints {\"entity\": <values>, \"version\": n, \"history\": [{version, occurredAt, useCase, requestId, changes}, … oldest first]};
times are milliseconds since 1970. An external id that was given up does not resolve. The exit code is 1 where there is no such entity.";

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

/// An entity, as the command line names it.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// customer, account or subscriber
    #[arg(value_name = "TYPE", value_parser = entity_type)]
    pub entity_type: EntityType,
    /// Its external id; with --ref-id its refId
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    id: String,
    /// ID is the refId, a UUID
    #[arg(long)]
    ref_id: bool,
}

impl Named {
    /// By what it is named, checked.
    pub fn reference(&self) -> anyhow::Result<Reference> {
        reference(&self.id, self.ref_id)
    }

    /// What to say where there is none.
    pub fn missing(&self) -> String {
        no_such_entity(self.entity_type, self.ref_id)
    }
}

pub(super) fn entity_type(text: &str) -> Result<EntityType, &'static str> {
    EntityType::from_name(text).ok_or("must be customer, account or subscriber")
}

/// `crm-processor show`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let reference = args.named.reference()?;
    let claims = connect::claims(&config).await?;
    let shown = claims.show(args.named.entity_type, &reference).await.map_err(|fault| connect::store_trouble(&fault))?;
    let Some((statics, history)) = shown else {
        eprintln!("{}", args.named.missing());
        return Ok(ExitCode::from(FAILED));
    };
    let text = if args.json { format!("{}\n", as_json(&statics, &history)) } else { as_text(&statics, &history) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The reference that an argument is: an external id, or a refId.
pub(super) fn reference(id: &str, is_ref_id: bool) -> anyhow::Result<Reference> {
    if is_ref_id {
        parse_ref_id(id).map(Reference::RefId).ok_or_else(|| anyhow!("{id:?} is no refId: a hyphenated UUID"))
    } else {
        ExternalId::parse(id).map(Reference::ExternalId).map_err(|e| anyhow!("{id:?} is no external id: it {e}"))
    }
}

pub(super) fn no_such_entity(entity_type: EntityType, is_ref_id: bool) -> String {
    let by = if is_ref_id { "refId" } else { "external id" };
    // Not which: what is written to standard error is often kept, and ids are personal.
    format!("there is no {entity_type} with this {by}")
}

fn as_json(statics: &EntityStatics, history: &[HistoryEntry]) -> Value {
    let entry = |e: &HistoryEntry| {
        json!({
            "version": e.version,
            "occurredAt": e.occurred_at,
            "useCase": e.use_case.name(),
            "requestId": e.request_id.as_str(),
            "changes": e.changes,
        })
    };
    json!({
        "entity": after_image(&statics.entity),
        "version": statics.entity.version,
        "history": history.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// The entity as the records of `crm.v1` have it.
fn after_image(entity: &Entity) -> Value {
    let mut image = json!({
        "refId": entity.ref_id,
        "externalId": entity.external_id.as_str(),
        "state": entity.state.name(),
        "customName": entity.custom_name.as_ref().map(CustomName::as_str),
    });
    match entity.entity_type {
        EntityType::Customer => {
            image["customerSegment"] = entity.segment.as_ref().map(SegmentCode::as_str).into();
            image["segmentValidFrom"] = entity.segment_valid_from.into();
        }
        EntityType::Account => image["customerRefId"] = json!(entity.parent),
        EntityType::Subscriber => image["accountRefId"] = json!(entity.parent),
    }
    image
}

fn as_text(statics: &EntityStatics, history: &[HistoryEntry]) -> String {
    let entity = &statics.entity;
    let mut text = format!("{} {}, version {}\n", entity.entity_type, entity.external_id, entity.version);
    let mut line = |name: &str, value: Option<String>| {
        let _ = writeln!(text, "  {name:<16}  {}", value.unwrap_or_else(|| "-".into()));
    };
    line("refId", Some(entity.ref_id.to_string()));
    line("state", Some(entity.state.name().into()));
    line("customName", entity.custom_name.as_ref().map(|name| name.as_str().into()));
    let parent = entity.parent.map(|p| p.to_string());
    match entity.entity_type {
        EntityType::Customer => {
            line("customerSegment", entity.segment.as_ref().map(|segment| segment.as_str().into()));
            line("segmentValidFrom", entity.segment_valid_from.map(rfc3339));
        }
        EntityType::Account => line("customerRefId", parent),
        EntityType::Subscriber => line("accountRefId", parent),
    }
    text += if history.is_empty() { "no changes\n" } else { "changes\n" };
    for HistoryEntry { version, occurred_at, use_case, request_id, changes } in history {
        let changes: Vec<_> = changes.iter().map(in_words).collect();
        let at = rfc3339(*occurred_at);
        let _ = writeln!(text, "  version {version}  {at}  {}  request {request_id}: {}", use_case.name(), changes.join(", "));
    }
    text
}

fn in_words(change: &Change) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "-".into(), |text| format!("{text:?}"));
    format!("{} {} → {}", change.field, value(&change.old), value(&change.new))
}

fn rfc3339(at: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000);
    time.ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{at} ms since 1970"))
}
