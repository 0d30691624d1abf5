//! What `downbeat agent --json` prints of its reader, read again. A killed process has printed all but
//! the last few milliseconds; a last line without its end is left out.

use crate::history::{Content, Span, Switch};
use serde_json::Value;

/// What one life of an agent printed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Printed {
    /// What its reader saw, in its order.
    pub spans: Vec<Span>,
    /// The switches that it told of.
    pub switches: Vec<Switch>,
}

/// The lines of a log.
///
/// # Errors
/// A line other than an unfinished last one isn't understood; which.
pub fn parse(text: &str) -> Result<Printed, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut printed = Printed::default();
    let mut open = false;
    for line in whole.lines() {
        take(line, &mut printed, &mut open).ok_or_else(|| format!("not understood: {line:?}"))?;
    }
    Ok(printed)
}

/// Takes a line in. `open`: the last span's reads may go on.
fn take(line: &str, printed: &mut Printed, open: &mut bool) -> Option<()> {
    let line: Value = serde_json::from_str(line).ok()?;
    if let Some(epoch) = line["switched"].as_u64() {
        let epsilon = line["epsilon_ns"].as_i64()?;
        printed.switches.push(Switch { epoch, epsilon, went_by: epsilon });
        return Some(());
    }
    let mut still = |host| {
        if let Some(span) = printed.spans.last_mut().filter(|_| *open) {
            span.last = host;
        }
    };
    if let Some(host) = line["still_host_ns"].as_i64() {
        still(host);
        return Some(());
    }
    if let Some(until) = line["before_until_host_ns"].as_i64() {
        still(until);
    }
    let stale = match line["state"].as_str()? {
        "current" => false,
        "stale" => true,
        "held" | "fenced" => {
            *open = false;
            return Some(());
        }
        _ => return None,
    };
    let digest = line["digest"].as_str()?.to_owned();
    let content = match line["records_digest"].as_str() {
        Some(records) if records == digest => Content::Whole,
        Some(_) => Content::Torn,
        None => Content::Unseen,
    };
    let (epoch, first) = (line["epoch"].as_u64()?, line["host_ns"].as_i64()?);
    printed.spans.push(Span { epoch, digest, stale, first, last: first, content });
    *open = true;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"state":"fenced","epoch":null,"digest":null,"records_digest":null,"host_ns":5,"before_until_host_ns":null}
{"state":"stale","epoch":1,"digest":"aa","records_digest":"aa","host_ns":10,"before_until_host_ns":9}
{"still_host_ns":15}
{"state":"current","epoch":1,"digest":"aa","records_digest":"ab","host_ns":20,"before_until_host_ns":19}
{"state":"held","epoch":null,"digest":null,"records_digest":null,"host_ns":30,"before_until_host_ns":29}
{"still_host_ns":35}
{"state":"current","epoch":2,"digest":"bb","records_digest":null,"host_ns":40,"before_until_host_ns":39}
{"switched":2,"epsilon_ns":7}
{"still_host_ns":45}
"#;

    #[test]
    fn what_is_printed_is_read_again_and_a_torn_end_is_left_out() {
        let span = |epoch, digest: &str, stale, first, last, content| {
            let digest = digest.to_owned();
            Span { epoch, digest, stale, first, last, content }
        };
        let printed = parse(TEXT).unwrap();
        let spans = [
            span(1, "aa", true, 10, 19, Content::Whole),
            span(1, "aa", false, 20, 29, Content::Torn),
            span(2, "bb", false, 40, 45, Content::Unseen),
        ];
        assert_eq!(printed.spans, spans);
        assert_eq!(printed.switches, [Switch { epoch: 2, epsilon: 7, went_by: 7 }]);
        assert_eq!(parse(&format!("{TEXT}{{\"still_h")).unwrap(), printed);
        assert!(parse(&format!("{TEXT}{{\"still_h\n")).is_err());
    }
}
