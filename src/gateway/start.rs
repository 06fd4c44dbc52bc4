//! Puts a gateway together: the writer, the reader of replies, and the service between them.

use super::access::Access;
use super::hosts::Hosts;
use super::keys::{PresentKeys, RHYTHM};
use super::open::OpenRequests;
use super::received::Bodies;
use super::replies::{Awaited, Replies, RepliesFault};
use super::room::Room;
use super::service::Service;
use super::tls::{TlsFault, TlsServer};
use super::writer::{CommandWriter, Name};
use crate::config::{Auth, Config};
use crate::domain::use_case::UseCase;
use crate::store::ConditionalStore;
use crate::store::claims::Clock;
use crate::telemetry::gathered::Gathered;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::wire::json::JsonDecoder;
use crate::wire::registry::RegistryClient;
use rdkafka::error::KafkaError;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio::task::JoinSet;

/// What a gateway needs.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// The ids that the registry gave to the commands' schemas.
    pub schema_ids: HashMap<UseCase, u32>,
    /// The registry that gave these ids out, which somebody looks at all the time.
    pub registry: RegistryClient,
    /// The decoder of replies.
    pub decoder: JsonDecoder,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The process's health.
    pub health: Arc<Health>,
    /// The clock.
    pub clock: Clock,
}

/// The reason why a gateway can't begin.
#[derive(Debug, thiserror::Error)]
pub enum GatewayStartFault {
    /// librdkafka refuses a property of the producer.
    #[error("the Kafka producer can't be made: {0}")]
    Producer(KafkaError),
    /// The client that reads the keys of tokens can't be made.
    #[error("gateway.auth.jwks_url can't be asked: {0}")]
    Keys(#[from] reqwest::Error),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Replies can't be read.
    #[error(transparent)]
    Replies(#[from] RepliesFault),
}

/// A gateway that is ready to serve.
pub struct Started<S> {
    /// What answers requests.
    pub service: Arc<Service<S>>,
    /// TLS towards clients, if it is on.
    pub tls: Option<Arc<TlsServer>>,
    /// The tasks that read replies, keys and certificates. They never end by themselves.
    pub tasks: JoinSet<()>,
}

/// Begins to read replies, and returns the service that waits for them. It has no store yet.
///
/// # Errors
/// Kafka can't be reached, or the reply topic is missing.
pub async fn start<S: ConditionalStore>(setup: Setup) -> Result<Started<S>, GatewayStartFault> {
    let Setup { config, schema_ids, registry, decoder, metrics, health, clock } = setup;
    let (gateway, open, name) = (config.gateway.clone(), OpenRequests::default(), Name::random());
    let replies = Replies::open(&config.kafka, &gateway.reply_topic).await?;
    let tls = gateway.tls.as_ref().map(TlsServer::new).transpose()?.map(Arc::new);
    let mut tasks = JoinSet::new();
    if let Some(tls) = tls.clone() {
        tasks.spawn(async move { tls.keep().await });
    }
    let access = match &gateway.auth {
        Auth::None => Access::Open,
        Auth::Mtls => Access::Certificate,
        Auth::Jwt(jwt) => {
            let keys = Arc::new(PresentKeys::new(jwt, RHYTHM)?);
            let kept = keys.clone();
            tasks.spawn(async move { kept.keep().await });
            Access::Token(keys)
        }
    };
    let writer = CommandWriter::new(&config.kafka, &gateway.reply_topic, schema_ids, name, open.clone());
    let awaited = Awaited { name, open: open.clone(), metrics: metrics.clone(), health };
    let service = Service {
        rules: config.rules(),
        access,
        hosts: Hosts::of(&gateway),
        writer: writer.map_err(GatewayStartFault::Producer)?,
        registry,
        open,
        bodies: Bodies::default(),
        room: Room::new(gateway.max_open_requests, &metrics.gateway_open_requests, &metrics.gateway_open_requests_limit),
        reads: Room::new(gateway.max_open_reads, &metrics.gateway_open_reads, &metrics.gateway_open_reads_limit),
        claims: OnceLock::new(),
        clock,
        metrics,
        faults: Gathered::default(),
        config: gateway,
    };
    tasks.spawn(replies.read(decoder, awaited));
    Ok(Started { service: Arc::new(service), tls, tasks })
}
