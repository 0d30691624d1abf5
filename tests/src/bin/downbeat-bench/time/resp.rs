//! What Redis says: values of RESP, taken off a stream as they become whole. Bytes come over a network,
//! so any of them are an error and never a panic.

/// The longest text, line or list that is taken.
const TEXT_MAX: usize = 1 << 20;
const LINE_MAX: usize = 1 << 10;
const LIST_MAX: usize = 1 << 10;
/// How deep lists may be in lists.
const DEPTH_MAX: usize = 4;

/// What was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// Simple and bulk strings.
    Text(Vec<u8>),
    Error(Vec<u8>),
    Number(i64),
    /// A string or a list that isn't there.
    Nothing,
    List(Vec<Value>),
}

/// The stream is none of RESP, or of more than is taken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

impl From<Malformed> for std::io::Error {
    fn from(_: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "what came is not RESP")
    }
}

/// Takes the first value off what has arrived; `None` while more of it is to come.
pub(crate) fn take(arrived: &mut Vec<u8>) -> Result<Option<Value>, Malformed> {
    let mut rest = arrived.as_slice();
    let value = value(&mut rest, 0)?;
    if value.is_some() {
        let taken = arrived.len() - rest.len();
        arrived.drain(..taken);
    }
    Ok(value)
}

/// A command, as a list of texts.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return if rest.len() > LINE_MAX { Err(Malformed) } else { Ok(None) };
    };
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    if line.len() > LINE_MAX { Err(Malformed) } else { Ok(Some(line)) }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

/// A length; `None` where what it is of isn't there.
fn len(line: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match number(line)? {
        -1 => Ok(None),
        len => usize::try_from(len).ok().filter(|len| *len <= most).map(Some).ok_or(Malformed),
    }
}

fn value(rest: &mut &[u8], depth: usize) -> Result<Option<Value>, Malformed> {
    let Some(line) = line(rest)? else { return Ok(None) };
    let (kind, line) = line.split_first().ok_or(Malformed)?;
    match kind {
        b'+' => Ok(Some(Value::Text(line.to_vec()))),
        b'-' => Ok(Some(Value::Error(line.to_vec()))),
        b':' => number(line).map(|number| Some(Value::Number(number))),
        b'$' => {
            let Some(len) = len(line, TEXT_MAX)? else { return Ok(Some(Value::Nothing)) };
            let Some((text, after)) = rest.split_at_checked(len) else { return Ok(None) };
            match after {
                [b'\r', b'\n', after @ ..] => {
                    *rest = after;
                    Ok(Some(Value::Text(text.to_vec())))
                }
                [] | [b'\r'] => Ok(None),
                _ => Err(Malformed),
            }
        }
        b'*' if depth < DEPTH_MAX => {
            let Some(len) = len(line, LIST_MAX)? else { return Ok(Some(Value::Nothing)) };
            let mut list = Vec::new();
            for _ in 0..len {
                let Some(value) = value(rest, depth + 1)? else { return Ok(None) };
                list.push(value);
            }
            Ok(Some(Value::List(list)))
        }
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"+OK\r\n:-7\r\n-ERR no\r\n$-1\r\n*3\r\n$7\r\nmessage\r\n$2\r\n\r\n\r\n*1\r\n:4\r\n";

    fn all(arrived: &mut Vec<u8>) -> Result<Vec<Value>, Malformed> {
        std::iter::from_fn(|| take(arrived).transpose()).collect()
    }

    #[test]
    fn values_are_taken_as_they_become_whole_wherever_the_stream_is_cut() {
        let text = |text: &str| Value::Text(text.into());
        let said = vec![
            text("OK"),
            Value::Number(-7),
            Value::Error(b"ERR no".to_vec()),
            Value::Nothing,
            Value::List(vec![text("message"), text("\r\n"), Value::List(vec![Value::Number(4)])]),
        ];
        for cut in 0..=SAID.len() {
            let (first, second) = SAID.split_at(cut);
            let mut arrived = first.to_vec();
            let mut found = all(&mut arrived).unwrap();
            arrived.extend_from_slice(second);
            found.extend(all(&mut arrived).unwrap());
            assert_eq!((found, arrived.len()), (said.clone(), 0), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        let long = [b"+", vec![b'x'; LINE_MAX + 2].as_slice()].concat();
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        let wrong: [&[u8]; 10] = [
            b"\r\n",
            b"HTTP/1.1 200\r\n",
            b":\r\n",
            b":1x\r\n",
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b"$1048577\r\n",
            b"$1\r\nabc",
            &long,
            &deep,
        ];
        for wrong in wrong {
            assert_eq!(take(&mut wrong.to_vec()), Err(Malformed), "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn no_damage_of_a_byte_panics() {
        for at in 0..SAID.len() {
            for to in 0..=255 {
                let mut damaged = SAID.to_vec();
                damaged[at] = to;
                // Whatever it says then.
                let _ = all(&mut damaged);
            }
        }
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        let mut bytes = command(&[b"SET", b"a", b""]);
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(take(&mut bytes), Ok(Some(Value::List(vec![text("SET"), text("a"), text("")]))));
    }
}
