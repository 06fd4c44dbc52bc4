//! Tests that clients who misbehave get an answer or none, that all others go on being served, and that the gateway's memory stays bounded.
//!
//! `CRM_ABUSE=full` takes the large sizes. `cargo test --test it -- --nocapture gateway::abuse` prints the memory.

use super::access::{Key, now, taking_tokens};
use super::client::{Gateway, Got};
use super::{LONG_WAIT, LONG_WAIT_ALLOWED, NAME, naming};
use crate::crm::{Entity, Kind, unique};
use crate::inbox::header_counts;
use crate::world::World;
use crate::{runtime, world};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The sizes of the abuse: how many clients and requests of each kind.
struct Sizes {
    /// How many connections never finish their request.
    slow: usize,
    /// How many requests are malformed.
    malformed: usize,
    /// How many bytes a body has that is far too long.
    body: usize,
    /// How many requests want to be open at once, and how many may be.
    open: (usize, usize),
    /// How often each broken token is shown.
    tokens: usize,
}

const SMALL: Sizes = Sizes { slow: 400, malformed: 3000, body: 32 << 20, open: (600, 64), tokens: 5 };
const FULL: Sizes = Sizes { slow: 1000, malformed: 100_000, body: 1 << 30, open: (10_000, 1024), tokens: 500 };

/// The most memory that the gateway may have taken, in KiB: what its manifest for Kubernetes gives it.
const MEMORY_KIB: u64 = 256 << 10;
/// How much of a body that is too long can be under way when the gateway stops reading: the buffers of both sockets, and what it drops.
const UNDER_WAY: usize = 24 << 20;
/// How many clients misbehave at once.
const AT_ONCE: usize = 100;

fn sizes() -> Sizes {
    match std::env::var("CRM_ABUSE").as_deref() {
        Ok("full") => FULL,
        Ok(other) => panic!("CRM_ABUSE is \"full\" or nothing, not {other:?}"),
        Err(_) => SMALL,
    }
}

/// Checks that somebody else is served.
fn assert_serves(gateway: &Gateway, customer: &Entity) {
    let got = gateway.ask(NAME, &[super::WAIT], &naming(&unique("r"), &customer.by_ref_id(), &unique("name")));
    assert_eq!((got.status, &got.body["statusCode"]), (200, &json!(200)), "{got:?}");
}

fn assert_memory(gateway: &Gateway, what: &str) {
    let memory = gateway.memory_kib();
    println!("{what}: the gateway took {} MiB at most", memory >> 10);
    assert!(memory < MEMORY_KIB, "{what}: the gateway took {memory} KiB");
}

fn address(gateway: &Gateway) -> String {
    gateway.base().trim_start_matches("http://").to_owned()
}

/// Sends bytes on a connection of their own, and returns the beginning of the answer: the version and the status.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    answer(stream).await
}

/// Sends bytes like [`raw`], and then says that no more will come.
async fn raw_to_the_end(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // It fails if the gateway has closed the connection already.
    let _ = stream.shutdown().await;
    answer(stream).await
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..12]).into_owned()
}

/// Sends a body in chunks until the gateway no longer takes them. Returns how many bytes it took.
async fn pour(address: &str, bytes: usize) -> usize {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {NAME} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut taken = 0;
    while taken < bytes && stream.write_all(chunk.as_bytes()).await.is_ok() {
        taken += chunk.len();
    }
    taken
}

#[test]
fn clients_that_misbehave_keep_nobody_else_from_being_answered() {
    let sizes = sizes();
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[]), shared.customer());
    let address = address(&gateway);
    let slow = async {
        let mut slow = Vec::new();
        for _ in 0..sizes.slow {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"POST /v1/updateCustomerCustomName HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
            slow.push(stream);
        }
        slow
    };
    let mut slow = runtime().block_on(slow);
    assert_serves(&gateway, &customer);

    let head = format!("POST {NAME} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let unfinished = format!("{head}content-length: 100\r\n\r\n{{\"requestId\"");
    let unfinished = runtime().spawn({
        let address = address.clone();
        async move { raw(&address, unfinished.as_bytes()).await }
    });
    let claims_much = format!("{head}content-length: 1073741824\r\n\r\n");
    let says_much = format!("{head}transfer-encoding: chunked\r\n\r\n20000\r\n{}", " ".repeat(0x20000));
    let long_headers = format!("{head}x-long: {}\r\n\r\n", "x".repeat(100 << 10));
    for (what, bytes, status) in [
        ("a body that claims to be long", claims_much, "413"),
        ("a body that is long", says_much, "413"),
        ("headers that are long", long_headers, "431"),
        ("no HTTP", "\0\r\n\r\n".repeat(10), "400"),
    ] {
        let line = runtime().block_on(raw(&address, bytes.as_bytes()));
        assert_eq!(line, format!("HTTP/1.1 {status}"), "{what}");
    }
    assert!(gateway.metrics().contains("status=\"413\",use_case=\"updateCustomerCustomName\"} 2"), "{}", gateway.metrics());
    for taken in runtime().block_on(join_all((0..4).map(|_| pour(&address, sizes.body)))) {
        assert!(taken < UNDER_WAY.min(sizes.body), "the gateway took {taken} bytes of a body that is too long");
    }
    assert_serves(&gateway, &customer);

    let bodies =
        ["", "{", "[[[[", "{\"a\":1}", "nul", "\"\"", "{\"customName\":{}}", "{\"requestId\":\"r\",\"requestId\":\"r\"}"];
    let malformed = stream::iter(0..sizes.malformed)
        .map(|n| gateway.send(&Method::POST, NAME, &[], bodies[n % bodies.len()].to_owned()))
        .buffer_unordered(AT_ONCE)
        .map(|got| got.status);
    let statuses: Vec<u16> = runtime().block_on(malformed.collect());
    assert!(statuses.iter().all(|status| *status == 400), "{:?}", statuses.iter().find(|status| **status != 400));

    // A slow client is sent away, with an answer or without.
    let mut rest = Vec::new();
    let ended = runtime().block_on(async { slow[0].read_to_end(&mut rest).await });
    assert!(ended.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    drop(slow);
    assert_eq!(runtime().block_on(unfinished).unwrap(), "HTTP/1.1 408", "a body that does not arrive");
    assert_serves(&gateway, &customer);
    gateway.until_metric("crm_gateway_open_requests 0");
    assert_memory(&gateway, "slow, long and malformed");
}

#[test]
fn a_command_whose_body_breaks_off_is_refused_and_not_written() {
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[]), shared.customer());
    let address = address(&gateway);
    let head = format!(
        "POST {NAME} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let broken = [("there is no last chunk", "", unique("r")), ("the next chunk is broken", "no size\r\n", unique("r"))];
    for (what, rest, request) in &broken {
        let command = naming(request, &customer.by_ref_id(), "Ann").to_string();
        let bytes = format!("{head}{:x}\r\n{command}\r\n{rest}", command.len());
        let line = runtime().block_on(raw_to_the_end(&address, bytes.as_bytes()));
        assert_eq!(line, "HTTP/1.1 400", "{what}");
    }
    // A whole command of the same customer goes on the same partition. When it is answered, those before it would be there.
    assert_serves(&gateway, &customer);
    let written = header_counts(shared.kafka(), &shared.commands, "correlation-id");
    for (what, _, request) in &broken {
        assert_eq!(written.get(request), None, "{what}");
    }
}

#[test]
fn of_far_too_many_open_requests_the_ones_within_the_bound_are_answered_and_the_others_refused() {
    let Sizes { open: (wanted, bound), .. } = sizes();
    let Some(world) = World::set_up("gateway-crowd", |_| {}) else { return };
    let customers: Vec<_> = (0..8).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let gateway = Gateway::start(&world, &[("CRM__GATEWAY__MAX_OPEN_REQUESTS", &bound.to_string()), LONG_WAIT_ALLOWED]);
    let processor = world.run();
    processor.signal("STOP");
    let command = |n: usize| naming(&unique("r"), &customers[n % customers.len()].by_ref_id(), &format!("name {n}"));
    // Nobody who is refused asks again: all of them want to be open at once.
    let all: Vec<_> = (0..wanted).map(|n| runtime().spawn(gateway.post(NAME, &[LONG_WAIT], &command(n)))).collect();
    gateway.until_metric(&format!("crm_gateway_open_requests {bound}"));
    let done = || all.iter().filter(|asked| asked.is_finished()).count();
    let deadline = std::time::Instant::now() + crate::inbox::Inbox::PATIENCE;
    while done() < wanted - bound {
        assert!(std::time::Instant::now() < deadline, "{} of {wanted} are refused", done());
        crate::pause();
    }
    processor.signal("CONT");
    let got: Vec<Got> = runtime().block_on(join_all(all)).into_iter().map(Result::unwrap).collect();
    let count = |status: u16| got.iter().filter(|got| got.status == status).count();
    assert_eq!(
        (count(200), count(503)),
        (bound, wanted - bound),
        "{:?}",
        got.iter().find(|got| ![200, 503].contains(&got.status))
    );
    assert_serves(&gateway, &customers[0]);
    assert_memory(&gateway, &format!("{wanted} requests at a bound of {bound}"));
}

#[test]
fn no_broken_token_is_taken_and_none_keeps_its_bearer_from_being_heard() {
    let times = sizes().tokens;
    let Some(shared) = world::shared() else { return };
    let (key, other) = (Key::new("ours"), Key::new("theirs"));
    let file = shared.dir().join(format!("{}.json", unique("keys")));
    std::fs::write(&file, key.set()).unwrap();
    let gateway = Gateway::start(shared, &taking_tokens(("CRM__GATEWAY__AUTH__JWKS_FILE", &file.display().to_string())));
    let path = format!("/v1/customers/{}", shared.customer().ref_id);
    let good = key.bearer("bob", "crm.read", 3600);
    let claims = json!({"iss": "https://idp", "aud": "crm", "sub": "bob", "exp": now() + 3600, "scope": "crm.read crm.write"});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        key.token(&json!({"alg": "EdDSA", "kid": "ours"}), &claims)
    };
    let headed = |header: Value| key.token(&header, &claims);
    let parts: Vec<&str> = good.trim_start_matches("Bearer ").split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
    let broken = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer .".to_owned(),
        "Bearer ..".to_owned(),
        "Bearer ....".to_owned(),
        format!("Bearer {}", "a".repeat(20 << 10)),
        format!("Bearer {}", ".".repeat(20 << 10)),
        format!("Basic {}", parts.join(".")),
        format!("Bearer {}.{}", parts[0], parts[1]),
        format!("Bearer {}.{}.", parts[0], parts[1]),
        format!("Bearer {}.{}.{}x", parts[0], parts[1], parts[2]),
        format!("Bearer {}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2]),
        format!("Bearer {}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        format!("Bearer {none}.{}.", parts[1]),
        format!("Bearer {none}.{}.{}", parts[1], parts[2]),
        format!("Bearer {}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]),
        headed(json!({"alg": "none", "kid": "ours"})),
        headed(json!({"alg": "HS256", "kid": "ours"})),
        headed(json!({"alg": "RS256", "kid": "ours"})),
        headed(json!({"alg": "ES256", "kid": "ours"})),
        headed(json!({"alg": 1, "kid": "ours"})),
        headed(json!({"kid": "ours"})),
        headed(json!({"alg": "EdDSA", "kid": "ours", "crit": ["b64"]})),
        headed(json!({"alg": "EdDSA", "kid": "nobody's"})),
        headed(json!([])),
        headed(json!(["EdDSA", "ours", null])),
        other.token(&json!({"alg": "EdDSA", "kid": "ours"}), &claims),
        with("exp", json!(now() - 3600)),
        with("exp", Value::Null),
        with("exp", json!("soon")),
        with("nbf", json!(now() + 3600)),
        with("iss", json!("https://other")),
        with("aud", json!("other")),
        with("aud", json!(["other"])),
        with("sub", json!("")),
        with("sub", json!(" bob")),
        with("sub", json!(7)),
        key.token(&json!({"alg": "EdDSA", "kid": "ours"}), &json!("claims")),
    ];
    let read = |token: &str| gateway.send(&Method::GET, &path, &[("authorization", token)], String::new());
    for token in &broken {
        let refused = runtime().block_on(read(token));
        assert_eq!((refused.status, refused.header("content-type")), (401, "application/problem+json"), "{token}: {refused:?}");
    }
    let again = stream::iter(0..times * broken.len()).map(|n| read(&broken[n % broken.len()])).buffer_unordered(AT_ONCE);
    let taken = runtime().block_on(again.filter(|got| std::future::ready(got.status != 401)).count());
    assert_eq!(taken, 0, "all were refused before");
    assert_eq!(runtime().block_on(read(&good)).status, 200);
    assert_memory(&gateway, "broken tokens");
}
