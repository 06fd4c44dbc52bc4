//! Checks the Kubernetes manifests: the built example overlay is valid by the schemas, and agrees with the program, with the
//! example's secrets, and with itself.

use super::{config, file, tools};
use crm_processor::config::Config;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const OVERLAY: &str = "kubernetes/overlays/example";
/// The path at which the overlay mounts the authorities' certificates.
const AUTHORITIES: &str = "/etc/crm-authorities/ca.pem";
/// How long a Kafka transaction that is under way when `kafka.shutdown_grace` ends may still take. Leaving the group is quick.
const LAST_TRANSACTION: Duration = Duration::from_secs(10);

/// The manifests that the example overlay builds, by kind: there is one of each.
struct Manifests {
    /// Those of the processors and of the set-up.
    processor: BTreeMap<String, Json>,
    gateway: BTreeMap<String, Json>,
}

/// Returns the valid manifests of the example overlay. Returns `None` if they can't be built here; then the test returns.
fn manifests() -> Option<&'static Manifests> {
    static MANIFESTS: OnceLock<Option<Manifests>> = OnceLock::new();
    // Each test asks for the tools, so that each says why it is skipped.
    tools()?;
    MANIFESTS.get_or_init(build).as_ref()
}

fn build() -> Option<Manifests> {
    let mut kubectl = Command::new(tools()?.join("kubectl"));
    let output = kubectl.arg("kustomize").arg(super::path(OVERLAY)).output().expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    // kustomize warns of deprecated fields.
    assert!(output.status.success() && said.is_empty(), "kubectl kustomize {OVERLAY}: {}\n{said}", output.status);
    let documents = valid(&String::from_utf8_lossy(&output.stdout))?;
    let is_gateways = |document: &Json| document["metadata"]["name"].as_str().is_some_and(|name| name == "crm-gateway");
    let (gateway, processor) = documents.into_iter().partition(is_gateways);
    Some(Manifests { processor: by_kind(processor), gateway: by_kind(gateway) })
}

fn by_kind(documents: Vec<Json>) -> BTreeMap<String, Json> {
    let count = documents.len();
    let kind = |document: &Json| document["kind"].as_str().expect("is mandatory").to_owned();
    let by_kind: BTreeMap<_, _> = documents.into_iter().map(|document| (kind(&document), document)).collect();
    assert_eq!(by_kind.len(), count, "two of a kind: {:?}", by_kind.keys());
    by_kind
}

/// Returns manifests as JSON, and fails the test if they are not valid by the schemas. Returns `None` if that can't be checked
/// here.
fn valid(yaml: &str) -> Option<Vec<Json>> {
    let mut check = Command::new(tools()?.join("python"));
    check.arg(super::beside("manifests.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("it is installed");
    check.stdin.take().expect("is piped").write_all(yaml.as_bytes()).expect("it reads all");
    let output = check.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\nin\n{yaml}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("it prints JSON"))
}

/// A list.
fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// Returns the specification of the pods that a `StatefulSet` or a Job makes.
fn pods(maker: &Json) -> &Json {
    &maker["spec"]["template"]
}

fn container(maker: &Json) -> &Json {
    &pods(maker)["spec"]["containers"][0]
}

/// Returns the variables of the pod's container. Those of its Secret are in `secret`, in the form of `kubectl create secret
/// --from-env-file`.
fn variables(maker: &Json, secret: &str) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().expect("is a text").to_owned();
    let given = list(&container(maker)["env"]).iter().map(|variable| {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            None => text(&variable["value"]),
            Some("metadata.name") => format!("{}-0", text(&maker["metadata"]["name"])),
            Some(other) => panic!("a field that the test does not know: {other}"),
        };
        (text(&variable["name"]), value)
    });
    let secret = file(&format!("{OVERLAY}/{secret}"));
    let secret = secret.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
    given.chain(secret.map(|(name, value)| (name.into(), value.into()))).collect()
}

#[test]
fn the_gateways_manifests_are_valid_and_start_the_gateway() {
    let Some(Manifests { processor, gateway: manifests }) = manifests() else { return };
    let ingress = valid(&file("kubernetes/gateway/ingress.yaml")).expect("the tools are there");
    let deployment = &manifests["Deployment"];
    assert_eq!(container(deployment)["args"][0], "gateway");
    let labels = &pods(deployment)["metadata"]["labels"];
    for kind in ["Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"] {
        let spec = &manifests[kind]["spec"];
        let selector = ["selector", "podSelector"].iter().find_map(|name| spec.get(*name)).expect("it selects something");
        let selected = selector.get("matchLabels").unwrap_or(selector);
        assert_eq!(selected, labels, "{kind}");
    }
    let authorities = tempfile::NamedTempFile::new().expect("there is room");
    let toml = configuration(&processor["ConfigMap"], deployment, authorities.path());
    let config = config(&toml, variables(deployment, "secret-gateway.env.example"));
    check_egress(&manifests["NetworkPolicy"], &config);
    let grace = pods(deployment)["spec"]["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    let sleep =
        container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("connections are taken for a while");
    assert!(grace >= sleep + config.gateway.max_wait.as_secs() + 10, "killed after {grace} s");
    let port = |name: &str| {
        let ports = list(&container(deployment)["ports"]);
        ports.iter().find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64())
    };
    assert_eq!(port("http"), Some(config.gateway.listen.port().into()));
    assert_eq!(port("admin"), Some(config.admin.listen.port().into()));
    assert_eq!(manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    let backend = &ingress[0]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"];
    assert_eq!(*backend, manifests["Service"]["metadata"]["name"]);
}

#[test]
fn a_schema_or_the_operators_models_refuse_what_is_wrong_with_a_manifest() {
    let Some(Manifests { processor: manifests, .. }) = manifests() else { return };
    let wrongs = [
        ("StatefulSet", "/spec", "replica", Json::from(3)),
        ("PodDisruptionBudget", "/spec", "selector", "crm-processor".into()),
        ("ServiceMonitor", "/spec/endpoints/0", "intervall", "15s".into()),
        ("ServiceMonitor", "/spec/endpoints/0", "interval", "15 s".into()),
    ];
    for (kind, place, field, value) in wrongs {
        let mut spoilt = manifests[kind].clone();
        spoilt.pointer_mut(place).expect("it is there")[field] = value;
        // JSON is YAML.
        let refused = std::panic::catch_unwind(|| valid(&spoilt.to_string()));
        assert!(refused.is_err(), "accepted: {spoilt}");
    }
}

#[test]
fn the_alert_rules_become_a_valid_prometheus_rule_as_the_page_about_deployment_says() {
    let page = crate::operation::read("docs/deployment.md");
    let from = page.find("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule").expect("the page shows the head");
    let (head, _) = page[from..].split_once("\nEOF").expect("the head ends");
    let indented: Vec<_> = file("prometheus/rules.yml").lines().map(|line| format!("  {line}")).collect();
    let Some(rule) = valid(&format!("{head}\n{}\n", indented.join("\n"))) else { return };
    let groups = list(&rule[0]["spec"]["groups"]);
    let rules: usize = groups.iter().map(|group| list(&group["rules"]).len()).sum();
    assert_eq!(rules, crate::operation::rules().len(), "{rule:?}");
}

#[test]
fn the_configuration_of_pods_and_of_the_set_up_is_accepted() {
    let Some(Manifests { processor: manifests, .. }) = manifests() else { return };
    let authorities = tempfile::NamedTempFile::new().expect("there is room");
    for (kind, subcommand, secret) in [("StatefulSet", "run", "secret.env.example"), ("Job", "setup", "secret-setup.env.example")]
    {
        let maker = &manifests[kind];
        assert_eq!(container(maker)["args"][0], subcommand);
        let toml = configuration(&manifests["ConfigMap"], maker, authorities.path());
        let config = config(&toml, variables(maker, secret));
        if kind == "StatefulSet" {
            check_run(manifests, &config);
        }
    }
}

/// Returns the configuration of a pod, which is in the `ConfigMap`. The authorities' certificates are another file.
fn configuration(map: &Json, maker: &Json, authorities: &Path) -> String {
    let mounts: BTreeMap<_, _> =
        list(&container(maker)["volumeMounts"]).iter().map(|m| (m["name"].as_str(), m["mountPath"].as_str())).collect();
    let named = |volume: &&Json| volume["configMap"]["name"] == map["metadata"]["name"];
    let volume = list(&pods(maker)["spec"]["volumes"]).iter().find(named).expect("the ConfigMap is mounted");
    let folder = mounts[&volume["name"].as_str()].expect("a mount has a path");
    assert!(mounts.values().any(|path| path.is_some_and(|p| AUTHORITIES.starts_with(p))), "{mounts:?}");
    let args = list(&container(maker)["args"]).iter().map(|a| a.as_str().expect("is a text")).collect::<Vec<_>>();
    let [_, "--config", path] = *args else { panic!("{args:?}") };
    let name = path.strip_prefix(folder).expect("the configuration is in the mounted folder").trim_start_matches('/');
    let toml = map["data"][name].as_str().unwrap_or_else(|| panic!("{name} is not in {map}"));
    toml.replace(AUTHORITIES, &authorities.display().to_string())
}

fn check_run(manifests: &BTreeMap<String, Json>, config: &Config) {
    let set = &manifests["StatefulSet"];
    // The pod's name is stable, and only one pod has it at a time.
    assert_eq!(config.kafka.instance_id, "crm-processor-0");
    assert!(config.admin.listen.ip().is_unspecified(), "who is outside of the pod can't come to {}", config.admin.listen);
    let port = &container(set)["ports"][0];
    assert_eq!((&port["name"], &port["containerPort"]), (&"admin".into(), &config.admin.listen.port().into()));
    let grace = pods(set)["spec"]["terminationGracePeriodSeconds"].as_u64().expect("is given");
    let needed = config.kafka.shutdown_grace + LAST_TRANSACTION;
    assert!(Duration::from_secs(grace) > needed, "killed after {grace} s, may take {needed:?}");
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = &container(set)[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&path.into(), &"admin".into()), "{probe}");
    }
    check_egress(&manifests["NetworkPolicy"], config);
}

/// Checks that the network policy lets pods talk to all servers of their configuration.
fn check_egress(policy: &Json, config: &Config) {
    let crm_processor::config::Backend::Cql(cql) = &config.store.backend else { panic!("several pods have no one folder") };
    let servers = std::iter::once(&config.kafka.bootstrap_servers).chain(&config.registry.urls).chain(&cql.contact_points);
    let open: Vec<_> = list(&policy["spec"]["egress"]).iter().flat_map(|rule| list(&rule["ports"])).map(|p| &p["port"]).collect();
    for server in servers {
        let port: u16 = server.rsplit(':').next().expect("something").parse().expect("a port");
        assert!(open.contains(&&port.into()), "the network policy does not let through to {server}");
    }
}

#[test]
fn everything_that_selects_pods_selects_the_processors() {
    let Some(Manifests { processor: manifests, .. }) = manifests() else { return };
    let set = &manifests["StatefulSet"];
    let labels = &pods(set)["metadata"]["labels"];
    let spread = list(&pods(set)["spec"]["topologySpreadConstraints"]).iter().map(|c| &c["labelSelector"]["matchLabels"]);
    let selectors = [
        &set["spec"]["selector"]["matchLabels"],
        &manifests["Service"]["spec"]["selector"],
        &manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ];
    for selector in selectors.into_iter().chain(spread) {
        assert_eq!(selector, labels);
    }
    assert_eq!(manifests["ServiceMonitor"]["spec"]["selector"]["matchLabels"], manifests["Service"]["metadata"]["labels"]);
    assert_eq!(manifests["ServiceMonitor"]["spec"]["endpoints"][0]["port"], manifests["Service"]["spec"]["ports"][0]["name"]);
    assert_eq!(set["spec"]["serviceName"], manifests["Service"]["metadata"]["name"]);
    let job = &pods(&manifests["Job"])["metadata"]["labels"];
    assert_ne!(job, labels, "the service, the budget and the spread would count the set-up");
    let allowed = &manifests["NetworkPolicy"]["spec"]["podSelector"]["matchExpressions"][0];
    for labels in [labels, job] {
        let name = &labels[allowed["key"].as_str().expect("a key")];
        assert!(list(&allowed["values"]).contains(name), "the network policy is not for {name}");
    }
}

/// Checks that the pods satisfy the Pod Security Standard "restricted", and that their root file system is read-only.
#[test]
fn pods_have_no_rights_that_they_do_not_need() {
    let Some(Manifests { processor, gateway }) = manifests() else { return };
    for maker in [&processor["StatefulSet"], &processor["Job"], &gateway["Deployment"]] {
        let (pod, container) = (&pods(maker)["spec"], &container(maker)["securityContext"]);
        let expected = [
            (&pod["automountServiceAccountToken"], Json::from(false)),
            (&pod["securityContext"]["runAsNonRoot"], true.into()),
            (&pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault".into()),
            (&container["allowPrivilegeEscalation"], false.into()),
            (&container["readOnlyRootFilesystem"], true.into()),
            (&container["capabilities"]["drop"], vec!["ALL"].into()),
        ];
        for (given, expected) in expected {
            assert_eq!(*given, expected, "{maker}");
        }
        // The image's user is a number, because Kubernetes can't look up a name.
        let user = format!("USER {0}:{0}", pod["securityContext"]["runAsUser"]);
        assert!(file("Dockerfile").contains(&user), "{user}");
    }
}
