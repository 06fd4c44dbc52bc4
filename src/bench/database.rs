//! Measures a database that runs on this machine: the CPU time of its threads, summed up by their purpose, and the size of a table's files.
//! The figures come from `/proc`, so the caller needs the right to see the files that the database's process has open.

use crate::telemetry::process::Stat;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The beginnings of the names of Cassandra's threads, of which Linux keeps 15 characters. The threads that are not here, and those of
/// other databases, count as "other".
const KINDS: [(&str, Kind); 18] = [
    ("Native-Transpor", Kind::Requests),
    ("MutationStage", Kind::Requests),
    ("ReadStage", Kind::Requests),
    ("RequestResponse", Kind::Requests),
    ("epollEventLoop", Kind::Requests),
    ("Messaging-", Kind::Requests),
    ("COMMIT-LOG", Kind::Requests),
    ("PERIODIC-COMMIT", Kind::Requests),
    ("Memtable", Kind::Flush),
    ("PerDiskMemtable", Kind::Flush),
    ("Compaction", Kind::Compaction),
    ("VM Thread", Kind::Collection),
    ("GC ", Kind::Collection),
    ("G1 ", Kind::Collection),
    ("ConcurrentMark", Kind::Collection),
    ("ZGC", Kind::Collection),
    ("C1 Compiler", Kind::Compiler),
    ("C2 Compiler", Kind::Compiler),
];

#[derive(Clone, Copy)]
enum Kind {
    Requests,
    Flush,
    Compaction,
    Collection,
    Compiler,
    Other,
}

/// The CPU time of a database's threads in microseconds, summed up by the purpose of the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Threads that answer requests, the log of commits among them.
    pub requests: f64,
    /// Threads that write tables from memory to files.
    pub flush: f64,
    /// Threads that merge files.
    pub compaction: f64,
    /// Threads that collect garbage.
    pub collection: f64,
    /// Threads that compile the JVM's code while it runs.
    pub compiler: f64,
    /// Threads of none of the kinds above.
    pub other: f64,
}

/// A database that runs on this machine.
pub struct Database(pub u32);

impl Database {
    /// Reads what the database's threads have used since they began. Threads that have ended are not counted.
    pub fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut cpu = Cpu::default();
        for thread in self.list("task")? {
            // A thread may end at any time.
            let Ok(stat) = std::fs::read_to_string(thread.join("stat")) else { continue };
            let Stat { name, cpu: used, .. } = Stat::read(&stat).context("/proc looks different on this system")?;
            let micros = used.as_secs_f64() * 1e6;
            let kind = KINDS.iter().find(|(beginning, _)| name.starts_with(beginning)).map_or(Kind::Other, |(_, kind)| *kind);
            *match kind {
                Kind::Requests => &mut cpu.requests,
                Kind::Flush => &mut cpu.flush,
                Kind::Compaction => &mut cpu.compaction,
                Kind::Collection => &mut cpu.collection,
                Kind::Compiler => &mut cpu.compiler,
                Kind::Other => &mut cpu.other,
            } += micros;
        }
        Ok(cpu)
    }

    /// Returns the bytes of the files of a table that hold its rows. Returns 0 if the process has no such file open.
    pub fn bytes(&self, keyspace: &str, table: &str) -> anyhow::Result<u64> {
        let of_table = format!("/{keyspace}/{table}-");
        let open = self.list("fd")?.into_iter().filter_map(|link| std::fs::read_link(link).ok());
        let files: BTreeSet<PathBuf> = open
            .filter(|file| file.to_str().is_some_and(|path| path.contains(&of_table) && path.ends_with("-Data.db")))
            .collect();
        // A file that was merged into another one may be gone by now.
        Ok(files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
    }

    fn list(&self, folder: &str) -> anyhow::Result<Vec<PathBuf>> {
        let path = format!("/proc/{}/{folder}", self.0);
        let entries = std::fs::read_dir(&path).with_context(|| format!("{path} can't be read"))?;
        Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
    }
}

impl Cpu {
    /// Combines each figure with that of `other`.
    pub fn with(self, other: Self, work_out: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            requests: work_out(self.requests, other.requests),
            flush: work_out(self.flush, other.flush),
            compaction: work_out(self.compaction, other.compaction),
            collection: work_out(self.collection, other.collection),
            compiler: work_out(self.compiler, other.compiler),
            other: work_out(self.other, other.other),
        }
    }
}
