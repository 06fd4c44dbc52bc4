//! The entities that `bench` works on, all in a keyspace of its own: their names, their import, and the commands about them.

use super::cases::{CaseStep, Kind, Needs};
use crate::config::Config;
use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::entity::{Entity, EntityType, State};
use crate::domain::use_case::UseCase;
use crate::domain::values::{CustomName, ExternalId};
use crate::store::ConditionalStore;
use crate::store::claims::Claims;
use crate::store::configured::ConfiguredStore;
use crate::store::upkeep::import::Imported;
use crate::toolbox::connect;
use anyhow::{Context as _, ensure};
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use std::sync::Arc;
use uuid::Uuid;

/// The segments that customers go through.
pub const SEGMENTS: [&str; 3] = ["RESIDENTIAL", "SMALL_BUSINESS", "ENTERPRISE"];
/// The version that rejected commands expect, and no entity has.
const NO_VERSION: i64 = i64::MAX;
/// How many imports are under way at once.
const IMPORTS: usize = 128;

/// The entities that exist, and how often each was changed.
#[derive(Default)]
pub struct Fleet {
    /// How often each customer's segment or state was changed.
    customers: Vec<u32>,
    /// How often each account's external id was changed.
    accounts: Vec<u32>,
}

/// Returns the refId of an entity.
pub fn ref_id(entity_type: EntityType, number: u32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("crm-processor bench {entity_type} {number}").as_bytes())
}

/// Returns the external id of a customer: `c-17`.
pub fn customer_id(number: u32) -> String {
    format!("c-{number}")
}

/// Returns the external id of an account: `a-17-3` after three renames.
pub fn account_id(number: u32, renames: u32) -> String {
    format!("a-{number}-{renames}")
}

/// Returns the external id of an account that a command of a pass creates: `n-3-17`.
pub fn created_id(pass: u32, request: u32) -> String {
    format!("n-{pass}-{request}")
}

/// Returns the state that an entity gets by its change number `change`: each differs from the one before.
pub fn state(change: u32) -> State {
    if change.is_multiple_of(2) { State::Suspended } else { State::Active }
}

/// Returns how often the account with this external id was renamed. Returns `None` if the id does not say.
pub fn renames(account_id: &str) -> Option<u32> {
    account_id.rsplit_once('-')?.1.parse().ok()
}

impl Fleet {
    /// Imports the entities that are needed and do not exist yet.
    pub async fn complete(&mut self, config: &Config, needs: Needs, bar: &ProgressBar) -> anyhow::Result<()> {
        let customers = (len(&self.customers)..needs.customers).map(|n| (EntityType::Customer, n, customer_id(n)));
        let accounts = (len(&self.accounts)..needs.accounts).map(|n| (EntityType::Account, n, account_id(n, 0)));
        let missing: Vec<Missing> = customers.chain(accounts).collect();
        if missing.is_empty() {
            return Ok(());
        }
        bar.set_length(missing.len() as u64);
        match ConfiguredStore::fill(&config.store).await.map_err(|fault| connect::store_trouble(&fault))? {
            Some(fill) => import_all(fill, config, missing, bar).await?,
            None => import_all(ConfiguredStore::connect(&config.store).await?, config, missing, bar).await?,
        }
        self.customers.resize(self.customers.len().max(needs.customers as usize), 0);
        self.accounts.resize(self.accounts.len().max(needs.accounts as usize), 0);
        Ok(())
    }

    /// Returns the command of a step, and the key of its record. Request ids of different passes differ.
    pub fn command(&mut self, pass: u32, step: CaseStep) -> (RawCommand, String) {
        let CaseStep { kind, entity, request } = step;
        let at = entity as usize;
        let name = || format!("Ann's Flowers no. {pass}-{request}");
        let (use_case, external_id, value) = match kind {
            Kind::Name | Kind::Rejected => (UseCase::UpdateCustomerCustomName, customer_id(entity), name()),
            Kind::Segment => {
                let segment = SEGMENTS[self.customers[at] as usize % SEGMENTS.len()];
                self.customers[at] += 1;
                (UseCase::UpdateCustomerSegment, customer_id(entity), segment.to_owned())
            }
            Kind::State => {
                let state = state(self.customers[at]);
                self.customers[at] += 1;
                (UseCase::UpdateCustomerState, customer_id(entity), state.name().to_owned())
            }
            Kind::Rename => {
                let before = account_id(entity, self.accounts[at]);
                self.accounts[at] += 1;
                (UseCase::UpdateAccountExternalId, before, account_id(entity, self.accounts[at]))
            }
            Kind::Create => (UseCase::CreateAccount, customer_id(entity), created_id(pass, request)),
        };
        let values = use_case.first_value(Some(value));
        let values = match kind {
            // The store alone has changed the state meanwhile. With a reason of its own, the command asks for a change all the same.
            Kind::State => values.with(Attribute::StateReason, Some(format!("unpaid no. {pass}-{request}"))),
            Kind::Create => values.with(Attribute::CustomName, Some(name())),
            _ => values,
        };
        let key = match kind {
            // An account's present id would mean another lane after each rename.
            Kind::Rename => format!("a-{entity}"),
            Kind::Create => created_id(pass, request),
            _ => external_id.clone(),
        };
        let command = RawCommand {
            use_case,
            request_id: Some(format!("r-{pass}-{request}")),
            reference: Some(RawReference { external_id: Some(external_id), ref_id: None }),
            values,
            expected_version: (kind == Kind::Rejected).then_some(NO_VERSION),
        };
        (command, key)
    }

    /// Notes that somebody else has renamed the accounts of these steps, to the ids that [`Fleet::command`] would have given them.
    pub fn renamed(&mut self, steps: &[CaseStep]) {
        for step in steps.iter().filter(|s| s.kind == Kind::Rename) {
            self.accounts[step.entity as usize] += 1;
        }
    }
}

type Missing = (EntityType, u32, String);

async fn import_all(
    store: impl ConditionalStore,
    config: &Config,
    entities: Vec<Missing>,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let claims = Claims::new(Arc::new(store), &connect::claims_options(config), connect::clock());
    let imports = stream::iter(entities).map(|(entity_type, number, external_id)| {
        let claims = &claims;
        async move { claims.import(entity(entity_type, number, &external_id)?).await.context("importing entities") }
    });
    let mut imports = imports.buffer_unordered(IMPORTS);
    while let Some(imported) = imports.next().await {
        ensure!(matches!(imported?, Imported::Created), "an entity of this run's own was there before");
        bar.inc(1);
    }
    Ok(())
}

fn len(counts: &[u32]) -> u32 {
    u32::try_from(counts.len()).unwrap_or(u32::MAX)
}

fn entity(entity_type: EntityType, number: u32, external_id: &str) -> anyhow::Result<Entity> {
    let entity = Entity::new(entity_type, ref_id(entity_type, number), ExternalId::parse(external_id)?);
    Ok(Entity { custom_name: Some(CustomName::parse("Ann's Flowers")?), ..entity })
}
