//! Which texts are request ids, external ids, custom names and refIds.

use super::super::text::InvalidText;
use super::super::values::{CustomName, ExternalId, RequestId, SegmentCode, parse_ref_id};

/// All characters that Unicode calls `White_Space`.
const WHITE_SPACE: [char; 25] = [
    '\t', '\n', '\u{B}', '\u{C}', '\r', ' ', '\u{85}', '\u{A0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}', '\u{2003}',
    '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200A}', '\u{2028}', '\u{2029}', '\u{202F}',
    '\u{205F}', '\u{3000}',
];

/// The first, the last and some others of Cc.
const CONTROL: [char; 8] = ['\0', '\u{1}', '\t', '\n', '\u{1F}', '\u{7F}', '\u{80}', '\u{9F}'];

/// Some of Cf, Co, Zl and Zp each, in and out of the basic plane. Cs can't occur: a surrogate is no scalar value, so
/// neither Rust's nor Avro's strings can hold one.
const FORBIDDEN_IN_IDENTIFIERS: [char; 24] = [
    '\u{AD}',     // Cf: soft hyphen
    '\u{600}',    // Cf: Arabic number sign
    '\u{61C}',    // Cf: Arabic letter mark
    '\u{180E}',   // Cf: Mongolian vowel separator
    '\u{200B}',   // Cf: zero width space
    '\u{200C}',   // Cf: zero width non-joiner
    '\u{200D}',   // Cf: zero width joiner
    '\u{200E}',   // Cf: left-to-right mark
    '\u{202A}',   // Cf: left-to-right embedding
    '\u{202E}',   // Cf: right-to-left override
    '\u{2060}',   // Cf: word joiner
    '\u{2066}',   // Cf: left-to-right isolate
    '\u{FEFF}',   // Cf: byte order mark
    '\u{FFF9}',   // Cf: interlinear annotation anchor
    '\u{110BD}',  // Cf: Kaithi number sign
    '\u{1D173}',  // Cf: musical symbol begin beam
    '\u{E0001}',  // Cf: language tag
    '\u{E007F}',  // Cf: cancel tag
    '\u{E000}',   // Co: the first
    '\u{F8FF}',   // Co: the last of the basic plane
    '\u{F0000}',  // Co: plane 15
    '\u{10FFFD}', // Co: plane 16
    '\u{2028}',   // Zl
    '\u{2029}',   // Zp
];

/// Characters that are unusual and allowed all the same.
const ALLOWED: [&str; 10] = [
    "a b",         // white space within
    "a\u{A0}b",    // white space within, not ASCII
    "a\u{3000}b",  // white space within, wide
    "x\u{301}",    // a combining mark that NFC leaves alone
    "☎\u{FE0F}",   // a variation selector (Mn)
    "\u{378}",     // unassigned (Cn)
    "\u{FFFF}",    // a noncharacter (Cn)
    "客户-一",     // three bytes each
    "👩🏽",          // four bytes each
    "'\"\\;--<>&", // nothing is special
];

type Parse = fn(&str) -> Result<String, InvalidText>;

/// Returns each kind of identifier: its name, its parser, and the most code points that it may have.
fn identifiers() -> [(&'static str, Parse, usize); 3] {
    [
        ("request id", |t| RequestId::parse(t).map(|id| id.as_str().into()), 128),
        ("external id", |t| ExternalId::parse(t).map(|id| id.as_str().into()), 256),
        ("segment code", |t| SegmentCode::parse(t).map(|s| s.as_str().into()), 64),
    ]
}

fn name(text: &str) -> Result<String, InvalidText> {
    CustomName::parse(text).map(|name| name.as_str().into())
}

#[test]
fn length_counts_code_points() {
    let mut kinds = identifiers().to_vec();
    kinds.push(("custom name", name, 255));
    for (kind, parse, max) in kinds {
        for (unit, bytes) in [("x", 1), ("é", 2), ("客", 3), ("😀", 4)] {
            assert_eq!(unit.len(), bytes);
            for (count, expected) in [
                (0, Err(InvalidText::Blank)),
                (1, Ok(())),
                (max - 1, Ok(())),
                (max, Ok(())),
                (max + 1, Err(InvalidText::TooLong { max })),
                (100 * max, Err(InvalidText::TooLong { max })),
            ] {
                let text = unit.repeat(count);
                let got = parse(&text);
                assert_eq!(got.clone().map(|_| ()), expected, "{kind}: {count} times {unit:?}");
                assert!(got.is_err() || got == Ok(text), "{kind}: {count} times {unit:?} was altered");
            }
        }
    }
}

#[test]
fn blank_is_white_space_of_any_kind_or_nothing() {
    let mut kinds = identifiers().map(|(kind, parse, _)| (kind, parse)).to_vec();
    kinds.push(("custom name", name));
    for (kind, parse) in kinds {
        for text in WHITE_SPACE.iter().map(char::to_string).chain([String::new(), WHITE_SPACE.iter().collect()]) {
            assert_eq!(parse(&text), Err(InvalidText::Blank), "{kind}: {text:?}");
        }
    }
}

#[test]
fn identifiers_have_no_white_space_at_either_end() {
    for (kind, parse, _) in identifiers() {
        for c in WHITE_SPACE {
            for text in [format!("{c}x"), format!("x{c}"), format!("{c}x{c}")] {
                let got = parse(&text);
                assert!(
                    matches!(got, Err(InvalidText::OuterWhiteSpace | InvalidText::ForbiddenCharacter(_))),
                    "{kind}: {text:?}: {got:?}"
                );
            }
        }
    }
}

#[test]
fn identifiers_have_no_control_format_private_use_or_separator_character() {
    for (kind, parse, _) in identifiers() {
        for c in CONTROL.into_iter().chain(FORBIDDEN_IN_IDENTIFIERS) {
            for text in [format!("a{c}b"), format!("{c}b"), format!("a{c}")] {
                assert_eq!(parse(&text), Err(InvalidText::ForbiddenCharacter(c.into())), "{kind}: {text:?}");
            }
        }
    }
}

#[test]
fn identifiers_may_have_any_other_character() {
    for (kind, parse, _) in identifiers() {
        for text in ALLOWED {
            assert_eq!(parse(text), Ok(text.into()), "{kind}: {text:?}");
        }
        for c in '!'..='~' {
            assert_eq!(parse(&c.to_string()), Ok(c.into()), "{kind}: {c:?}");
        }
    }
}

#[test]
fn an_external_id_is_normalised_to_nfc() {
    for (text, normalised) in [
        ("e\u{301}", "é"),                      // NFD
        ("é", "é"),                             // NFC already
        ("\u{1100}\u{1161}", "가"),             // Hangul, composed
        ("\u{212A}", "K"),                      // the Kelvin sign is the letter
        ("\u{2126}", "Ω"),                      // the Ohm sign is the letter
        ("\u{958}", "\u{915}\u{93C}"),          // a letter that NFC takes apart
        ("a\u{323}\u{307}", "\u{1EA1}\u{307}"), // marks in canonical order
        ("a\u{307}\u{323}", "\u{1EA1}\u{307}"), // the same the other way round
        ("ﬁ", "ﬁ"),                             // a compatibility form is another id: NFC, not NFKC
        ("ABC", "ABC"),                         // the case stays
    ] {
        assert_eq!(ExternalId::parse(text).as_ref().map(ExternalId::as_str), Ok(normalised), "{text:?}");
    }
    assert_eq!(ExternalId::parse("e\u{301}"), ExternalId::parse("é"), "compared as NFC");
    assert_ne!(ExternalId::parse("abc"), ExternalId::parse("ABC"), "case-sensitive");
}

#[test]
fn the_length_of_an_external_id_is_counted_after_normalisation() {
    let too_long = Err(InvalidText::TooLong { max: 256 });
    for (unit, count, expected) in [
        ("e\u{301}", 256, Ok(256)),        // 512 code points become 256
        ("e\u{301}", 257, too_long),       // 514 become 257
        ("\u{958}", 128, Ok(256)),         // 128 become 256
        ("\u{958}", 129, too_long),        // 129 become 258
        ("a\u{300}\u{301}", 128, Ok(256)), // 384 become 256: the second mark stays
        ("a\u{300}\u{301}", 129, too_long),
    ] {
        let got = ExternalId::parse(&unit.repeat(count)).map(|id| id.as_str().chars().count());
        assert_eq!(got, expected, "{count} times {unit:?}");
    }
}

#[test]
fn a_request_id_is_not_normalised() {
    assert_eq!(RequestId::parse("e\u{301}").as_ref().map(RequestId::as_str), Ok("e\u{301}"));
}

#[test]
fn a_custom_name_is_kept_exactly_as_sent() {
    let outer = [" x ", "\u{A0}x\u{3000}", "\u{2028}x\u{2029}"];
    let invisible = FORBIDDEN_IN_IDENTIFIERS.map(|c| format!("x{c}y"));
    let alone = ["\u{200B}", "\u{FEFF}", "\u{E000}"]; // invisible, but not white space
    let sequences = ["e\u{301}", "é", "👩\u{200D}👩\u{200D}👧", "\u{212A}"];
    let all = outer.into_iter().chain(alone).chain(sequences).chain(ALLOWED).map(str::to_owned).chain(invisible);
    for text in all {
        assert_eq!(name(&text), Ok(text.clone()), "{text:?}");
    }
}

#[test]
fn a_custom_name_has_no_control_characters() {
    for c in CONTROL {
        for text in [format!("a{c}b"), format!("{c}b"), format!("a{c}")] {
            assert_eq!(name(&text), Err(InvalidText::ForbiddenCharacter(c.into())), "{text:?}");
        }
    }
}

#[test]
fn a_ref_id_is_a_hyphenated_uuid_in_any_case() {
    let uuid = super::REF_ID;
    for text in
        ["3f8e4b1a-0000-4000-8000-000000000001", "3F8E4B1A-0000-4000-8000-000000000001", "3f8E4b1A-0000-4000-8000-000000000001"]
    {
        assert_eq!(parse_ref_id(text), Some(uuid), "{text:?}");
    }
    assert_eq!(parse_ref_id("00000000-0000-0000-0000-000000000000"), Some(uuid::Uuid::nil()), "any version will do");
    assert_eq!(uuid.to_string(), "3f8e4b1a-0000-4000-8000-000000000001", "written in lower case");
    for text in [
        "",
        " ",
        "x",
        "3f8e4b1a000040008000000000000001",              // no hyphens
        "{3f8e4b1a-0000-4000-8000-000000000001}",        // braces
        "urn:uuid:3f8e4b1a-0000-4000-8000-000000000001", // URN
        "3f8e4b1a-0000-4000-8000-00000000000",           // one digit short
        "3f8e4b1a-0000-4000-8000-0000000000011",         // one too many
        "3f8e4b1-a0000-4000-8000-000000000001",          // a hyphen moved
        "3f8e4b1a-0000-4000-80000-00000000001",          // another
        "3f8e4b1a_0000_4000_8000_000000000001",          // other separators
        "3f8e4b1a-0000-4000-8000-00000000000g",          // not a digit
        "{f8e4b1a-0000-4000-8000-00000000001}",          // 36 characters, braces within
        " 3f8e4b1a-0000-4000-8000-000000000001",         // white space
        "3f8e4b1a-0000-4000-8000-000000000001\n",
        "3f8e4b1a-0000-4000-8000-00000000000\u{661}", // a digit, but not an ASCII one
        "3f8e4b1a-0000-4000-8000-0000000000\u{661}",  // 36 bytes, 35 characters
    ] {
        assert_eq!(parse_ref_id(text), None, "{text:?}");
    }
}
