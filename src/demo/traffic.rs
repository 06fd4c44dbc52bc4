//! Calm traffic after the show, so that the metrics move while somebody looks at them.

use super::commands::{name, rename, segment};
use crate::toolbox::crm_client::{CrmClient, key_of};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one command after another until it is dropped: changes, a rename to and fro, a duplicate, a refusal.
///
/// # Errors
/// A command gets no reply.
pub async fn go_on(crm: &CrmClient) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u64.. {
        let request = format!("calm-{round}");
        let commands = [
            name(&request, "c-ann", &format!("Ann's Flowers no. {round}")),
            segment(&request, "c-bob", if round % 2 == 0 { "ENTERPRISE" } else { "RESIDENTIAL" }),
            rename(&request, if round % 2 == 0 { "a-900" } else { "a-901" }, if round % 2 == 0 { "a-901" } else { "a-900" }),
            segment(&request, "c-bob", if round % 2 == 0 { "ENTERPRISE" } else { "RESIDENTIAL" }),
            name(&request, "c-nobody", "Nobody"),
        ];
        for command in &commands {
            ticks.tick().await;
            crm.submit(command, key_of(command).as_deref(), None)?.reply(PATIENCE).await?;
        }
    }
    Ok(())
}
