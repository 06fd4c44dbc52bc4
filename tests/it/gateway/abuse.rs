//! Tests that clients who misbehave get an answer or none, and that all others go on being served meanwhile.

use super::client::Gateway;
use super::{NAME, naming};
use crate::crm::unique;
use crate::{runtime, world};
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How many connections never finish their request.
const SLOW: usize = 400;
/// How many requests are malformed.
const MALFORMED: usize = 3000;
/// The most memory that the gateway may have taken, in KiB.
const MEMORY_KIB: u64 = 200 << 10;

/// Sends bytes on a connection of their own, and returns the first line of the answer.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..12]).into_owned()
}

#[test]
fn clients_that_misbehave_keep_nobody_else_from_being_answered() {
    let Some(shared) = world::shared() else { return };
    let (gateway, customer) = (Gateway::start(shared, &[]), shared.customer());
    let address = gateway.base().trim_start_matches("http://").to_owned();
    let slow = async {
        let mut slow = Vec::new();
        for _ in 0..SLOW {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"POST /v1/updateCustomerCustomName HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
            slow.push(stream);
        }
        slow
    };
    let slow = runtime().block_on(slow);

    let head = format!("POST {NAME} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
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

    let bodies =
        ["", "{", "[[[[", "{\"a\":1}", "nul", "\"\"", "{\"customName\":{}}", "{\"requestId\":\"r\",\"requestId\":\"r\"}"];
    let malformed = stream::iter(0..MALFORMED)
        .map(|n| gateway.send(&reqwest::Method::POST, NAME, &[], bodies[n % bodies.len()].to_owned()))
        .buffer_unordered(100)
        .map(|got| got.status);
    let statuses: Vec<u16> = runtime().block_on(malformed.collect());
    assert!(statuses.iter().all(|status| *status == 400), "{statuses:?}");

    let got = gateway.ask(NAME, &[], &naming(&unique("r"), &customer.by_ref_id(), "Ann"));
    assert_eq!((got.status, &got.body["statusCode"]), (200, &json!(200)), "{got:?}");
    gateway.until_metric("crm_gateway_open_requests 0");
    assert!(gateway.metrics().contains("status=\"413\",use_case=\"updateCustomerCustomName\"} 2"), "{}", gateway.metrics());
    let memory = gateway.memory_kib();
    assert!(memory < MEMORY_KIB, "the gateway took {memory} KiB");
    drop(slow);
}
