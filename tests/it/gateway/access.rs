//! Tests who may use the gateway: bearers of tokens by their scopes, and clients by their certificates; and that a command tells who sent
//! it.

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
    #[expect(clippy::disallowed_methods, reason = "the gateway reads the same clock")]
    pub fn bearer(&self, name: &str, scope: &str, seconds: i64) -> String {
        let encoded = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let exp = i64::try_from(now).unwrap() + seconds;
        let claims = json!({"iss": "https://idp", "aud": "crm", "sub": name, "exp": exp, "scope": scope});
        let signed = format!("{}.{}", encoded(json!({"alg": "EdDSA", "kid": self.id})), encoded(claims));
        let signature = Signer::new_without_digest(&self.private).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Starts a gateway that wants tokens, with the keys in this file.
pub fn guarded(world: &World, keys: &Path) -> Gateway {
    Gateway::start(
        world,
        &[
            ("CRM__GATEWAY__AUTH__KIND", "jwt"),
            ("CRM__GATEWAY__AUTH__JWKS_FILE", &keys.display().to_string()),
            ("CRM__GATEWAY__AUTH__ISSUER", "https://idp"),
            ("CRM__GATEWAY__AUTH__AUDIENCE", "crm"),
        ],
    )
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
    let plain = runtime().block_on(client(None).get(url.replace("https", "http")).send());
    assert!(plain.is_err(), "without TLS: {plain:?}");
}
