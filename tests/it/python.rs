//! Python with packages from the package registry, for the examples and for tools that come as packages: a virtual environment
//! for each file of requirements, kept in the cache.

use crate::servers;
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

/// Returns the folder of programs of a Python that has these requirements, or `None` if it can't be had here; the reason has been
/// printed, and the test returns.
pub fn with(requirements: &Path) -> Option<PathBuf> {
    let Ok(version) = Command::new("python3").arg("--version").output() else {
        servers::skip("python3 is not installed (Debian: apt-get install python3-venv)");
        return None;
    };
    let wanted = std::fs::read(requirements).unwrap_or_else(|e| panic!("{}: {e}", requirements.display()));
    // Another Python and other requirements get another folder.
    let made_of = Uuid::new_v5(&Uuid::NAMESPACE_OID, &[version.stdout, wanted].concat());
    let folder = servers::cache(&format!("python-{}", made_of.simple()));
    let made = servers::make_once(&folder, |partial| {
        servers::finish(Command::new("python3").args(["-m", "venv"]).arg(partial))?;
        let mut pip = Command::new(partial.join("bin/python"));
        servers::finish(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))
    });
    match made {
        Ok(()) => Some(folder.join("bin")),
        Err(why) => {
            servers::skip(&format!("no virtual environment (Debian: apt-get install python3-venv): {why}"));
            None
        }
    }
}
