//! Follows `docs/http.md` line by line, as a developer would who has Python and Java: each command is run, and answered as the page shows.
//! Then the page's clients get their answers while gateways are killed and the processor is late.

use super::client::Gateway;
use crate::crm::{Entity, Kind, json_lines, unique};
use crate::examples::python;
use crate::operation::{path, read};
use crate::servers;
use crate::world::World;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PAGE: &str = "docs/http.md";
/// The address of the gateway on the page.
const ADDRESS: &str = "http://127.0.0.1:8080";

/// A block of the page.
struct Block {
    language: String,
    text: String,
}

/// Returns the blocks of code, in order.
fn blocks() -> Vec<Block> {
    let page = read(PAGE);
    let fenced = page.split("\n```").skip(1).step_by(2);
    let parts = fenced.map(|block| block.split_once('\n').expect("a block has lines"));
    parts.map(|(language, text)| Block { language: language.to_owned(), text: text.to_owned() }).collect()
}

/// Runs lines of the page with the program of this installation at the page's address.
fn run(lines: &str, gateway: &Gateway, python: &Path) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &lines.replace(ADDRESS, gateway.base())]).current_dir(path(""));
    let programs = format!("{}:{}", python.parent().expect("a folder").display(), std::env::var("PATH").unwrap());
    shell.env("PATH", programs).env("no_proxy", "*").output().expect("a shell")
}

/// Checks that an answer, as `curl -i` prints it, has all that the page shows of it.
fn is_as_shown(shown: &str, got: &str) {
    let parts = |text: &str| -> (Vec<String>, Value) {
        let text = text.replace('\r', "");
        let (head, body) = text.split_once("\n\n").unwrap_or_else(|| panic!("no body in {text}"));
        let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e} in {body}"));
        (head.lines().map(str::to_owned).collect(), body)
    };
    let ((shown_head, shown_body), (head, body)) = (parts(shown), parts(got));
    assert_eq!(head[0], shown_head[0], "{got}");
    for header in &shown_head[1..] {
        assert!(head.contains(header), "{header} is not in {head:#?}");
    }
    is_part_of(&shown_body, &body, got);
}

/// Checks that all values that are shown are there.
fn is_part_of(shown: &Value, there: &Value, got: &str) {
    match (shown, there) {
        (Value::Object(fields), Value::Object(_)) => fields.iter().for_each(|(name, value)| is_part_of(value, &there[name], got)),
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{got}");
            items.iter().zip(others).for_each(|(item, other)| is_part_of(item, other, got));
        }
        _ => assert_eq!(shown, there, "{got}"),
    }
}

#[test]
fn each_line_of_the_page_does_what_the_page_says() {
    let Some(python) = python::python() else { return };
    if !["java", "curl"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok()) {
        servers::skip("java or curl is not installed (Debian: apt-get install openjdk-17-jdk-headless curl)");
        return;
    }
    let Some(world) = World::set_up("http-guide", |_| {}) else { return };
    let customer =
        json!({"type": "customer", "refId": "0198c7a0-0000-7000-8000-0000000000c1", "externalId": "c-1", "state": "ACTIVE"});
    world.import_lines(&json_lines(&[customer])).succeeded();
    let _processor = world.run();
    let gateway = Gateway::start(&world, &[]);
    let blocks = blocks();
    let (start, rest) = blocks.split_first().expect("the page has blocks");
    assert_eq!(start.text.trim(), "crm-processor gateway --config crm.toml", "it runs already");
    let (mut last, mut answers) = (String::new(), 0);
    for block in rest {
        match &*block.language {
            "sh" => {
                let output = run(&block.text, &gateway, &python);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{}\n{said}", block.text);
                last = String::from_utf8(output.stdout).expect("is text");
            }
            "http" => {
                is_as_shown(&block.text, &last);
                answers += 1;
            }
            // It is a part of the example, which `docs` holds it against.
            "python" => {}
            other => panic!("the page has a block in {other}"),
        }
    }
    assert!(answers >= 7, "only {answers} answers");
}

#[test]
fn the_clients_that_try_again_get_the_one_answer_in_the_end() {
    let Some(python) = python::python() else { return };
    let Some(world) = World::set_up("http-again", |_| {}) else { return };
    let customers: Vec<_> = (0..2).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
    world.import(&customers);
    let impatient = [("CRM__GATEWAY__REPLY_TIMEOUT", "1s")];
    let (doomed, other) = (Gateway::start(&world, &impatient), Gateway::start(&world, &impatient));
    let gateways = format!("{},{}", doomed.base(), other.base());
    let clients: Vec<_> = customers
        .iter()
        .enumerate()
        .map(|(at, customer)| {
            let mut client = if at == 0 { Command::new(&python) } else { Command::new("java") };
            client.arg(path(["examples/python/http_client.py", "examples/java/OverHttp.java"][at])).env("no_proxy", "*");
            let command = json!({"requestId": unique("r"), "customer": customer.by_ref_id(), "customName": "Ann"});
            client.args([&gateways, "updateCustomerCustomName", &command.to_string()]).stdout(Stdio::piped());
            client.spawn().expect("it is installed")
        })
        .collect();
    // They have heard that there is no answer yet.
    doomed.until_at_least("crm_gateway_timeouts_total", 2);
    doomed.kill();
    let _processor = world.run();
    for (client, customer) in clients.into_iter().zip(&customers) {
        let output = client.wait_with_output().expect("it ends");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!((output.status.code(), &answer["statusCode"]), (Some(0), &json!(200)), "{answer}");
        assert_eq!(world.transactions(customer).len(), 1, "one effect");
    }
}
