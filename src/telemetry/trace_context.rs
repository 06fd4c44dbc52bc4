//! W3C Trace Context: the trace that a command belongs to, by its headers `traceparent` and `tracestate`. A header that breaks the rules
//! of <https://www.w3.org/TR/trace-context/> counts as absent.

use bytes::Bytes;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The longest `traceparent` that is passed on. Its present version has 55 bytes; later versions may be longer.
pub const MAX_TRACEPARENT_BYTES: usize = 256;
/// The longest `tracestate` that is passed on. The standard asks for at least 512 bytes.
pub const MAX_TRACESTATE_BYTES: usize = 1024;

/// The length of the present version: version, trace id, parent id and flags, in lower-case hexadecimal with hyphens.
const TODAYS_LENGTH: usize = 55;

/// The trace that a command belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The header's value, which is well-formed.
    traceparent: Bytes,
    tracestate: Option<Bytes>,
}

impl TraceContext {
    /// Parses the values of the two headers. Returns `None` if `traceparent` breaks the rules, because `tracestate` has no meaning
    /// without it.
    pub fn parse(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Self> {
        let tracestate = tracestate.filter(|s| !s.is_empty() && s.len() <= MAX_TRACESTATE_BYTES);
        is_traceparent(traceparent).then(|| Self {
            traceparent: Bytes::copy_from_slice(traceparent),
            tracestate: tracestate.map(Bytes::copy_from_slice),
        })
    }

    /// Returns the value of the header `traceparent`.
    pub fn traceparent(&self) -> &Bytes {
        &self.traceparent
    }

    /// Returns the value of the header `tracestate` as it came.
    pub fn tracestate(&self) -> Option<&Bytes> {
        self.tracestate.as_ref()
    }

    /// Returns the id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.text(3..35)
    }

    /// Returns whether the sender of the command wants the trace recorded.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.text(53..55), 16).is_ok_and(|flags| flags & 1 == 1)
    }

    /// Returns the span that sent the command, as a type of OpenTelemetry.
    pub(super) fn sender(&self) -> SpanContext {
        let trace_id = TraceId::from_hex(self.trace_id()).unwrap_or(TraceId::INVALID);
        let span_id = SpanId::from_hex(self.text(36..52)).unwrap_or(SpanId::INVALID);
        let flags = if self.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)
    }

    /// Makes a span of the trace the parent of what follows. Writes the header in the version that is known here.
    pub(super) fn go_on_from(&mut self, span: &SpanContext) {
        let flags = u8::from(span.is_sampled());
        self.traceparent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()).into();
    }

    fn text(&self, range: std::ops::Range<usize>) -> &str {
        std::str::from_utf8(&self.traceparent[range]).expect("it was found to be hexadecimal")
    }
}

/// Returns whether a header's value is well-formed. Later versions may append to the parts that are known today.
fn is_traceparent(bytes: &[u8]) -> bool {
    if bytes.len() > MAX_TRACEPARENT_BYTES {
        return false;
    }
    let Some((known, rest)) = bytes.split_at_checked(TODAYS_LENGTH) else { return false };
    let parts: Vec<&[u8]> = known.split(|b| *b == b'-').collect();
    let [version, trace_id, parent_id, flags] = parts[..] else { return false };
    let is_hex = |part: &[u8], length| part.len() == length && part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_set = |part: &[u8]| part.iter().any(|b| *b != b'0');
    let is_complete = if version == b"00" { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
    is_hex(version, 2)
        && version != b"ff"
        && is_hex(trace_id, 32)
        && is_set(trace_id)
        && is_hex(parent_id, 16)
        && is_set(parent_id)
        && is_hex(flags, 2)
        && is_complete
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_well_formed_traceparent_says_its_trace_its_parent_and_whether_it_is_sampled() {
        for (flags, sampled) in [("01", true), ("00", false), ("02", false), ("03", true), ("ff", true)] {
            let header = format!("{}{flags}", &TRACE[..53]);
            let trace = TraceContext::parse(header.as_bytes(), None).expect("is well-formed");
            assert_eq!((trace.trace_id(), trace.is_sampled()), ("4bf92f3577b34da6a3ce929d0e0e4736", sampled), "{header}");
            let sender = trace.sender();
            assert_eq!((&*sender.span_id().to_string(), sender.is_sampled()), ("00f067aa0ba902b7", sampled), "{header}");
        }
    }

    #[test]
    fn only_a_well_formed_traceparent_counts() {
        let later = format!("01{}-and-more", &TRACE[2..]);
        let too_long = format!("01{}-{}", &TRACE[2..], "x".repeat(MAX_TRACEPARENT_BYTES));
        let cases = [
            (TRACE.to_owned(), true),
            (format!("01{}", &TRACE[2..]), true),
            (later, true),
            (too_long, false),
            (format!("{TRACE}-x"), false),
            (format!("01{}x", &TRACE[2..]), false),
            (format!("ff{}", &TRACE[2..]), false),
            (TRACE.to_uppercase(), false),
            (TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
            (TRACE.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (TRACE.replace('-', "_"), false),
            (TRACE[..54].to_owned(), false),
            (String::new(), false),
        ];
        for (value, counts) in cases {
            let got = TraceContext::parse(value.as_bytes(), None);
            assert_eq!(got.as_ref().map(|t| &t.traceparent[..]), counts.then_some(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_tracestate_counts_beside_a_traceparent_and_is_left_as_it_is() {
        let longest = vec![b'x'; MAX_TRACESTATE_BYTES];
        let cases: [(&[u8], bool); 4] =
            [(b"vendor=1,other=\xff", true), (b"", false), (&longest, true), (&[b'x'; MAX_TRACESTATE_BYTES + 1], false)];
        for (state, counts) in cases {
            let trace = TraceContext::parse(TRACE.as_bytes(), Some(state)).expect("is well-formed");
            assert_eq!(trace.tracestate().map(|s| &s[..]), counts.then_some(state), "{state:?}");
        }
        assert_eq!(TraceContext::parse(b"nonsense", Some(b"vendor=1")), None);
    }

    #[test]
    fn a_trace_goes_on_from_a_span_of_ours_in_the_version_that_is_known_here() {
        let mut trace = TraceContext::parse(format!("cc{}-more", &TRACE[2..]).as_bytes(), Some(b"vendor=1")).unwrap();
        let ours =
            SpanContext::new(trace.sender().trace_id(), SpanId::from(7), TraceFlags::SAMPLED, false, TraceState::default());
        trace.go_on_from(&ours);
        assert_eq!(trace.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01");
        assert_eq!(trace.tracestate().map(|s| &s[..]), Some(&b"vendor=1"[..]));
    }
}
