//! The state of one bench, from its first case to its last.

use super::cases::CaseStep;
use super::fleet::Fleet;
use super::load::{CommandBatch, Crm};
use super::options::Options;
use super::place::Place;
use super::table::Report;

/// The servers, entities and settings that the cases of one `bench` share.
pub struct Bench {
    /// The place where the bench works. It must be closed at the end.
    pub place: Place,
    /// The flags, which say what to measure.
    pub options: Options,
    /// The entities that the bench works on.
    pub fleet: Fleet,
    /// The printer of the lines.
    pub report: Report,
    /// A number that tells the requests of one pass from those of all others.
    pub pass: u32,
}

impl Bench {
    /// Creates a bench that will measure what `options` say.
    pub fn new(place: Place, options: Options, json: bool) -> Self {
        Self { place, options, fleet: Fleet::default(), report: Report::new(json), pass: 0 }
    }

    /// Prepares the commands of one more pass.
    ///
    /// # Errors
    /// Kafka is the mock cluster, and can't hold the commands.
    pub fn prepare(&mut self, crm: &mut Crm, steps: &[CaseStep]) -> anyhow::Result<CommandBatch> {
        self.pass += 1;
        let batch = crm.prepare(&mut self.fleet, self.pass, steps);
        if self.place.is_mocked() {
            batch.fits_mocked(self.options.partitions)?;
        }
        Ok(batch)
    }
}
