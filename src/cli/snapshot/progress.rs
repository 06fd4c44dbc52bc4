//! Shows how far a snapshot of all entities has come: in a file, so that the snapshot can be taken up again, and on the terminal.

use crate::config::{Backend, Config};
use crate::domain::entity::EntityType;
use crate::store::scan::Position;
use crate::toolbox::pace::{Bar, Throttle};
use crate::toolbox::state_file;
use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The entities that a snapshot publishes, and how far it has come. Whatever counts here as published is committed to Kafka.
///
/// **Frozen**: files that earlier releases wrote are in `tests/golden/snapshot`. A further field has a default that means what
/// its absence meant; a release that does not know it refuses the file, because it could pass over entities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SnapshotProgress {
    /// The keyspace or folder of the store, in words.
    store: String,
    topic: String,
    pub types: Vec<EntityType>,
    /// The position of the last entity that was published, or left out because of its type. `None` if there was none yet.
    pub position: Option<Position>,
    pub published: u64,
    pub finished: bool,
}

impl SnapshotProgress {
    pub fn new(config: &Config, types: &[EntityType]) -> Self {
        let store = match &config.store.backend {
            Backend::Cql(cql) => format!("keyspace {}", cql.keyspace),
            Backend::Embedded { path } => format!("folder {}", path.display()),
        };
        let types = EntityType::ALL.into_iter().filter(|t| types.is_empty() || types.contains(t)).collect();
        let topic = config.kafka.topics.transactions.clone();
        Self { store, topic, types, position: None, published: 0, finished: false }
    }

    /// Returns the progress in the file. Returns `self` if there is no file.
    ///
    /// # Errors
    /// The file can't be read, or is that of another snapshot, or of one that is finished.
    pub fn or_resumed(self, file: &Path) -> anyhow::Result<Self> {
        let Some(noted) = state_file::read::<Self>(file, "a snapshot")? else { return Ok(self) };
        let same = (&noted.store, &noted.topic, &noted.types) == (&self.store, &self.topic, &self.types);
        ensure!(
            same,
            "{} is the state of another snapshot: of {}, {}, {:?}",
            file.display(),
            noted.store,
            noted.topic,
            noted.types
        );
        ensure!(!noted.finished, "{} says that all was published: take another file to begin anew", file.display());
        Ok(noted)
    }
}

/// The meter of a run: it notes the progress, shows it, and keeps to the rate.
pub(super) struct SnapshotMeter {
    file: Option<PathBuf>,
    bar: Bar,
    throttle: Throttle,
    /// How many entities earlier runs have published.
    resumed_at: u64,
}

impl SnapshotMeter {
    pub fn start(progress: &SnapshotProgress, file: Option<&Path>, rate: u32) -> Self {
        let bar = Bar::begin(progress.position, in_words(progress));
        Self { file: file.map(Path::to_owned), bar, throttle: Throttle::start(rate), resumed_at: progress.published }
    }

    /// Shows the progress and notes it in the file. It is called after each commit.
    pub fn advance(&self, progress: &SnapshotProgress) -> anyhow::Result<()> {
        self.bar.advance(progress.position, in_words(progress));
        self.file.as_ref().map_or(Ok(()), |file| state_file::write(file, progress))
    }

    /// Waits until the next batch may be published.
    pub async fn wait(&self, progress: &SnapshotProgress) {
        self.throttle.wait(progress.published - self.resumed_at).await;
    }

    /// Removes the bar, and returns a line about this run, which published to these topics.
    pub fn conclude(&self, progress: &SnapshotProgress, topics: &str) -> String {
        self.bar.remove();
        let published = progress.published - self.resumed_at;
        let (seconds, rate) = self.throttle.measured(published);
        let before = if self.resumed_at > 0 { format!(", {} before", self.resumed_at) } else { String::new() };
        format!("{published} entities published to {topics}{before}, in {seconds:.1} s ({rate:.0} entities/s)")
    }
}

fn in_words(progress: &SnapshotProgress) -> String {
    format!("{} entities", progress.published)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> SnapshotProgress {
        let config = Config::parse("", Vec::new()).unwrap();
        SnapshotProgress::new(&config, &[EntityType::Account])
    }

    #[test]
    fn files_of_earlier_releases_are_taken_up_again() {
        let state = |store: &str, types: &[EntityType], position, published| SnapshotProgress {
            store: store.into(),
            topic: "crm.transactions".into(),
            types: types.into(),
            position,
            published,
            finished: false,
        };
        let entity = Position::Entity(EntityType::Account, uuid::Uuid::from_u128(7));
        for (text, expected) in [
            (
                include_str!("../../../tests/golden/snapshot/1.json"),
                state("keyspace crm", &EntityType::ALL, Some(Position::Token(-7)), 3),
            ),
            (
                include_str!("../../../tests/golden/snapshot/1-embedded.json"),
                state("folder /var/lib/crm", &[EntityType::Account], Some(entity), 12_345),
            ),
            (
                include_str!("../../../tests/golden/snapshot/1-begun.json"),
                state("keyspace crm", &[EntityType::Subscriber], None, 0),
            ),
        ] {
            assert_eq!(serde_json::from_str::<SnapshotProgress>(text).unwrap(), expected, "{text}");
            assert_eq!(serde_json::to_string(&expected).unwrap(), text.trim_end(), "what is written is what is read");
        }
    }

    #[test]
    fn a_file_of_a_newer_release_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        state_file::write(&file, &progress()).unwrap();
        let newer = std::fs::read_to_string(&file).unwrap().replace('{', r#"{"since":1,"#);
        std::fs::write(&file, newer).unwrap();
        let error = format!("{:#}", progress().or_resumed(&file).unwrap_err());
        assert!(error.contains("since"), "{error}");
    }

    #[test]
    fn what_is_noted_is_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        assert_eq!(progress().or_resumed(&file).unwrap(), progress(), "there is no file");
        let noted = SnapshotProgress { position: Some(Position::Token(-7)), published: 3, ..progress() };
        state_file::write(&file, &noted).unwrap();
        state_file::write(&file, &noted).unwrap();
        assert_eq!(progress().or_resumed(&file).unwrap(), noted);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_state_of_another_snapshot_or_a_finished_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        for (noted, expected) in [
            (SnapshotProgress { finished: true, ..progress() }, "take another file to begin anew"),
            (SnapshotProgress { types: vec![EntityType::Customer], ..progress() }, "of another snapshot"),
            (SnapshotProgress { topic: "elsewhere".into(), ..progress() }, "of another snapshot"),
        ] {
            state_file::write(&file, &noted).unwrap();
            let error = progress().or_resumed(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "{noted:?}: {error}");
        }
    }
}
