//! Reads a file, or standard input, line by line, each with its number and a bound on its length.

use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tokio::sync::mpsc;

/// The longest line, in bytes. The longest values in the most verbose JSON stay far below.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// A line of the file.
pub struct Line {
    /// The number of the line, from 1.
    pub number: u64,
    /// The line with its line break; or why it can't be read.
    pub text: Result<String, String>,
    /// How many bytes of the file the line is.
    pub bytes: u64,
}

/// Where lines come from.
pub type Input = Box<dyn BufRead + Send>;

/// Opens a file; `-` is standard input. Returns it and its size in bytes, or `None` for the size if that is not known.
///
/// # Errors
/// The file can't be opened.
pub fn open(path: &Path) -> anyhow::Result<(Input, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
    Ok((Box::new(BufReader::new(file)), size))
}

/// Reads the lines of `input` until its end, or until nobody wants more of them. Blank lines are left out.
///
/// # Errors
/// The input can't be read any further.
pub fn read_lines(mut input: Input, lines: &mpsc::Sender<Line>) -> io::Result<()> {
    for number in 1.. {
        let (text, bytes) = read_line(&mut input)?;
        if bytes == 0 {
            break;
        }
        let blank = text.as_ref().is_ok_and(|text| text.trim().is_empty());
        if !blank && lines.blocking_send(Line { number, text, bytes }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a line. Returns it, or why it can't be read, and how many bytes of the input it was: 0 at the end. Skips the rest of a line that
/// is too long.
fn read_line(input: &mut impl BufRead) -> io::Result<(Result<String, String>, u64)> {
    let mut line = Vec::new();
    let mut bytes = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
    if bytes == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        loop {
            let mut rest = Vec::new();
            let skipped = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut rest)? as u64;
            bytes += skipped;
            if skipped == 0 || rest.ends_with(b"\n") {
                return Ok((Err(format!("is longer than {MAX_LINE_BYTES} bytes")), bytes));
            }
        }
    }
    let text = String::from_utf8(line).map_err(|_| "is not UTF-8".to_owned());
    Ok((text.map(|text| text.trim_start_matches('\u{feff}').to_owned()), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_a_bound() {
        let long = "x".repeat(3 * usize::try_from(MAX_LINE_BYTES).unwrap());
        let mut input = io::Cursor::new([b"\xef\xbb\xbfone\n", long.as_bytes(), b"\nthree\xff\nfour"].concat());
        let mut texts = Vec::new();
        let mut total = 0;
        loop {
            let (text, bytes) = read_line(&mut input).unwrap();
            total += bytes;
            if bytes == 0 {
                break;
            }
            texts.push(text.map(|t| t.trim_end().to_owned()).map_err(|e| e.chars().take(9).collect::<String>()));
        }
        assert_eq!(texts, [Ok("one".into()), Err("is longer".into()), Err("is not UT".into()), Ok("four".into())]);
        assert_eq!(total, input.into_inner().len() as u64);
    }
}
