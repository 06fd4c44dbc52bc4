//! Reads the paths in Rust source by scanning its tokens: enough to tell which file uses which.

/// A path as it is written. Groups of `use` are expanded.
pub struct Written {
    /// The line of the path.
    pub line: usize,
    /// The parts of the path: `crate`, `store`, `Claim`.
    pub segments: Vec<String>,
    /// The purpose of the path.
    pub role: Role,
    /// The name that an import brings into the file.
    pub name: Option<String>,
}

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The path stands in code, or in an attribute.
    Named,
    /// `use`: the path imports an item into the file.
    Import,
    /// `pub use`: other files may find the item here. The file itself need not use it.
    Reexport,
}

/// Returns all paths in Rust source, single names included. Comments, strings and method names don't count.
pub fn paths(source: &str) -> Vec<Written> {
    paths_in(&tokens(source))
}

/// Returns all paths in Rust source, without those in tests.
pub fn paths_outside_tests(source: &str) -> Vec<Written> {
    let mut tokens = tokens(source);
    let is_test_item =
        |rest: &[(usize, String)]| rest.iter().map(|t| t.1.as_str()).take(7).eq(["#", "[", "cfg", "(", "test", ")", "]"]);
    let mut at = 0;
    while at < tokens.len() {
        if is_test_item(&tokens[at..]) {
            let end = end_of_item(&tokens, at + 7);
            tokens.drain(at..end);
        } else {
            at += 1;
        }
    }
    paths_in(&tokens)
}

/// Returns the index behind the item that begins at `at`: behind its braces, or its semicolon.
fn end_of_item(tokens: &[(usize, String)], at: usize) -> usize {
    let mut depth = 0;
    for (n, (_, token)) in tokens.iter().enumerate().skip(at) {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return n + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return n + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn paths_in(tokens: &[(usize, String)]) -> Vec<Written> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is = |n: usize, token: &str| tokens.get(n).is_some_and(|t| t.1 == token);
        let behind = |token| at > 0 && is(at - 1, token);
        if is(at, "use") && tokens.get(at + 1).is_some_and(|t| is_name(&t.1)) {
            let role = if behind("pub") || behind(")") { Role::Reexport } else { Role::Import };
            at = path(tokens, at + 1, role, &mut Vec::new(), &mut found);
        } else if is_name(&tokens[at].1) && !behind(".") || is(at, "await") {
            at = path(tokens, at, Role::Named, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or the branches of one group, from `at`; returns where it ends.
fn path(tokens: &[(usize, String)], mut at: usize, role: Role, prefix: &mut Vec<String>, found: &mut Vec<Written>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |t| t.1.as_str());
    let line = tokens[at].0;
    let depth = prefix.len();
    loop {
        if text(at) == "{" {
            at += 1;
            while !matches!(text(at), "}" | "") {
                at = if is_name(text(at)) || text(at) == "*" { path(tokens, at, role, prefix, found) } else { at + 1 };
            }
            prefix.truncate(depth);
            return at + 1;
        }
        prefix.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" || !(is_name(text(at + 1)) || matches!(text(at + 1), "{" | "*")) {
            break;
        }
        at += 1;
    }
    let mut name = None;
    if role != Role::Named {
        // A group may name the module itself.
        if prefix.len() > 1 && prefix.last().is_some_and(|last| last == "self") {
            prefix.pop();
        }
        name = prefix.last().cloned();
        if text(at) == "as" {
            name = Some(text(at + 1).to_owned());
            at += 2;
        }
    }
    found.push(Written { line, segments: prefix.clone(), role, name });
    prefix.truncate(depth);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits source into names, `::` and single characters, each with its line.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' {
            char_or_lifetime(rest)
        } else {
            let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let length = if rest.starts_with("::") { 2 } else { name.max(first.len_utf8()) };
            if !first.is_whitespace() {
                tokens.push((line, rest[..length].to_owned()));
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn char_or_lifetime(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(text, '\''),
        _ => 1,
    }
}
