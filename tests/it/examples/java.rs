//! Tests the clients in Java.

use super::{a_change_and_a_refusal_are_printed, example, printed, run};
use crate::crm::unique;
use crate::inbox::Record;
use crate::registry;
use crate::servers;
use crate::world::{World, shared};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The name of the folder with the clients' libraries. It has their versions.
const LIBRARIES: &str = "java-clients-spring-kafka-4.0.0-avro-1.12.1";

/// Returns the class path of the clients' libraries, Avro among them, or `None` if they can't be had here; the reason has been printed,
/// and the test returns.
pub fn libraries() -> Option<PathBuf> {
    let pom = std::fs::read_to_string(example("java/pom.xml")).expect("is part of the repository");
    Some(servers::jars_or_skip(LIBRARIES, &pom)?.join("*"))
}

/// Returns `java` with the compiled clients and their libraries on its class path, or `None` if it can't be had here; the reason
/// has been printed, and the test returns.
fn java() -> Option<Command> {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    let lib = libraries()?;
    let classes = CLASSES.get_or_init(|| {
        let classes = servers::log_dir().join("java-clients");
        let mut compiler = Command::new("javac");
        compiler.arg("-cp").arg(&lib).arg("-d").arg(&classes).args(["-Xlint:all", "-Werror"]);
        compiler
            .args(["WireFormat", "Commands", "PlainClient", "SpringClient"].map(|name| example(&format!("java/{name}.java"))));
        servers::finish(&mut compiler).unwrap_or_else(|e| panic!("{e}"));
        classes
    });
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(format!("{}:{}", classes.display(), lib.display()));
    Some(java)
}

/// Runs a client that is written with classes generated from the schemas. It prints whether a command's schema is the registered
/// one, as it is, and without the properties that the generator adds for Java.
const GENERATED: &str = r#"
    import crm.v1.EntityRef;
    import crm.v1.UpdateCustomerCustomName;
    import org.apache.avro.Schema;

    public final class Generated {
        public static void main(String[] arguments) throws Exception {
            Schema registered = new Schema.Parser().parse(new java.io.File(arguments[0]));
            var customer = EntityRef.newBuilder().setExternalId("c-1").setRefId(null).build();
            var command = UpdateCustomerCustomName.newBuilder().setRequestId("r-1").setCustomer(customer).setCustomName("Ada")
                .setExpectedVersion(null).build();
            String own = command.getSchema().toString();
            String stripped = own.replace("{\"type\":\"string\",\"avro.java.string\":\"String\"}", "\"string\"");
            System.out.println(own.equals(registered.toString()) + " " + stripped.equals(registered.toString()) + " " + command.getCustomName());
        }
    }
"#;

#[test]
fn classes_are_generated_from_the_schemas_and_have_properties_that_the_registered_ones_have_not() {
    if java().is_none() {
        return;
    }
    let folder = servers::log_dir().join(unique("generated"));
    let (sources, classes) = (folder.join("sources"), folder.join("classes"));
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "avro:schema", &format!("-Dgenerated={}", sources.display()), "-f"]).arg(example("java/pom.xml"));
    servers::finish(&mut maven).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(sources.join("Generated.java"), GENERATED).expect("there is room");
    let lib = servers::cache(LIBRARIES).join("*");
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(&lib).arg("-d").arg(&classes).arg("--source-path").arg(&sources).arg(sources.join("Generated.java"));
    servers::finish(&mut compiler).unwrap_or_else(|e| panic!("{e}"));

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/UpdateCustomerCustomName.avsc");
    let mut java = Command::new("java");
    java.arg("-cp").arg(format!("{}:{}", classes.display(), lib.display())).arg("Generated").arg(schema);
    let printed = run(&mut java).exits(0);
    assert_eq!(printed.stdout.trim(), "false true Ada", "{printed}");
}

/// Returns the arguments that each client takes first.
fn places(world: &World) -> [&str; 3] {
    [world.kafka(), registry::url(), &world.commands]
}

#[test]
fn the_plain_java_client_prints_its_reply() {
    let Some(shared) = shared() else { return };
    if java().is_none() {
        return;
    }
    a_change_and_a_refusal_are_printed(shared, &shared.customer(), |request, external_id, name| {
        let mut java = java().expect("it was there");
        java.arg("PlainClient").args(places(shared)).args([&shared.replies, request, external_id, name]);
        run(&mut java)
    });
}

#[test]
fn springs_replying_template_gets_its_reply_on_a_topic_and_partition_of_its_own() {
    const PARTITION: i32 = 1;
    let Some(shared) = shared() else { return };
    let Some(mut java) = java() else { return };
    let (customer, request) = (shared.customer(), unique("r"));
    java.arg("SpringClient").args(places(shared)).args([&shared.other_replies, &PARTITION.to_string()]);
    java.args([&request, &customer.external_id, "Ada Lovelace"]);
    let reply = printed(&run(&mut java).exits(0));
    assert_eq!((&reply["statusCode"], &reply["requestId"]), (&json!(200), &json!(request)), "{reply}");
    assert_eq!(shared.transaction(&customer, &request).body["customer"]["customName"], "Ada Lovelace");

    let is_reply = |r: &Record| shared.holds_replies(&r.topic) && r.body["requestId"] == request.as_str();
    let record = shared.inbox.first("the reply", is_reply);
    assert_eq!((record.topic.as_str(), record.partition), (shared.other_replies.as_str(), PARTITION), "{record:?}");
    let correlation = record.header("kafka_correlationId").expect("Spring sends one, and it comes back");
    assert_eq!(correlation.len(), 16, "Spring's are UUIDs: {record:?}");
}
