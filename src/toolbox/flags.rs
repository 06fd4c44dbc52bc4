//! Flags and arguments that several subcommands have: the configuration's file, the form of what is printed, and the entity that is
//! meant.

use crate::config::{Config, Findings, Setting};
use crate::domain::entity::EntityType;
use crate::domain::reference::Reference;
use crate::domain::values::{Actor, ExternalId, parse_ref_id};
use anyhow::anyhow;
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// The flag that names the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration, a TOML file; an empty one will do for a local set-up
    #[arg(long = "config", value_name = "FILE", env = "CRM_CONFIG")]
    path: PathBuf,
}

impl ConfigFile {
    /// Reads the configuration, with the environment over it.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn load(&self) -> Result<Config, Findings> {
        Config::load(&self.path)
    }

    /// Reads the configuration. Returns it, and each of its keys with the value and where the value came from.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn load_explained(&self) -> Result<(Config, Vec<Setting>), Findings> {
        Config::load_explained(&self.path)
    }
}

/// The form in which a subcommand prints. Unless a flag says otherwise, it prints for people at a terminal, and JSON if its output is piped
/// or redirected.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Form {
    /// Print JSON [default if the output is no terminal]
    #[arg(long)]
    json: bool,
    /// Print for people [default on a terminal]
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Form {
    /// Returns whether to print JSON.
    pub fn is_json(self) -> bool {
        self.json || !self.text && !std::io::stdout().is_terminal()
    }
}

/// An entity, as the command line names it.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// customer, account or subscriber
    #[arg(value_name = "TYPE", value_parser = entity_type)]
    pub entity_type: EntityType,
    /// The entity's external id; with --ref-id, its refId
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    id: String,
    /// ID is the refId, a UUID
    #[arg(long)]
    ref_id: bool,
}

impl Named {
    /// Returns the id by which the entity is named, checked.
    pub fn reference(&self) -> anyhow::Result<Reference> {
        reference(&self.id, self.ref_id)
    }

    /// Returns what to say if there is no such entity.
    pub fn missing(&self) -> String {
        no_such_entity(self.entity_type, self.ref_id)
    }
}

/// Reads the name of a type of entity.
///
/// # Errors
/// There is no such type.
pub fn entity_type(text: &str) -> Result<EntityType, &'static str> {
    EntityType::from_name(text).ok_or("must be customer, account or subscriber")
}

/// Reads the name of whoever asks for something.
///
/// # Errors
/// The name breaks the rules; the text says which.
pub fn actor(text: &str) -> Result<Actor, String> {
    Actor::parse(text).map_err(|error| error.to_string())
}

/// Reads an argument as an external id or, if `is_ref_id`, as a refId.
pub fn reference(id: &str, is_ref_id: bool) -> anyhow::Result<Reference> {
    if is_ref_id {
        parse_ref_id(id).map(Reference::RefId).ok_or_else(|| anyhow!("{id:?} is no refId: it must be a hyphenated UUID"))
    } else {
        ExternalId::parse(id).map(Reference::ExternalId).map_err(|e| anyhow!("{id:?} is no external id: it {e}"))
    }
}

/// Returns what to say if there is no such entity.
pub fn no_such_entity(entity_type: EntityType, is_ref_id: bool) -> String {
    let by = if is_ref_id { "refId" } else { "external id" };
    // The id itself is left out: standard error is often kept, and ids are personal.
    format!("there is no {entity_type} with this {by}")
}
