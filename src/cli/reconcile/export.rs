//! The warehouse's side: a CSV file with a line for each entity, as the statement in `docs/warehouse.md` makes it.

use super::digest::EntityDigest;
use crate::domain::Timestamp;
use crate::domain::entity::EntityType;
use anyhow::{Context as _, anyhow, bail};
use csv::{Reader, StringRecord};
use std::fs::File;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const COLUMNS: [&str; 5] = ["entitytype", "refid", "version", "digest", "exportedat"];

/// A line of the warehouse's file, which is about one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExportLine {
    pub entity_type: EntityType,
    pub ref_id: Uuid,
    pub version: i64,
    pub digest: EntityDigest,
    /// When the file was made.
    pub exported_at: Timestamp,
}

/// The warehouse's CSV file.
pub(super) struct Export {
    path: PathBuf,
}

impl Export {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads the file, and hands over each line.
    pub fn each(&self, mut with: impl FnMut(ExportLine)) -> anyhow::Result<()> {
        let path = self.path.display();
        let file = File::open(&self.path).with_context(|| format!("{path} can't be opened"))?;
        let mut reader = Reader::from_reader(std::io::BufReader::new(file));
        let header = reader.headers().with_context(|| format!("{path} can't be read"))?;
        let places = places(header).map_err(|why| anyhow!("{path}: {why}"))?;
        for (n, record) in reader.records().enumerate() {
            // The header is line 1.
            let at = || format!("{path}, line {}", n + 2);
            with(line(&record.with_context(at)?, places).map_err(|why| anyhow!("{}: {why}", at()))?);
        }
        Ok(())
    }
}

/// Returns where each of [`COLUMNS`] is.
fn places(header: &StringRecord) -> anyhow::Result<[usize; COLUMNS.len()]> {
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|name| name.trim().eq_ignore_ascii_case(column));
        let Some(found) = found else {
            bail!(
                "the first line has no column {column}; it must name {} in any order, separated by commas, as in docs/warehouse.md",
                COLUMNS.join(", ")
            );
        };
        *place = found;
    }
    Ok(places)
}

fn line(record: &StringRecord, places: [usize; COLUMNS.len()]) -> Result<ExportLine, String> {
    let [entity_type, ref_id, version, digest, exported_at] = places.map(|place| record.get(place).unwrap_or_default().trim());
    let number = |column: &str, text: &str| text.parse().map_err(|_| format!("{column} is no whole number: {text:?}"));
    Ok(ExportLine {
        entity_type: EntityType::from_name(&entity_type.to_lowercase())
            .ok_or_else(|| format!("no entity type: {entity_type:?}"))?,
        ref_id: Uuid::parse_str(ref_id).map_err(|_| format!("refid is no UUID: {ref_id:?}"))?,
        version: number("version", version)?,
        digest: hexadecimal(digest).ok_or_else(|| format!("digest is not 32 hexadecimal digits: {digest:?}"))?,
        exported_at: number("exportedat", exported_at)?,
    })
}

fn hexadecimal(text: &str) -> Option<EntityDigest> {
    let is_digest = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_digest.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ExportLine>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.csv");
        std::fs::write(&path, text).unwrap();
        let mut lines = Vec::new();
        Export::at(&path).each(|line| lines.push(line)).map(|()| lines).map_err(|error| format!("{error:#}"))
    }

    const LINE: &str = "CUSTOMER,0198c7a0-0000-7000-8000-00000000000a,3,000102030405060708090a0b0c0d0e0f,1700000000000";

    #[test]
    fn a_file_is_read_whatever_the_order_and_case_of_its_columns() {
        let lines = read(&format!("entityType,refId,version,digest,exportedAt\n{LINE}\n")).unwrap();
        let expected = ExportLine {
            entity_type: EntityType::Customer,
            ref_id: Uuid::from_u128(0x0198_c7a0_0000_7000_8000_0000_0000_000a),
            version: 3,
            digest: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            exported_at: 1_700_000_000_000,
        };
        assert_eq!(lines, std::slice::from_ref(&expected));
        let mut turned: Vec<&str> = LINE.split(',').collect();
        turned.reverse();
        let text = format!("exportedat,digest,version,refid,entitytype\n\"{}\"\n", turned.join("\",\""));
        assert_eq!(read(&text).unwrap(), [expected]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let header = "entityType,refId,version,digest,exportedAt\n";
        for (text, expected) in [
            (String::new(), "no column entitytype"),
            ("refId,version\n".to_owned(), "no column entitytype"),
            (format!("{header}{LINE}\n{}\n", LINE.replace("CUSTOMER", "CONTRACT")), "line 3: no entity type: \"CONTRACT\""),
            (format!("{header}{}\n", LINE.replace("-7000-", "-70-")), "line 2: refid is no UUID"),
            (format!("{header}{}\n", LINE.replace(",3,", ",x,")), "line 2: version is no whole number: \"x\""),
            (format!("{header}{}\n", LINE.replace("0a0b", "0a+b")), "line 2: digest is not"),
            (format!("{header}a,b\n"), "line 2"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }
}
