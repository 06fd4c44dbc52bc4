//! The rules that the checked texts have in common: which characters they forbid, and how their length is counted.

use unicode_general_category::{GeneralCategory, get_general_category};

/// The reason why a text is not acceptable. Its wording continues a sentence that begins with the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// There is nothing, or only white space.
    #[error("must not be empty or blank")]
    Blank,
    /// The text has more code points than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The highest number of code points that is allowed.
        max: usize,
    },
    /// There is white space (Unicode `White_Space`) at the beginning or the end.
    #[error("must not begin or end with white space")]
    OuterWhiteSpace,
    /// There is a character of a forbidden category.
    #[error("must not contain the character U+{0:04X}")]
    ForbiddenCharacter(u32),
}

/// Returns whether `text` has nothing but white space.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Checks the rules of identifiers: 1 to `max` code points, none of the categories Cc, Cf, Cs, Co, Zl, Zp, no white space at
/// either end.
pub fn check_identifier(text: &str, max: usize) -> Result<(), InvalidText> {
    check_length(text, max)?;
    if let Some(c) = text.chars().find(|c| is_forbidden_in_identifiers(*c)) {
        return Err(InvalidText::ForbiddenCharacter(c.into()));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(InvalidText::OuterWhiteSpace);
    }
    Ok(())
}

/// Checks the rules of display names: 1 to `max` code points, not blank, no control characters (Cc).
pub fn check_name(text: &str, max: usize) -> Result<(), InvalidText> {
    check_length(text, max)?;
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(InvalidText::ForbiddenCharacter(c.into())),
        None => Ok(()),
    }
}

fn check_length(text: &str, max: usize) -> Result<(), InvalidText> {
    if is_blank(text) {
        return Err(InvalidText::Blank);
    }
    // Stops counting at the bound: the text may be as long as a record.
    if text.chars().nth(max).is_some() {
        return Err(InvalidText::TooLong { max });
    }
    Ok(())
}

fn is_forbidden_in_identifiers(c: char) -> bool {
    use GeneralCategory as G;
    !c.is_ascii_graphic()
        && matches!(
            get_general_category(c),
            G::Control | G::Format | G::Surrogate | G::PrivateUse | G::LineSeparator | G::ParagraphSeparator
        )
}
