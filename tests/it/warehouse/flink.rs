//! Tests the page's statements for Flink SQL: the changelog of current values ends with what `show` says.

use super::connect::{commands, with_real_registry};
use super::{PAGE, population};
use crate::operation::read;
use crate::servers::{self, jars_or_skip};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::process::Command;

const JARS: (&str, &str) = ("flink-2.1.0", include_str!("flink.pom.xml"));

/// Runs statements, given one a file, and prints what the last one gives: the kind of each row and its values, between tabs.
const PROGRAM: &str = r#"
    import java.nio.file.Files;
    import java.nio.file.Path;
    import org.apache.flink.table.api.EnvironmentSettings;
    import org.apache.flink.table.api.TableEnvironment;

    public final class Rows {
        public static void main(String[] files) throws Exception {
            var flink = TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().build());
            flink.getConfig().set("parallelism.default", "1");
            for (int n = 0; n + 1 < files.length; n++) {
                flink.executeSql(Files.readString(Path.of(files[n])));
            }
            try (var rows = flink.executeSql(Files.readString(Path.of(files[files.length - 1]))).collect()) {
                while (rows.hasNext()) {
                    var row = rows.next();
                    var line = new StringBuilder(row.getKind().shortString());
                    for (int n = 0; n < row.getArity(); n++) {
                        line.append('\t').append(row.getField(n));
                    }
                    System.out.println(line);
                }
            }
        }
    }
"#;

#[test]
fn flinks_changelog_ends_with_the_current_values() {
    const COMMANDS: usize = 120;
    let Some(jars) = jars_or_skip(JARS.0, JARS.1) else { return };
    let Some((world, topic, changes, registry)) = with_real_registry("flink") else { return };
    let imported = population::entities(12, &["ACTIVE"]);
    population::import(&world, &imported);
    let processor = world.run();
    let (commands, entities) = commands(&world, &registry, &imported, COMMANDS);
    world.send_all(&commands);
    changes.until("all rows", |records| (records.len() >= COMMANDS).then_some(()));

    let page = read(PAGE);
    let blocks: Vec<_> = page.split("```flink\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [table, select] = &blocks[..] else { panic!("{PAGE} has {} statements for Flink", blocks.len()) };
    // The query ends at the present end of the topic.
    let bounded = "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";
    let table = table
        .replace("crm.changes", &topic)
        .replace("127.0.0.1:9092", world.kafka())
        .replace("http://127.0.0.1:8081", &registry)
        .replace("'scan.startup.mode' = 'earliest-offset'", bounded);
    let file = |name: &str, text: &str| {
        let path = world.dir().join(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    };
    let (program, files) = (file("Rows.java", PROGRAM), [file("table.sql", &table), file("select.sql", select)]);
    let lib = jars.join("*");
    servers::finish(Command::new("javac").arg("-cp").arg(&lib).arg("-d").arg(world.dir()).arg(program))
        .unwrap_or_else(|e| panic!("{e}"));
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]);
    java.args(["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED", "-cp"])
        .arg(format!("{}:{}", world.dir().display(), lib.display()));
    let output = java.arg("Rows").args(files).output().expect("java is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    // A changelog may take a row back before it gives another one in its place, or give the other one at once.
    let (mut current, mut updates) = (BTreeMap::<String, String>::new(), 0);
    for line in String::from_utf8(output.stdout).expect("is text").lines() {
        let (kind, row) = line.split_once('\t').unwrap_or_else(|| panic!("no row: {line:?}"));
        let ref_id = row.split('\t').next().expect("a column").to_owned();
        match kind {
            "+I" => assert_eq!(current.insert(ref_id, row.to_owned()), None, "{line:?} is the first"),
            "+U" => {
                current.insert(ref_id, row.to_owned());
                updates += 1;
            }
            "-U" => assert_eq!(current.remove(&ref_id).as_deref(), Some(row), "what is taken back was there"),
            other => panic!("{other:?} in {line:?}"),
        }
    }
    assert_eq!(updates, COMMANDS - entities.len(), "each row but the first of an entity brings a later version");
    assert_eq!(current.len(), entities.len());
    for entity in &entities {
        let shown = world.cli("show", &["--ref-id", entity.kind.name(), &entity.ref_id, "--json"]).succeeded();
        let shown: Json = serde_json::from_str(&shown.stdout).expect("is JSON");
        let values = &shown["entity"];
        let name = values["customName"].as_str().unwrap_or("null");
        let expected =
            format!("{}\t{}\t{}\t{name}", entity.ref_id, shown["version"], values["externalId"].as_str().expect("has one"));
        assert_eq!(current[&entity.ref_id], expected);
    }
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0);
}
