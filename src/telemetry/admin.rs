//! The admin address: `/metrics` for Prometheus, `/livez` and `/readyz` for the orchestrator, `/log-level` for operators. It has no
//! authentication, so only the operators' network may reach it. The log level can be changed from this machine only, whatever the address
//! is.

use super::health::Health;
use super::log::{LogLevel, Shown};
use super::metrics::Metrics;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a change of the log level lasts if the request does not say.
const USUAL_CHANGE: Duration = Duration::from_secs(10 * 60);

/// The reason why the admin address is not served.
#[derive(Debug, thiserror::Error)]
pub enum AdminFault {
    /// The address can't be listened on.
    #[error(
        "admin.listen = \"{address}\" can't be listened on: {source}; is another process listening there? Port 0 takes any free port"
    )]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The address was served, and then failed.
    #[error("the admin address {address} is not served any more: {source}")]
    Serve {
        /// The address that was served.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
}

/// An address that is listened on, but not served yet.
#[derive(Debug)]
pub struct AdminListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// Listens on `address`. Port 0 takes any free port.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminFault> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            listener.local_addr().map(|address| Self { listener, address })
        };
        bind.await.map_err(|source| AdminFault::Bind { address, source })
    }

    /// Returns the address that is listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready.
    ///
    /// # Errors
    /// The address fails.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        level: LogLevel,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminFault> {
        let Self { listener, address } = self;
        let router = Router::new()
            .route("/metrics", get(exposition).with_state((metrics, health.clone(), level.clone())))
            .route("/log-level", get(show_level).put(change_level).delete(revert_level).with_state(level))
            .route("/livez", get(livez).with_state(health.clone()))
            .route("/readyz", get(readyz).with_state(health));
        let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(shutdown)
            .await;
        served.map_err(|source| AdminFault::Serve { address, source })
    }
}

async fn exposition(State((metrics, health, level)): State<(Arc<Metrics>, Arc<Health>, LogLevel)>) -> Response {
    metrics.ready.set(health.obstacles().is_empty().into());
    metrics.log_level_changed.set(level.show().left.is_some().into());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.exposition()).into_response()
}

async fn livez(State(health): State<Arc<Health>>) -> Response {
    let alive = health.is_alive();
    let status = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "alive": alive }))).into_response()
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let obstacles = health.obstacles();
    let status = if obstacles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": obstacles.is_empty(), "obstacles": obstacles, "warnings": health.warnings() })))
        .into_response()
}

/// The parameters of `PUT /log-level`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelChange {
    filter: String,
    #[serde(default, rename = "for")]
    lasting: Option<String>,
}

async fn show_level(State(level): State<LogLevel>) -> Response {
    let Shown { filter, configured, left } = level.show();
    let left = left.map(|left| format!("{}s", left.as_secs_f64().ceil()));
    Json(json!({ "filter": filter, "configured": configured, "left": left })).into_response()
}

async fn change_level(
    State(level): State<LogLevel>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(change): Query<LevelChange>,
) -> Response {
    if !is_local(peer) {
        return not_from_there();
    }
    let lasting = change.lasting.map_or(Ok(USUAL_CHANGE), |text| {
        humantime::parse_duration(&text).map_err(|e| format!("for={text:?} is not a duration such as 10m: {e}"))
    });
    match lasting.and_then(|lasting| level.change(&change.filter, lasting).map_err(|e| e.to_string())) {
        Ok(()) => show_level(State(level)).await,
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn revert_level(State(level): State<LogLevel>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !is_local(peer) {
        return not_from_there();
    }
    level.revert();
    show_level(State(level)).await
}

/// Returns whether a request comes from this machine or pod. Below info the log holds names and external ids, and only somebody who is on
/// the machine already may turn that on.
fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn not_from_there() -> Response {
    let error = "the log level can be changed only from the process's own machine or pod (127.0.0.1)";
    (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn metrics_and_health_are_served_until_shutdown() {
        let admin = AdminListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", admin.address());
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        let (_filter, level) = LogLevel::new("info".into()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(admin.serve(metrics, health.clone(), level, async { drop(stopped.await) }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let fetch = async |path: &str| {
            let response = client.get(format!("{base}{path}")).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };

        let (status, text) = fetch("/metrics").await;
        assert!(status == 200 && text.contains("crm_commands_total") && text.contains("\ncrm_ready 0\n"), "{status} {text}");
        assert_eq!(fetch("/livez").await, (200, r#"{"alive":true}"#.into()));
        let (status, text) = fetch("/readyz").await;
        assert!(status == 503 && text.contains("the store does not answer"), "{status} {text}");
        health.store().answered(std::time::Instant::now());
        health.set_registry_up(true);
        health.set_group_joined(true);
        assert_eq!(fetch("/readyz").await.0, 200);
        assert!(fetch("/metrics").await.1.contains("\ncrm_ready 1\n"));
        assert_eq!(fetch("/").await.0, 404);

        drop(client);
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn only_this_machine_may_change_the_log_level() {
        for (peer, expected) in [
            ("127.0.0.1:5", true),
            ("127.3.2.1:5", true),
            ("[::1]:5", true),
            ("[::ffff:127.0.0.1]:5", true),
            ("10.0.0.1:5", false),
            ("192.168.1.2:5", false),
            ("[::ffff:10.0.0.1]:5", false),
            ("[2001:db8::1]:5", false),
        ] {
            assert_eq!(is_local(peer.parse().unwrap()), expected, "{peer}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_a_fault_that_names_it() {
        let first = AdminListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let fault = AdminListener::bind(first.address()).await.unwrap_err().to_string();
        assert!(fault.contains(&first.address().to_string()) && fault.contains("admin.listen"), "{fault}");
    }
}
