//! The keys of `store` that are about data centres: which one is asked, and which of them agree on a write. They hang together:
//! what is right for one depends on the others.

use super::reader::{Section, boolean, text};
use super::{CommitConsistency, SerialConsistency};

/// Which data centre is asked, and which of them agree.
pub(super) struct Datacenters {
    pub local_datacenter: Option<String>,
    pub datacenter_failover: bool,
    pub serial_consistency: SerialConsistency,
    pub consistency: CommitConsistency,
}

/// Reads the keys of `store` that are about data centres.
pub(super) fn datacenters(s: &mut Section<'_>) -> Datacenters {
    let local_datacenter = s.optional("local_datacenter", "the name of a data centre", text);
    let serial_consistency =
        s.value("serial_consistency", SerialConsistency::Serial, "\"serial\" or \"local_serial\"", |given| {
            match text(given)?.as_str() {
                "serial" => Ok(SerialConsistency::Serial),
                "local_serial" => Ok(SerialConsistency::LocalSerial),
                _ => Err("is no serial consistency".to_owned()),
            }
        });
    let follows = match serial_consistency {
        SerialConsistency::Serial => CommitConsistency::Quorum,
        SerialConsistency::LocalSerial => CommitConsistency::LocalQuorum,
    };
    let consistency = s.value("consistency", follows, "\"quorum\" or \"local_quorum\"", |given| match text(given)?.as_str() {
        "quorum" => Ok(CommitConsistency::Quorum),
        "local_quorum" => Ok(CommitConsistency::LocalQuorum),
        _ => Err("is no consistency of commits and plain reads".to_owned()),
    });
    let datacenter_failover = s.value("datacenter_failover", false, "true or false", |given| {
        let failover = boolean(given)?;
        if failover && serial_consistency == SerialConsistency::LocalSerial {
            // Commands would be applied twice.
            return Err("must be false with serial_consistency = \"local_serial\": the other data centre may not know what was \
                        decided"
                .to_owned());
        }
        if failover && local_datacenter.is_none() {
            return Err("has no meaning without local_datacenter: nodes of all data centres are asked then".to_owned());
        }
        Ok(failover)
    });
    Datacenters { local_datacenter, datacenter_failover, serial_consistency, consistency }
}
