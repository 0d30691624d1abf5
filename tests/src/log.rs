//! What an agent's process writes down of its readers, and how it is read again. A line is written in
//! one piece as soon as something changes and every few milliseconds besides, so a killed process
//! loses no more than that; a last line without its end is left out.
//!
//! ```text
//! + EPOCH DIGEST current|stale CONTENT HOST     a first read of something else
//! = HOST                                        a later read of the same
//! - HOST                                        a read that got nothing
//! switched EPOCH EPSILON                        the agent told of a switch
//! ```
//! CONTENT is `edit-N`, `empty`, `torn` or `unseen`.

use crate::history::{Content, Span, Switch};
use std::fmt;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A first read of something else; `last` is not written.
    Begin(Span),
    /// A later read of the same.
    Still(i64),
    /// A read that got nothing.
    Nothing(i64),
    /// A switch that the agent told of.
    Switched(Switch),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Begin(Span { epoch, digest, stale, first, content, .. }) => {
                let freshness = if *stale { "stale" } else { "current" };
                let content = match content {
                    Content::Edit(edit) => format!("edit-{edit}"),
                    Content::Empty => "empty".into(),
                    Content::Torn => "torn".into(),
                    Content::Unseen => "unseen".into(),
                };
                writeln!(f, "+ {epoch} {digest} {freshness} {content} {first}")
            }
            Line::Still(host) => writeln!(f, "= {host}"),
            Line::Nothing(host) => writeln!(f, "- {host}"),
            Line::Switched(switch) => writeln!(f, "switched {} {}", switch.epoch, switch.epsilon),
        }
    }
}

/// The lines of a log.
///
/// # Errors
/// A line other than an unfinished last one isn't understood; which.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line_of(line).ok_or_else(|| format!("not understood: {line:?}"))).collect()
}

fn line_of(line: &str) -> Option<Line> {
    let parts: Vec<_> = line.split(' ').collect();
    Some(match *parts.as_slice() {
        ["+", epoch, digest, freshness, content, first] => {
            let first = first.parse().ok()?;
            let stale = match freshness {
                "stale" => true,
                "current" => false,
                _ => return None,
            };
            let content = match content {
                "empty" => Content::Empty,
                "torn" => Content::Torn,
                "unseen" => Content::Unseen,
                _ => Content::Edit(content.strip_prefix("edit-")?.parse().ok()?),
            };
            let (epoch, digest) = (epoch.parse().ok()?, digest.to_owned());
            Line::Begin(Span { epoch, digest, stale, first, last: first, content })
        }
        ["=", host] => Line::Still(host.parse().ok()?),
        ["-", host] => Line::Nothing(host.parse().ok()?),
        ["switched", epoch, epsilon] => {
            Line::Switched(Switch { epoch: epoch.parse().ok()?, epsilon: epsilon.parse().ok()? })
        }
        _ => return None,
    })
}

/// What one reader saw, from its lines.
pub fn spans(lines: &[Line]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open = false;
    for line in lines {
        match line {
            Line::Begin(span) => {
                spans.push(span.clone());
                open = true;
            }
            Line::Still(host) => {
                if let Some(span) = spans.last_mut().filter(|_| open) {
                    span.last = *host;
                }
            }
            Line::Nothing(_) => open = false,
            Line::Switched(_) => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(epoch: u64, first: i64, last: i64) -> Span {
        let digest = format!("{epoch:064x}");
        Span { epoch, digest, stale: epoch == 2, first, last, content: Content::Edit(epoch) }
    }

    #[test]
    fn what_is_written_is_read_again_and_a_torn_end_is_left_out() {
        let lines = [
            Line::Begin(span(1, 10, 10)),
            Line::Still(15),
            Line::Still(19),
            Line::Nothing(20),
            Line::Begin(span(2, 30, 30)),
            Line::Switched(Switch { epoch: 2, epsilon: 7 }),
        ];
        let text: String = lines.iter().map(ToString::to_string).collect();
        assert_eq!(parse(&text).unwrap(), lines);
        assert_eq!(parse(&format!("{text}+ 3 00 cur")).unwrap(), lines);
        assert!(parse(&format!("{text}+ 3 00 cur\n")).is_err());
        assert_eq!(spans(&lines), [span(1, 10, 19), span(2, 30, 30)]);
    }
}
