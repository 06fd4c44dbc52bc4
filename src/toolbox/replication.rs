//! Judges how well a topic's records are kept: how many replicas it has, how many of them are in sync, and what the brokers'
//! acknowledgement is worth. It is pure; [`cluster`](super::cluster) asks the brokers.
//!
//! An acknowledged record outlives the loss of a broker if another one has it. With three replicas, `min.insync.replicas` 2 and
//! no unclean election each acknowledged record is on two brokers at least, and one broker may be down while work goes on. A
//! cluster of one or two brokers can't have that. It is legitimate, and no finding.

use super::assessment::Assessment;
use crate::telemetry::wording::counted;
use std::collections::BTreeSet;

/// The number of brokers, and of replicas, with which a record is kept while one of them is down and another is lost.
const ENOUGH: usize = 3;
/// How many replicas must have a record before it is acknowledged.
const SAFE_IN_SYNC: u32 = 2;

/// The brokers of a cluster, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// The brokers that are up.
    pub up: BTreeSet<i32>,
    /// The brokers that hold replicas and are not up.
    pub down: BTreeSet<i32>,
}

/// A topic's partitions and where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// How many partitions the topic has.
    pub partitions: usize,
    /// How many replicas the partition with the fewest has.
    pub replicas: usize,
    /// How many replicas are in sync where they are fewest.
    pub in_sync: usize,
    /// How many partitions have replicas that are not in sync.
    pub behind: usize,
    /// The brokers that hold replicas.
    pub holders: BTreeSet<i32>,
}

/// The settings of a topic that say how well acknowledged records are kept. `None` where the brokers don't say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Safety {
    /// `min.insync.replicas`
    pub min_in_sync: Option<u32>,
    /// `unclean.leader.election.enable`
    pub unclean_election: Option<bool>,
}

impl Brokers {
    /// Returns how many brokers there are, up or down.
    pub fn count(&self) -> usize {
        self.up.len() + self.down.len()
    }

    /// Returns whether all brokers are up.
    pub fn assessment(&self) -> Assessment {
        let count = self.count();
        if !self.down.is_empty() {
            let which = self.down.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Assessment::Finding(format!(
                "{} of {count} brokers down: {which}; bring them back, and take no other down until all replicas are in sync",
                self.down.len()
            ));
        }
        Assessment::Ok(if count == 1 { "1 broker".into() } else { format!("{count} brokers, all up") })
    }

    /// Returns what a cluster of this size can't give. Returns `None` if it is large enough.
    pub fn limits(&self) -> Option<Assessment> {
        let count = self.count();
        (count < ENOUGH).then(|| {
            Assessment::Note(format!(
                "{}: what is acknowledged may be lost with a broker's disk, or nothing is written while a broker is down; a cluster \
                 of {ENOUGH}, with as many replicas and min.insync.replicas {SAFE_IN_SYNC}, has neither problem",
                if count == 1 { "one broker alone".to_owned() } else { format!("{count} brokers") }
            ))
        })
    }
}

impl Placement {
    /// Sums up a topic from each partition's replicas, and those of them that are in sync.
    pub fn of<'a>(partitions: impl IntoIterator<Item = (&'a [i32], &'a [i32])>) -> Self {
        let mut placement = Self { replicas: usize::MAX, in_sync: usize::MAX, ..Self::default() };
        for (replicas, in_sync) in partitions {
            placement.partitions += 1;
            placement.replicas = placement.replicas.min(replicas.len());
            placement.in_sync = placement.in_sync.min(in_sync.len());
            placement.behind += usize::from(in_sync.len() < replicas.len());
            placement.holders.extend(replicas);
        }
        if placement.partitions == 0 { Self::default() } else { placement }
    }

    /// Returns the placement in words: `12 partitions, 3 replicas (all in sync), min.insync.replicas 2`.
    pub fn shown(&self, safety: Safety) -> String {
        let in_sync = match self.behind {
            0 => "all in sync".to_owned(),
            behind => format!("of {} only {} in sync", counted(behind, "partition"), self.in_sync),
        };
        let replicas = self.replicas;
        let placed = format!("{}, {} ({in_sync})", counted(self.partitions, "partition"), counted(replicas, "replica"));
        let min_in_sync = safety.min_in_sync.map(|number| format!("min.insync.replicas {number}"));
        let unclean = safety.unclean_election.map(|unclean| format!("unclean.leader.election.enable {unclean}"));
        [Some(placed), min_in_sync, unclean].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Returns what is wrong with how records are kept, each with the way out. `name` is the topic's, for the commands to type.
    pub fn findings(&self, name: &str, safety: Safety, brokers: &Brokers) -> Vec<String> {
        let mut findings = Vec::new();
        // Brokers ask for no more replicas in sync than there are at all (Kafka 4; older ones write nothing then).
        let needed = self.replicas.min(safety.min_in_sync.unwrap_or(1) as usize);
        if self.in_sync == 0 {
            findings
                .push("partitions without a leader: nothing can be read or written there until their brokers are back".into());
        } else if self.in_sync < needed {
            findings.push(format!(
                "{} of {} replicas in sync, and {needed} are needed: nothing can be written until a broker is back",
                self.in_sync, self.replicas
            ));
        } else if self.behind > 0 {
            let hint = if brokers.down.is_empty() { ": a broker is slow, or was just started" } else { "" };
            findings.push(format!("{} of {} replicas in sync{hint}", self.in_sync, self.replicas));
        }
        findings.extend(risks(self.replicas, safety, brokers, &give_replicas(name), &|setting| {
            format!("kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}")
        }));
        findings
    }
}

/// Returns how acknowledged records could be lost on a cluster that is large enough to keep them. Returns nothing for a smaller one.
/// `give_replicas` and `set` are the ways out.
pub fn risks(
    replicas: usize,
    safety: Safety,
    brokers: &Brokers,
    give_replicas: &str,
    set: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let count = brokers.count();
    if count < ENOUGH {
        return Vec::new();
    }
    let mut risks = Vec::new();
    let min_in_sync = safety.min_in_sync.filter(|min| *min < SAFE_IN_SYNC);
    if replicas < ENOUGH {
        risks.push(format!(
            "{} on {count} brokers: what is acknowledged can be lost with one broker, or nothing is written while one is down; \
             {give_replicas}, then set min.insync.replicas={SAFE_IN_SYNC}",
            counted(replicas, "replica")
        ));
    } else if let Some(min_in_sync) = min_in_sync {
        risks.push(format!(
            "min.insync.replicas is {min_in_sync}: a record that one broker alone has is acknowledged, and lost with it; {}",
            set(&format!("min.insync.replicas={SAFE_IN_SYNC}"))
        ));
    }
    if safety.unclean_election == Some(true) {
        risks.push(format!(
            "unclean.leader.election.enable is true: a broker that lacks acknowledged records may become leader, and they are gone; \
             {}",
            set("unclean.leader.election.enable=false")
        ));
    }
    risks
}

fn give_replicas(name: &str) -> String {
    format!("give {name} {ENOUGH} with kafka-reassign-partitions.sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(up: &[i32], down: &[i32]) -> Brokers {
        Brokers { up: up.iter().copied().collect(), down: down.iter().copied().collect() }
    }

    #[test]
    fn where_acknowledged_records_could_be_lost_is_a_finding_on_a_cluster_that_could_keep_them() {
        let (one, two, three) = (brokers(&[1], &[]), brokers(&[1, 2], &[]), brokers(&[1, 2, 3], &[]));
        let lame = brokers(&[1, 2], &[3]);
        for (brokers, replicas, in_sync, min_in_sync, unclean, expected) in [
            (&one, 1, 1, 1, false, &[][..]),
            (&one, 1, 1, 1, true, &[]),
            (&one, 1, 1, 2, false, &[]),
            (&two, 2, 2, 1, false, &[]),
            (&two, 2, 1, 1, false, &["1 of 2 replicas in sync: a broker is slow"]),
            (&two, 2, 1, 2, false, &["1 of 2 replicas in sync, and 2 are needed: nothing can be written"]),
            (&three, 3, 3, 2, false, &[]),
            (&three, 3, 3, 3, false, &[]),
            (&three, 1, 1, 1, false, &["1 replica on 3 brokers"]),
            (&three, 2, 2, 2, false, &["2 replicas on 3 brokers"]),
            (&three, 3, 3, 1, false, &["min.insync.replicas=2"]),
            (&three, 3, 3, 2, true, &["unclean.leader.election.enable=false"]),
            (&three, 3, 3, 1, true, &["min.insync.replicas=2", "unclean.leader.election.enable=false"]),
            // A broker that is down still counts as one of the cluster's.
            (&lame, 3, 2, 2, false, &["2 of 3 replicas in sync"]),
            (&lame, 3, 2, 3, false, &["2 of 3 replicas in sync, and 3 are needed"]),
            (&lame, 1, 0, 1, false, &["without a leader", "1 replica on 3 brokers"]),
        ] {
            let ids = [1, 2, 3];
            let placement = Placement::of([(&ids[..replicas], &ids[..in_sync])]);
            let safety = Safety { min_in_sync: Some(min_in_sync), unclean_election: Some(unclean) };
            let got = placement.findings("t", safety, brokers);
            let case = format!("{replicas} replicas, {in_sync} in sync, {min_in_sync}, {unclean} on {brokers:?}: {got:#?}");
            assert_eq!(got.len(), expected.len(), "{case}");
            assert!(got.iter().zip(expected).all(|(got, expected)| got.contains(expected)), "{case}");
        }
    }

    #[test]
    fn the_weakest_partition_stands_for_the_topic() {
        let placement = Placement::of([(&[1, 2, 3][..], &[1, 2, 3][..]), (&[2, 3][..], &[2][..])]);
        let expected = Placement { partitions: 2, replicas: 2, in_sync: 1, behind: 1, holders: [1, 2, 3].into_iter().collect() };
        assert_eq!(placement, expected);
        let safety = Safety { min_in_sync: Some(2), unclean_election: Some(false) };
        let shown = "2 partitions, 2 replicas (of 1 partition only 1 in sync), min.insync.replicas 2, \
                     unclean.leader.election.enable false";
        assert_eq!(placement.shown(safety), shown);
        assert_eq!(Placement::of([]), Placement::default());
    }

    #[test]
    fn brokers_that_are_down_are_named_and_a_single_broker_is_legitimate() {
        let finding = brokers(&[1], &[2, 3]).assessment();
        assert!(finding.finding().is_some_and(|text| text.contains("2 of 3 brokers down: 2, 3")), "{finding:?}");
        assert_eq!(brokers(&[7], &[]).assessment(), Assessment::Ok("1 broker".into()));
        assert!(matches!(brokers(&[7], &[]).limits(), Some(Assessment::Note(_))));
        assert_eq!(brokers(&[1, 2, 3], &[]).limits(), None);
    }
}
