//! Looks all the time whether the schema registry is there and whether records wait for it, and tells operators. No other module sets
//! the registry's metrics, or what `/readyz` says about the registry.
//!
//! Operators are to know that the registry is away before a record comes whose schema has not been seen yet. Until such a record comes, the
//! process stays ready.

use super::registry::{RegistryClient, Sameness, Wait};
use crate::config::OddAnswer;
use crate::telemetry::concerns::Concern;
use crate::telemetry::gathered::Gathered;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the registry is looked at. A schema id that was given twice can go unnoticed for so long.
const LOOK: Duration = Duration::from_secs(5);
/// How often the registry is looked at while it is away or its ids mean other schemas than before. When that is over, it is to be used
/// soon.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often operators are told what is known.
const TELL: Duration = Duration::from_millis(500);
/// How long a record must have waited to be named. A wait that is shorter is usual for a schema that is fetched for the first time.
const NAMED_AFTER: Duration = Duration::from_secs(2);
/// How many waiting records are named at most.
const MOST_NAMED: usize = 5;

/// Looks at the registry and tells operators of it, for as long as somebody polls this future. `commands` is the topic of the records that
/// wait.
pub async fn keep_watching(registry: Arc<RegistryClient>, commands: String, metrics: Arc<Metrics>, health: Arc<Health>) {
    // The registry answered at the start, or the process would not have come here.
    health.set_registry_up(true);
    metrics.registry_up.set(1);
    let look = async {
        let gathered = Gathered::default();
        loop {
            let standing = registry.look().await;
            if let Sameness::Away(fault) = &standing
                && let Some(left_out) = gathered.due((), Instant::now())
            {
                tracing::warn!(%fault, left_out, "the schema registry does not answer");
            }
            tokio::time::sleep(if matches!(standing, Sameness::Same) { LOOK } else { LOOK_AGAIN }).await;
        }
    };
    let tell = async {
        loop {
            tokio::time::sleep(TELL).await;
            tell(&registry, &commands, &metrics, &health);
        }
    };
    futures::join!(look, tell);
}

fn tell(registry: &RegistryClient, commands: &str, metrics: &Metrics, health: &Health) {
    let waits = registry.waits(Instant::now());
    let is_up = !matches!(registry.standing(), Some(Sameness::Away(_)));
    metrics.registry_up.set(is_up.into());
    health.set_registry_up(is_up || waits.is_empty());

    let differs = registry.differs().map(|how| {
        format!(
            "the schema registry has other schemas than before under the ids that it gave ({how}): it was emptied, or it is another one. No \
             commands are taken, so that none is read as something else. If this registry is the right one now: run `crm-processor setup` \
             and restart this process; docs/runbook.md says what to look at before"
        )
    });
    metrics.registry_differs.set(differs.is_some().into());
    health.tell(Concern::RegistryDiffers, differs);

    let missing: Vec<_> = waits.iter().filter(|wait| wait.odd.is_some() || wait.lasts >= NAMED_AFTER).collect();
    let odd = waits.iter().filter(|wait| wait.odd.is_some()).count();
    metrics.partitions_without_schema.set(gauge(odd));
    let text = (!missing.is_empty()).then(|| {
        let named: Vec<_> = missing.iter().take(MOST_NAMED).map(|wait| describe(wait, commands, registry.odd_answer())).collect();
        let rest = missing.len().saturating_sub(MOST_NAMED);
        if rest == 0 { named.join("; ") } else { format!("{}; and {rest} more partitions", named.join("; ")) }
    });
    health.tell(Concern::SchemasMissing, text);
}

fn describe(wait: &Wait, commands: &str, odd_answer: OddAnswer) -> String {
    let Wait { partition, offset, schema, lasts, odd } = wait;
    let seconds = lasts.as_secs();
    let waits = format!("{commands}[{partition}] has waited at offset {offset} for {seconds} s for the schema with {schema}");
    let Some((reason, lasting)) = odd else { return waits };
    let then = match odd_answer {
        OddAnswer::DeadLetterAfter(bound) => {
            let left = bound.saturating_sub(*lasting).as_secs();
            format!("in {left} s its records go to the dead letter topic (registry.odd_answer)")
        }
        OddAnswer::Wait => "it is waited for as long as that takes (registry.odd_answer)".to_owned(),
    };
    format!("{waits}, while the registry answers about others: {reason}; {then}")
}

#[cfg(test)]
#[path = "registry_watch_tests.rs"]
mod tests;
