//! What one bench works with, from its first case to its last.

use super::fleet::Fleet;
use super::options::Options;
use super::place::Place;
use super::table::Report;

/// See the module.
pub struct Bench {
    /// Where it works; to be closed.
    pub place: Place,
    /// What to measure.
    pub options: Options,
    /// What is worked on.
    pub fleet: Fleet,
    /// Where the lines go.
    pub report: Report,
    /// Tells the requests of one pass from those of all others.
    pub pass: u32,
}

impl Bench {
    /// Measures what `options` say.
    pub fn new(place: Place, options: Options, json: bool) -> Self {
        Self { place, options, fleet: Fleet::default(), report: Report::new(json), pass: 0 }
    }
}
