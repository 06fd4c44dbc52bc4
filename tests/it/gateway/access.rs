//! Tests who may use the gateway: bearers of tokens by their scopes, and clients by their certificates; that a command tells who sent it;
//! and that a gateway which asks nobody is no use to a web page of somebody else's.

use super::client::Gateway;
use super::{NAME, naming};
use crate::crm::unique;
use crate::inbox::{self, Inbox};
use crate::security::certificates::{Authority, Identity};
use crate::world::World;
use crate::{runtime, world};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Instant, SystemTime};

/// A key of the issuer.
pub struct Key {
    id: &'static str,
    private: PKey<Private>,
}

impl Key {
    pub fn new(id: &'static str) -> Self {
        Self { id, private: PKey::generate_ed25519().unwrap() }
    }

    /// Returns the set of keys that has only this one.
    pub fn set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.private.raw_public_key().unwrap());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x}]}).to_string()
    }

    /// Returns the header with a token for this bearer, which expires in so many seconds.
    pub fn bearer(&self, name: &str, scope: &str, seconds: i64) -> String {
        let claims = json!({"iss": "https://idp", "aud": "crm", "sub": name, "exp": now() + seconds, "scope": scope});
        self.token(&json!({"alg": "EdDSA", "kid": self.id}), &claims)
    }

    /// Returns the header with a token of any contents, signed by this key.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = Signer::new_without_digest(&self.private).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Returns the seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the gateway reads the same clock")]
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap()
}

/// Returns the environment of a gateway that takes tokens of the keys at `place`, given as the key of the configuration and its value.
pub fn taking_tokens<'a>(place: (&'a str, &'a str)) -> [(&'a str, &'a str); 4] {
    [
        ("CRM__GATEWAY__AUTH__KIND", "jwt"),
        place,
        ("CRM__GATEWAY__AUTH__ISSUER", "https://idp"),
        ("CRM__GATEWAY__AUTH__AUDIENCE", "crm"),
    ]
}

/// Starts a gateway that wants tokens, with the keys in this file.
pub fn guarded(world: &World, keys: &Path) -> Gateway {
    Gateway::start(world, &taking_tokens(("CRM__GATEWAY__AUTH__JWKS_FILE", &keys.display().to_string())))
}

#[test]
fn a_token_says_who_sends_a_command_and_what_its_bearer_may_do() {
    let Some(shared) = world::shared() else { return };
    let (key, next) = (Key::new("first"), Key::new("next"));
    let file = shared.dir().join(format!("{}.json", unique("keys")));
    std::fs::write(&file, key.set()).unwrap();
    let gateway = guarded(shared, &file);
    let (customer, actor) = (shared.customer(), unique("ann"));
    let command = naming(&unique("r"), &customer.by_ref_id(), "Ann");
    let path = format!("/v1/customers/{}", customer.ref_id);
    let ask = |token: &str| gateway.ask(NAME, &[("authorization", token), ("crm-actor", "mallory")], &command);
    let read = |token: &str| gateway.get(&path, &[("authorization", token)]);

    let description = gateway.get("/openapi.json", &[]);
    assert_eq!((description.status, &description.body["openapi"]), (200, &json!("3.1.0")), "it needs no token");
    assert!(description.body["paths"][NAME]["post"].is_object(), "{description:?}");
    let stranger = gateway.ask(NAME, &[], &command);
    assert_eq!((stranger.status, stranger.header("www-authenticate")), (401, "Bearer"), "{stranger:?}");
    for token in [&*key.bearer("ann", "crm.write", -61), &*next.bearer("ann", "crm.write", 60), "Bearer x", "Basic YTpi"] {
        let refused = ask(token);
        assert_eq!((refused.status, refused.header("content-type")), (401, "application/problem+json"), "{token}: {refused:?}");
    }
    let (reader, writer) = (key.bearer("bob", "crm.read", 600), key.bearer(&actor, "openid crm.write", 600));
    assert_eq!((ask(&reader).status, read(&reader).status), (403, 200));
    assert_eq!((ask(&writer).status, read(&writer).status), (200, 403));
    let by_another_name = gateway.get(&path, &[("authorization", &*reader), ("host", "crm.example.com")]);
    assert_eq!(by_another_name.status, 200, "whoever has a token may call it by any name: {by_another_name:?}");
    let actors = inbox::header_counts(shared.kafka(), &shared.commands, "crm-actor");
    assert_eq!((actors.get(&actor), actors.get("mallory")), (Some(&1), None), "{actors:?}");

    std::fs::write(&file, next.set()).unwrap();
    let deadline = Instant::now() + Inbox::PATIENCE;
    while read(&next.bearer("bob", "crm.read", 600)).status != 200 {
        assert!(Instant::now() < deadline, "the new key is not taken");
        crate::pause();
    }
    assert_eq!(read(&reader).status, 401, "the former key is gone");
}

#[test]
fn a_page_of_somebody_elses_can_neither_call_a_gateway_that_asks_nobody_nor_send_it_a_command() {
    let Some(shared) = world::shared() else { return };
    let gateway = Gateway::start(shared, &[("CRM__GATEWAY__ALLOWED_HOSTS", "crm.example.com")]);
    let (customer, request) = (shared.customer(), unique("r"));
    let (command, path) = (naming(&request, &customer.by_ref_id(), "Ann"), format!("/v1/customers/{}", customer.ref_id));
    // The page's own name leads to the gateway's address.
    for host in ["evil.example", "evil.example:8080", "crm.example.com.evil.example"] {
        let refused = [
            gateway.ask(NAME, &[("host", host)], &command),
            gateway.get(&path, &[("host", host)]),
            gateway.get("/", &[("host", host)]),
            gateway.get("/openapi.json", &[("host", host)]),
        ];
        for refused in refused {
            assert_eq!((refused.status, refused.header("content-type")), (421, "application/problem+json"), "{refused:?}");
            assert_eq!(refused.body["type"], "urn:crm:misdirected-request", "{refused:?}");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.contains("evil.example") && detail.contains("gateway.allowed_hosts"), "{detail}");
        }
    }
    assert!(gateway.metrics().contains("crm_gateway_reads_total{status=\"421\"} 12"), "{}", gateway.metrics());
    // The page calls the gateway by its address, from its own origin. A browser asks first, unless the body is of one of these types.
    let origin = ("origin", "http://evil.example");
    let asked = [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")];
    let preflight = runtime().block_on(gateway.send(&reqwest::Method::OPTIONS, NAME, &asked, String::new()));
    let allowing = preflight.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).count();
    assert_eq!((preflight.status, allowing), (405, 0), "{preflight:?}");
    for simple in ["text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let refused = gateway.ask(NAME, &[origin, ("content-type", simple)], &command);
        assert_eq!(refused.status, 415, "{simple:?}: {refused:?}");
    }
    assert_eq!(gateway.get(&path, &[]).header("etag"), "\"1\"", "nothing took effect");

    let port = gateway.base().rsplit_once(':').unwrap().1;
    for host in [format!("localhost:{port}"), "CRM.example.com".into(), "[::1]:8080".into()] {
        let got = gateway.ask(NAME, &[("host", &*host)], &command);
        assert_eq!((got.status, got.header("etag")), (200, "\"2\""), "{host}: {got:?}");
    }
}

#[test]
fn a_certificate_lets_a_client_in_and_says_who_sends_a_command() {
    let Some(shared) = world::shared() else { return };
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.identity();
    let file = |name: &str, contents: Vec<u8>| {
        let path = shared.dir().join(format!("{}.pem", unique(name)));
        std::fs::write(&path, contents).unwrap();
        path.display().to_string()
    };
    let (cert, key) = server.pem();
    let client = |identity: Option<&Identity>| {
        let builder =
            reqwest::Client::builder().no_proxy().tls_certs_merge([reqwest::Certificate::from_pem(&ours.pem()).unwrap()]);
        let identified = match identity.map(Identity::pem) {
            Some((cert, key)) => builder.identity(reqwest::Identity::from_pkcs8_pem(&cert, &key).unwrap()),
            None => builder,
        };
        identified.build().unwrap()
    };
    let name = unique("crm");
    let gateway = Gateway::start_for(
        "https",
        client(Some(&ours.client(&name))),
        shared,
        &[
            ("CRM__GATEWAY__AUTH__KIND", "mtls"),
            ("CRM__GATEWAY__TLS__CERT_FILE", &file("server", cert)),
            ("CRM__GATEWAY__TLS__KEY_FILE", &file("key", key)),
            ("CRM__GATEWAY__TLS__CLIENT_CA_FILE", &file("authority", ours.pem())),
        ],
    );
    let customer = shared.customer();
    let got = gateway.ask(NAME, &[], &naming(&unique("r"), &customer.by_ref_id(), "Ann"));
    assert_eq!(got.status, 200, "{got:?}");
    let actors = inbox::header_counts(shared.kafka(), &shared.commands, "crm-actor");
    assert_eq!(actors.get(&name), Some(&1), "{actors:?}");
    let url = format!("{}/v1/customers/{}", gateway.base(), customer.ref_id);
    for (who, identity) in [("nobody", None), ("a stranger", Some(theirs.client(&name)))] {
        let refused = runtime().block_on(client(identity.as_ref()).get(&url).send());
        assert!(refused.is_err(), "{who} got in: {refused:?}");
    }
    for unusable in [" ", "\u{7}", " crm"] {
        let nameless = runtime().block_on(client(Some(&ours.client(unusable))).get(&url).send()).unwrap();
        assert_eq!(nameless.status(), 401, "{unusable:?}: {nameless:?}");
    }
    let plain = runtime().block_on(client(None).get(url.replace("https", "http")).send());
    assert!(plain.is_err(), "without TLS: {plain:?}");
}

#[test]
fn a_certificate_that_is_renewed_is_shown_without_a_restart() {
    let Some(shared) = world::shared() else { return };
    let authorities = [Authority::new("former"), Authority::new("next")];
    let [former, next] = authorities.each_ref().map(|authority| authority.identity().pem());
    let trusting = |authority: &Authority| {
        let builder = reqwest::Client::builder().no_proxy();
        builder.tls_certs_merge([reqwest::Certificate::from_pem(&authority.pem()).unwrap()]).build().unwrap()
    };
    let [cert, key] = ["cert", "key"].map(|name| shared.dir().join(format!("{}.pem", unique(name))));
    std::fs::write(&cert, &former.0).unwrap();
    std::fs::write(&key, &former.1).unwrap();
    let [cert_file, key_file] = [&cert, &key].map(|file| file.display().to_string());
    let environment = [("CRM__GATEWAY__TLS__CERT_FILE", &*cert_file), ("CRM__GATEWAY__TLS__KEY_FILE", &*key_file)];
    let gateway = Gateway::start_for("https", trusting(&authorities[0]), shared, &environment);
    // Each client is a new one, so that it has a connection of its own.
    let gets_in = |authority: usize| {
        let url = format!("{}/openapi.json", gateway.base());
        runtime().block_on(trusting(&authorities[authority]).get(url).send()).is_ok()
    };
    assert_eq!([gets_in(0), gets_in(1)], [true, false]);

    let until = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Inbox::PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}: {}", gateway.log());
            crate::pause();
        }
    };
    std::fs::write(&cert, &next.0).unwrap();
    until("half of it is renewed", &|| gateway.log().contains("the former one stays"));
    assert_eq!([gets_in(0), gets_in(1)], [true, false], "the key is not the certificate's yet");
    std::fs::write(&key, &next.1).unwrap();
    until("all of it is renewed", &|| gets_in(1));
    assert!(!gets_in(0));
}
