//! The demo's gateway: the same commands over HTTP, so that whoever watches can send one by `curl`.

use crate::config::Config;
use crate::gateway::serve::Listening;
use crate::gateway::start::{Setup, Started, start};
use crate::store::ConditionalStore;
use crate::store::claims::Claims;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::toolbox::connect;
use crate::toolbox::crm_client::schema_ids;
use crate::wire::json::JsonDecoder;
use crate::wire::registry::RegistryClient;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// How long open requests may take when the demo ends.
const GRACE: Duration = Duration::from_secs(1);

/// The gateway, while it serves.
pub struct DemoGateway {
    /// Its address.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    tasks: JoinSet<()>,
}

impl DemoGateway {
    /// Begins to serve on the configured port if it is free, otherwise on any other.
    pub async fn open<S: ConditionalStore>(
        config: &Arc<Config>,
        registry: &RegistryClient,
        claims: Arc<Claims<S>>,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
    ) -> anyhow::Result<Self> {
        let listening = match Listening::on(config.gateway.listen).await {
            Ok(listening) => listening,
            Err(_) => Listening::on(SocketAddr::new(config.gateway.listen.ip(), 0)).await?,
        };
        let setup = Setup {
            config: config.clone(),
            schema_ids: schema_ids(registry, &config.kafka.topics.commands).await?,
            registry: registry.clone(),
            decoder: JsonDecoder::new(registry.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
            clock: connect::clock(),
        };
        let Started { service, tasks, .. } = start(setup).await?;
        // This is the first and the only one.
        let _ = service.claims.set(claims);
        let address = listening.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listening.serve(service, None, async { drop(stopped.await) }, GRACE));
        Ok(Self { address, stop, serving, tasks })
    }

    /// Returns a line that sends a command about the customer with this external id.
    pub fn curl(&self, external_id: &str) -> String {
        let body = format!(r#"{{"requestId":"curl-1","customer":{{"externalId":"{external_id}"}},"customName":"Ann, by curl"}}"#);
        format!("curl -s http://{}/v1/updateCustomerCustomName -H 'Content-Type: application/json' -d '{body}'", self.address)
    }

    /// Ends, after the requests that are open.
    pub async fn close(self) -> anyhow::Result<()> {
        // An error means that it has ended by itself.
        let _ = self.stop.send(());
        drop(self.tasks);
        self.serving.await.context("a task ended in a panic")
    }
}
