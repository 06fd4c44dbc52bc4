//! Finds out which file uses which: it follows each path through imports and re-exports to the file that defines the named item.

use super::Source;
use super::paths::{Role, Written, paths_outside_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module's path: `["store", "cql"]`.
type Module = Vec<String>;

/// A use of another file, the first of its kind in a file.
pub struct Use<'a> {
    /// The file that uses another.
    pub by: &'a Source,
    /// The other file.
    pub of: &'a Source,
    /// The place and the path of the use.
    pub path: Written,
}

/// The files, and the items that each file's imports stand for.
struct Names<'a> {
    files: BTreeMap<&'a [String], &'a Source>,
    imports: BTreeMap<&'a [String], BTreeMap<String, Module>>,
}

/// Returns all uses of one file by another, without tests. Declaring a module, or re-exporting items of another file, is not a
/// use.
pub fn uses(sources: &[Source]) -> Vec<Use<'_>> {
    let files: BTreeMap<_, _> = sources.iter().filter(|s| !s.is_test()).map(|s| (s.module.as_slice(), s)).collect();
    let mut names = Names { files, imports: BTreeMap::new() };
    let mut all: Vec<_> = names.files.values().map(|source| (*source, paths_outside_tests(&source.text))).collect();
    for (source, paths) in &all {
        let import = |path: &Written| Some((path.name.clone()?, names.absolute(&path.segments, &source.module)?));
        let imports = paths.iter().filter_map(import).collect();
        names.imports.insert(&source.module, imports);
    }
    // The crate's root is the map of all files, and may name them all.
    all.retain(|(source, _)| !source.module.is_empty());
    let (mut uses, mut known) = (Vec::new(), BTreeSet::new());
    for (by, paths) in all {
        for path in paths {
            let Some(of) = names.file_of(&path, by) else { continue };
            if !std::ptr::eq(by, of) && !of.module.is_empty() && known.insert((&by.file, &of.file)) {
                uses.push(Use { by, of, path });
            }
        }
    }
    uses
}

/// Returns the uses that are part of a cycle: the used file uses the other one, directly or by way of others.
pub fn in_cycles(uses: Vec<Use<'_>>) -> Vec<Use<'_>> {
    let mut graph: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for Use { by, of, .. } in &uses {
        graph.entry(&by.file).or_default().insert(&of.file);
    }
    let leads_to = |from: &Path, to: &Path| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            if file == to {
                return true;
            }
            if seen.insert(file) {
                open.extend(graph.get(file).into_iter().flatten());
            }
        }
        false
    };
    uses.into_iter().filter(|u| leads_to(&u.of.file, &u.by.file)).collect()
}

impl<'a> Names<'a> {
    /// Returns the file that defines the item that a path names, or `None` if the path uses no file.
    fn file_of(&self, path: &Written, by: &Source) -> Option<&'a Source> {
        let only_points = path.segments.iter().all(|part| ["crate", "self", "super"].contains(&part.as_str()));
        // A single name is the file's own, a variable for instance, unless the file has it from another one.
        let is_own = || {
            path.segments.len() == 1
                && !self.imports.get(by.module.as_slice()).is_some_and(|names| names.contains_key(&path.segments[0]))
        };
        if path.role == Role::Reexport || (path.role == Role::Named && (only_points || is_own())) {
            return None;
        }
        let mut target = self.absolute(&path.segments, &by.module)?;
        // If a module has the name from another, the other is used. Chains of such names are short.
        for _ in 0..10 {
            let depth = self.depth(&target);
            let named = target.get(depth).and_then(|name| self.imports.get(&target[..depth])?.get(name));
            let Some(named) = named else { break };
            target = named.iter().chain(&target[depth + 1..]).cloned().collect();
        }
        let depth = self.depth(&target);
        // Importing a module is not a use. A use names an item through the module.
        let is_module = depth == target.len() && path.segments.last().is_some_and(|last| last != "*");
        if path.role == Role::Import && is_module { None } else { self.files.get(&target[..depth]).copied() }
    }

    /// Returns how many parts of a path lead to a file.
    fn depth(&self, target: &[String]) -> usize {
        (0..=target.len()).rev().find(|depth| self.files.contains_key(&target[..*depth])).unwrap_or(0)
    }

    /// Returns a path as one from the crate's root, or `None` if it leads out of the crate.
    fn absolute(&self, path: &[String], module: &[String]) -> Option<Module> {
        if let Some(absolute) = super::absolute(path, module) {
            return Some(absolute);
        }
        let child: Module = module.iter().chain(&path[..1]).cloned().collect();
        if self.files.contains_key(child.as_slice()) {
            return Some(module.iter().chain(path).cloned().collect());
        }
        let imported = self.imports.get(module)?.get(&path[0])?;
        Some(imported.iter().chain(&path[1..]).cloned().collect())
    }
}
