//! Runs the quick start of README.md word for word, on one fresh broker and one fresh node. Only the addresses are replaced.

use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::servers::own::OwnServer;
use crate::world::{PATIENT_STORE, binary};
use crate::{registry, servers};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Returns the blocks in a language below the heading of the quick start, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    let (_, section) = readme.split_once("\n## Quick start\n").expect("README.md has a quick start");
    let (section, _) = section.split_once("\n## ").expect("something follows");
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// The folder in which the test runs the lines of the page, as its reader would.
struct Desk<'a> {
    folder: &'a Path,
    admin: String,
}

impl Desk<'_> {
    fn shell(&self, line: &str) -> Command {
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        // `exec` replaces the shell, so that a signal reaches the program.
        shell.arg("-c").arg(format!("exec {line}")).current_dir(self.folder);
        shell.env("PATH", path).env("CRM__ADMIN__LISTEN", &self.admin).envs([PATIENT_STORE]);
        shell
    }

    /// Runs a line, which must succeed, and returns what it prints.
    fn run(&self, line: &str) -> String {
        let output = self.shell(line).output().expect("a POSIX system has sh");
        let said = [&*output.stdout, &output.stderr].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{line}: {}\n{said}", output.status);
        said
    }

    fn begin(&self, line: &str, log: &str) -> Guarded {
        Guarded::spawn(&self.shell(line), &self.folder.join(log), None)
    }
}

fn until(what: &str, process: &Guarded, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}; {}", process.log_tail());
        crate::pause();
    }
}

#[test]
fn the_quick_start_of_the_readme_works_on_one_of_each_word_for_word() {
    let (Some(kafka), Some(cassandra)) = (OwnServer::kafka(), OwnServer::cassandra()) else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let [toml] = &blocks("toml")[..] else { panic!("one configuration") };
    let [entities] = &blocks("json")[..] else { panic!("one file of entities") };
    let addresses = [
        ("127.0.0.1:9092", kafka.address().to_owned()),
        ("http://127.0.0.1:8081", registry::url().to_owned()),
        ("127.0.0.1:9042", cassandra.address().to_owned()),
    ];
    let config = addresses.iter().fold(toml.clone(), |config, (there, here)| {
        assert!(config.contains(&format!("\"{there}\"")), "{there} is not in\n{config}");
        config.replace(there, here)
    });
    std::fs::write(folder.path().join("crm.toml"), config).expect("there is room");
    std::fs::write(folder.path().join("entities.jsonl"), entities).expect("there is room");
    std::fs::create_dir(folder.path().join("bin")).expect("there is room");
    std::os::unix::fs::symlink(binary(), folder.path().join("bin/crm-processor")).expect("there is room");
    let desk = Desk { folder: folder.path(), admin: format!("127.0.0.1:{}", servers::free_port()) };

    let all = blocks("sh");
    let lines = all[0].lines().chain(all[1].lines()).filter(|line| line.starts_with("crm-processor "));
    let mut stay = Vec::new();
    let mut seen = Vec::new();
    for line in lines {
        let subcommand = line.split_whitespace().nth(1).expect("a subcommand");
        seen.push(subcommand);
        match subcommand {
            "run" => {
                let run = desk.begin(line, "run.log");
                let url = format!("http://{}/readyz", desk.admin);
                until("run gets ready", &run, || registry::get(&url).0 == 200);
                stay.push(run);
            }
            "watch" => stay.push(desk.begin(line, "watch.log")),
            "setup" => assert!(desk.run(line).contains("all is set up\n")),
            // The brokers have never had a group or a transaction.
            "check" => assert!(desk.run(line).contains("all is well\n")),
            "import" => {
                let said = desk.run(line);
                assert!(said.contains("2 created, 0 existed, 0 findings"), "{said}");
            }
            "send" => {
                let said = desk.run(line);
                assert!(said.contains("200"), "{line}: {said}");
            }
            "show" => {
                let said = desk.run(line);
                assert!(said.contains("7f2d1c1e-63f7-4c0f-9f10-1c1f0f6a7b11"), "{said}");
            }
            other => panic!("the test does not know what to make of {other}"),
        }
    }
    assert_eq!(seen, ["setup", "check", "import", "run", "watch", "send", "send", "send", "send", "send", "show"]);
}
