//! Makes from a configuration what the subcommands work with: clock, registry, store, claims.

use super::database::{self, Unfit};
use crate::config::{Backend, Config};
use crate::domain::Timestamp;
use crate::store::claims::{Claims, ClaimsOptions, Clock};
use crate::store::configured::ConfiguredStore;
use crate::store::{Remedy, StoreFault};
use crate::wire::registry::{RegistryClient, RegistryFault, RegistryOptions, RegistryRemedy};
use anyhow::{Context as _, bail};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the clock of the machine.
pub fn clock() -> Clock {
    Arc::new(now)
}

#[expect(clippy::disallowed_methods, reason = "the edge where the clock is read")]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::try_from(since_epoch.as_millis()).unwrap_or(Timestamp::MAX)
}

/// Creates the client of the configured registry. Nothing is sent yet.
pub fn registry(config: &Config) -> anyhow::Result<RegistryClient> {
    let registry = &config.registry;
    let options = RegistryOptions {
        urls: registry.urls.clone(),
        credentials: registry.credentials.clone(),
        ca_file: registry.ca_file.clone(),
        identity: registry.identity.clone(),
        odd_answer: registry.odd_answer,
    };
    RegistryClient::new(&options).context("the registry's client")
}

/// Returns the claim protocol over the configured store, for a subcommand that is soon done: a store that does not answer is an error.
pub async fn claims(config: &Config) -> anyhow::Result<Claims<ConfiguredStore>> {
    let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| store_trouble(&fault))?;
    // Otherwise each read and write would be tried for its whole time, and its error would name no cause.
    if let Some(Unfit { text, is_obstacle: true }) = unfit(&store, config) {
        bail!("the store: {text}");
    }
    Ok(Claims::new(Arc::new(store), &claims_options(config), clock()))
}

/// Returns what is wrong with the keyspace's replication, as far as the store's session knows it at present. Returns `None` if nothing is
/// wrong, or if the store is embedded.
pub fn unfit(store: &ConfiguredStore, config: &Config) -> Option<Unfit> {
    match (&config.store.backend, store.seen()) {
        (Backend::Cql(cql), Some(topology)) => database::unfit_keyspace(&topology, cql),
        _ => None,
    }
}

/// Returns what the configuration says about the claim protocol.
pub fn claims_options(config: &Config) -> ClaimsOptions {
    ClaimsOptions { outcome_retention: config.store.outcome_retention, cache_bytes: config.store.cache_bytes }
}

/// Returns whether it is of no use to wait, because the configuration must be changed or `crm-processor setup` run. (A right may be granted
/// while a process waits, and a certificate exchanged.)
pub fn needs_operator(fault: &StoreFault) -> bool {
    matches!(fault.remedy, Some(Remedy::Setup | Remedy::Login | Remedy::FreeFolder | Remedy::NameDatacenter))
}

/// Returns a fault of the store with the way out.
pub fn store_trouble(fault: &StoreFault) -> anyhow::Error {
    let way_out = match fault.remedy {
        // The cause names it.
        Some(Remedy::Setup | Remedy::NameDatacenter | Remedy::FreeFolder) => "",
        Some(Remedy::TrustAuthority) => {
            " (store.tls.ca_file must name a PEM file of the authority that signed the nodes' certificates)"
        }
        Some(Remedy::Login) => " (store.user and store.password are not what the database knows)",
        Some(Remedy::Grant) => " (an administrator grants it: docs/security.md has the statements)",
        None => " (store.contact_points says where we look for it)",
    };
    anyhow::anyhow!("the store: {fault}{way_out}")
}

/// Returns a fault of the registry with the way out.
pub fn registry_trouble(fault: &RegistryFault) -> String {
    let way_out = match fault.remedy {
        RegistryRemedy::Named => return fault.to_string(),
        RegistryRemedy::Address => "registry.url says where we look for it",
        RegistryRemedy::TrustAuthority => {
            "registry.ca_file must name a PEM file of the authority that signed the registry's certificate"
        }
        RegistryRemedy::Login => {
            "registry.user and registry.password, registry.token or registry.oauth are not what the registry knows"
        }
        RegistryRemedy::Grant => "this user may not do that: docs/security.md says what is needed",
    };
    format!("{fault} ({way_out})")
}
