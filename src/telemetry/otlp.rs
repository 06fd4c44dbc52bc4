//! Sends spans to a collector, by OTLP over HTTP. A thread of its own sends them in batches. Spans that the collector does not take in
//! time are dropped, and the log says how many. Nothing waits for the collector, except the end of the process for a moment.

use super::spans;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

/// How long the collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the collector to take the last spans.
const FAREWELL: Duration = Duration::from_secs(2);
/// The path below the endpoint at which collectors take spans.
const PATH: &str = "/v1/traces";

/// A collector to send spans to.
#[derive(Clone, Debug)]
pub struct Collector {
    provider: SdkTracerProvider,
}

impl Collector {
    /// Prepares sending to `endpoint`, such as `http://127.0.0.1:4318`. `instance_id` names this process to the collector.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn at(endpoint: &str, instance_id: &str) -> Result<Self, String> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|e| e.to_string())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client { client, runtime: Handle::current() })
            .with_endpoint(format!("{}{PATH}", endpoint.strip_suffix(PATH).unwrap_or(endpoint)))
            .build()
            .map_err(|e| e.to_string())?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let instance = KeyValue::new("service.instance.id", instance_id.to_owned());
        let resource = Resource::builder().with_service_name("crm-processor").with_attributes([version, instance]).build();
        // All spans are sent, because spans are made for sampled traces only.
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_resource(resource);
        Ok(Self { provider: provider.with_batch_exporter(exporter).build() })
    }

    /// Returns the layer that takes in the spans, and this program's warnings and errors as events of the spans in which they happened.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        fn is_ours(metadata: &Metadata<'_>) -> bool {
            if metadata.is_span() {
                metadata.target() == spans::TARGET
            } else {
                *metadata.level() <= Level::WARN && metadata.target().starts_with("crm_processor")
            }
        }
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("crm-processor"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(FilterFn::new(is_ours).with_max_level_hint(Level::DEBUG))
    }

    /// Sends the spans that are left, for up to 2 s.
    pub async fn finish(self) {
        let finished = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FAREWELL)).await;
        if !matches!(finished, Ok(Ok(()))) {
            tracing::warn!("the collector did not take the last spans");
        }
    }
}

/// An HTTP client for the exporting thread. That thread has no reactor, so the runtime makes the requests.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for Client {
    // The signature is what `async_trait` makes of the trait's method.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let status = answer.status();
            // The body of the answer is not needed.
            Ok(Response::builder().status(status).body(Bytes::new())?)
        });
        Box::pin(async move { sending.await? })
    }
}
