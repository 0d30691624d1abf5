use super::*;
use crate::ids::Incarnation;
use crate::message::{ErrorCode, ToAgent, ToServer};
use std::vec::Vec;

const BUSY: ToAgent<&[u8]> = ToAgent::Error { incarnation: Incarnation(7), code: ErrorCode::Busy };

fn frame<T: Serialize>(message: &T) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    let len = encode(message, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

/// A frame with a right CRC around any version and body.
fn packed(version: u8, body: &[u8]) -> Vec<u8> {
    let mut packed = Vec::from([version]);
    packed.extend_from_slice(body);
    packed.extend_from_slice(&CRC.checksum(&packed).to_le_bytes());
    let mut frame = std::vec![0; cobs::max_encoding_length(packed.len())];
    let len = cobs::encode(&packed, &mut frame);
    frame.truncate(len);
    frame.push(0);
    frame
}

fn receive(receiver: &mut Receiver, mut bytes: &[u8]) -> Vec<Result<(), Fault>> {
    // Both ways to take messages take the same ones.
    let (mut other, mut rest, mut seen) = (receiver.clone(), bytes, Vec::new());
    let look = |received: Result<&ToAgent<&[u8]>, Fault>| received.map(|message| assert_eq!(*message, BUSY));
    while let Some(received) = other.with_next(&mut rest, look) {
        seen.push(received);
    }
    let mut outcomes = Vec::new();
    while let Some(received) = receiver.next::<ToAgent<&[u8]>>(&mut bytes) {
        outcomes.push(received.map(|message| assert_eq!(message, BUSY)));
    }
    assert_eq!((&seen, other.dropped()), (&outcomes, receiver.dropped()));
    outcomes
}

#[test]
fn the_checksum_is_iso_hdlc() {
    assert_eq!(CRC.checksum(b"123456789"), 0xCBF4_3926);
}

#[test]
fn the_largest_frame_is_one_of_the_largest_body() {
    assert_eq!(FRAME_MAX, 1035);
    assert_eq!(packed(VERSION, &[1; BODY_MAX]).len(), FRAME_MAX);
    // Longer by what postcard puts before bytes: the tuple's slice has a two-byte length.
    let most = [1u8; BODY_MAX - 2];
    assert!(encode(&&most[..], &mut [0; FRAME_MAX]).is_ok());
    let over = [1u8; BODY_MAX - 1];
    assert_eq!(encode(&&over[..], &mut [0; FRAME_MAX]), Err(EncodeError::BodyTooLarge));
}

#[test]
fn a_short_buffer_is_an_error_at_every_length() {
    let whole = frame(&BUSY);
    for len in 0..whole.len() {
        assert_eq!(encode(&BUSY, &mut std::vec![0; len]), Err(EncodeError::BufferTooSmall), "{len}");
    }
    assert_eq!(encode(&BUSY, &mut std::vec![0; whole.len()]), Ok(whole.len()));
}

#[test]
fn frames_arrive_under_any_cut_and_empty_ones_are_passed_over() {
    let mut bytes = Vec::from([0, 0]);
    bytes.extend(frame(&BUSY));
    bytes.push(0);
    bytes.extend(frame(&BUSY));
    for cut in 0..=bytes.len() {
        let mut receiver = Receiver::new();
        let mut outcomes = receive(&mut receiver, &bytes[..cut]);
        assert_eq!(receiver.is_between_frames(), cut == 0 || bytes[cut - 1] == 0, "cut at {cut}");
        outcomes.extend(receive(&mut receiver, &bytes[cut..]));
        assert_eq!(outcomes, [Ok(()), Ok(())]);
        assert_eq!(receiver.dropped(), Dropped::default());
        assert!(receiver.is_between_frames());
    }
}

#[test]
fn each_fault_is_told_counted_and_followed_by_the_next_frame() {
    let mut receiver = Receiver::new();
    let mut garbled = frame(&BUSY);
    garbled[2] ^= 0x10;
    let cut = Vec::from([0x05, 1, 2, 0]);
    let long = {
        let mut long = std::vec![1; 3 * FRAME_MAX];
        long.push(0);
        long
    };
    let future = packed(VERSION + 1, b"whatever a later version says");
    let past = packed(0, b"");
    let unknown = packed(VERSION, &[200, 1]);
    let trailing = packed(VERSION, &[2, 7, 5, 0]);
    let request = packed(VERSION, &[]);
    for (bytes, fault) in [
        (garbled, Fault::Garbled),
        (cut, Fault::Garbled),
        (long, Fault::Oversized),
        (future, Fault::Version(VERSION + 1)),
        (past, Fault::Version(0)),
        (unknown, Fault::Malformed),
        (trailing, Fault::Malformed),
        (request, Fault::Malformed),
    ] {
        assert_eq!(receive(&mut receiver, &bytes), [Err(fault)]);
        assert_eq!(receive(&mut receiver, &frame(&BUSY)), [Ok(())]);
    }
    assert_eq!(receiver.dropped(), Dropped { oversized: 1, garbled: 2, version: 2, malformed: 3 });
    assert_eq!(receiver.dropped().total(), 8);
}

#[test]
fn a_frame_that_just_fits_is_kept_and_one_byte_more_is_not() {
    let mut receiver = Receiver::new();
    let largest = packed(VERSION, &[1; BODY_MAX]);
    let mut larger = largest.clone();
    larger.insert(0, 1);
    assert_eq!(receive(&mut receiver, &largest), [Err(Fault::Malformed)]);
    let (cut, end) = larger.split_at(larger.len() - 1);
    assert_eq!(receive(&mut receiver, cut), []);
    assert!(!receiver.is_between_frames(), "it was too long, and isn't over");
    assert_eq!(receive(&mut receiver, end), [Err(Fault::Oversized)]);
    assert!(receiver.is_between_frames());
}

#[test]
fn a_name_that_breaks_the_rule_is_malformed() {
    // A `Hello` for the farm "A": upper case is no name.
    let body = [&[0, 1, 1, b'A'][..], &[0; 16], &[0, 0, 0, 0]].concat();
    let mut bytes = packed(VERSION, &body);
    let end = bytes.len() - 1;
    assert_eq!(decode::<ToServer>(&mut bytes[..end]), Err(Fault::Malformed));
    let body = [&[0, 1, 1, b'a'][..], &[0; 16], &[0, 0, 0, 0]].concat();
    let mut bytes = packed(VERSION, &body);
    let end = bytes.len() - 1;
    assert!(decode::<ToServer>(&mut bytes[..end]).is_ok());
}
