//! What etcd speaks, as far as a watch needs it: messages of gRPC in a stream of bytes, and the fields of
//! protocol buffers in them. Bytes come over a network, so any of them are an error and never a panic.

/// The longest message that is taken.
const MESSAGE_MAX: usize = 4 << 20;
/// What stands before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The stream is none of gRPC, a message none of protocol buffers, or more than is taken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

impl From<Malformed> for std::io::Error {
    fn from(_: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "what came is not gRPC")
    }
}

/// A message as it is sent.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    // Requests of this program have a few bytes.
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &len.to_be_bytes()[..], message].concat()
}

/// What has arrived, until it is whole.
#[derive(Default)]
pub(crate) struct Messages(Vec<u8>);

impl Messages {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message; `None` while more of it is to come.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let [compressed, a, b, c, d, rest @ ..] = self.0.as_slice() else { return Ok(None) };
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if *compressed != 0 || len > MESSAGE_MAX {
            return Err(Malformed);
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let message = message.to_vec();
        self.0.drain(..HEAD + len);
        Ok(Some(message))
    }
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field<'a> {
    Number(u64),
    /// Text, bytes, or a message in the message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which nothing here needs.
    Fixed,
}

/// Writes a field of bytes.
pub(crate) fn write(number: u8, bytes: &[u8], to: &mut Vec<u8>) {
    // Fields of this program have numbers below 16, and so one byte; the two is for bytes.
    to.push(number << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        to.push(len as u8 | 0x80);
        len >>= 7;
    }
    to.push(len as u8);
    to.extend_from_slice(bytes);
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn skip<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (bytes, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after;
    Ok(bytes)
}

/// The fields of a message, with their numbers, in the order in which they stand.
pub(crate) fn fields(message: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Malformed> {
    let (mut rest, mut found) = (message, Vec::new());
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => skip(&mut rest, 8).map(|_| Field::Fixed)?,
            2 => {
                let len = usize::try_from(varint(&mut rest)?).map_err(|_| Malformed)?;
                Field::Bytes(skip(&mut rest, len)?)
            }
            5 => skip(&mut rest, 4).map(|_| Field::Fixed)?,
            _ => return Err(Malformed),
        };
        found.push((key >> 3, field));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_they_become_whole_wherever_the_stream_is_cut() {
        let stream = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        for cut in 0..=stream.len() {
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                messages.push(part);
                while let Some(message) = messages.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [b"one".to_vec(), vec![], vec![7; 300]], "cut at {cut}");
        }
        for wrong in [[1, 0, 0, 0, 0], [0, 0xff, 0, 0, 0]] {
            let mut messages = Messages::default();
            messages.push(&wrong);
            assert_eq!(messages.next(), Err(Malformed));
        }
    }

    #[test]
    fn fields_are_read_as_they_were_written_and_others_skipped() {
        let mut message = vec![0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d, 1, 2, 3, 4];
        write(11, &[9; 200], &mut message);
        let bytes = [9; 200];
        let expected =
            [(1, Field::Number(150)), (2, Field::Fixed), (3, Field::Fixed), (11, Field::Bytes(&bytes))];
        assert_eq!(fields(&message).unwrap(), expected);
        for end in 1..message.len() {
            let cut = fields(&message[..end]);
            assert!(cut.is_err() || cut.is_ok_and(|fields| fields.len() < 4), "cut at {end}");
        }
        let wrong: [&[u8]; 4] = [&[0x0b], &[0x80], &[0x0a, 5, 1], &[0xff; 11]];
        for wrong in wrong {
            assert_eq!(fields(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn no_damage_of_a_byte_panics() {
        let mut message = vec![0x08, 0x96, 0x01];
        write(11, b"twelve bytes", &mut message);
        for at in 0..message.len() {
            for to in 0..=255 {
                let mut damaged = message.clone();
                damaged[at] = to;
                // Whatever it says then.
                let _ = fields(&damaged);
            }
        }
    }
}
