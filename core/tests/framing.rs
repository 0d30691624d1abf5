//! Frames under arbitrary messages, cuts and damage: stepping is the same under any framing of the
//! bytes, nothing that arrives panics, and nothing damaged is taken for another message.

use downbeat_core::datagram::Key;
use downbeat_core::frame::{self, FRAME_MAX, Fault, Receiver};
use downbeat_core::ids::{AgentId, Digest, Generation, Incarnation, Name, TimelineId};
use downbeat_core::message::*;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::TableView;
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde::Serialize;

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9._-]{1,64}".prop_map(|text| Name::new(&text).unwrap())
}
fn text() -> impl Strategy<Value = heapless::String<64>> {
    "\\PC{0,16}".prop_map(|text| text.as_str().try_into().unwrap())
}
fn instant() -> impl Strategy<Value = ServerTime> {
    any::<i64>().prop_map(ServerTime::from_nanos)
}
fn local() -> impl Strategy<Value = LocalTime> {
    any::<i64>().prop_map(LocalTime::from_nanos)
}
fn span() -> impl Strategy<Value = Span> {
    any::<i64>().prop_map(Span::from_nanos)
}
fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}
fn generation() -> impl Strategy<Value = Generation> {
    (any::<u64>(), digest()).prop_map(|(epoch, digest)| Generation { epoch, digest })
}
fn timeline() -> impl Strategy<Value = TimelineId> {
    any::<(u64, u64)>().prop_map(|(counter, random)| TimelineId { counter, random })
}
fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn hello() -> impl Strategy<Value = Hello> {
    let whom = (any::<u8>(), name(), any::<[u8; 16]>(), text(), incarnation(), text());
    (whom, vec(name(), 0..=DATASETS_MAX)).prop_map(
        |((version, farm, agent, display, incarnation, token), datasets)| Hello {
            version,
            farm,
            agent: AgentId(agent),
            display,
            incarnation,
            token,
            datasets: datasets.into_iter().collect(),
        },
    )
}

fn switched() -> impl Strategy<Value = Switched> {
    (any::<u64>(), instant(), span(), span()).prop_map(|(epoch, at, epsilon, held)| Switched {
        epoch,
        at,
        epsilon,
        held,
    })
}

fn report() -> impl Strategy<Value = Report> {
    use Phase::*;
    let phases = [Greeting, Reading, Locking, Advancing, Retrieving, Armed, Activating, Current, Waiting];
    let vetoes = [Veto::TooLarge, Veto::Invalid, Veto::Storage];
    (
        proptest::sample::select(phases.to_vec()),
        of(generation()),
        of(generation()),
        any::<i64>(),
        span(),
        of(switched()),
        of(proptest::sample::select(vetoes.to_vec())),
    )
        .prop_map(|(phase, active, staged, offset, epsilon, switched, veto)| Report {
            phase,
            active,
            staged,
            offset,
            epsilon,
            switched,
            veto,
        })
}

fn request_body() -> impl Strategy<Value = RequestBody> {
    prop_oneof![
        Just(RequestBody::Read),
        Just(RequestBody::Time),
        Just(RequestBody::Lock),
        (any::<u64>(), instant()).prop_map(|(token, activation)| RequestBody::Advance { token, activation }),
        any::<u64>().prop_map(|token| RequestBody::Unlock { token }),
        (generation(), of(generation()), any::<bool>()).prop_map(|(target, have, snapshots_only)| {
            RequestBody::Route { target, have, snapshots_only }
        }),
        (digest(), any::<u64>(), any::<u16>()).prop_map(|(object, offset, len)| RequestBody::Fetch {
            object,
            offset,
            len
        }),
        report().prop_map(RequestBody::Report),
    ]
}

fn to_server() -> impl Strategy<Value = ToServer> {
    let request = (incarnation(), any::<u64>(), local(), request_body()).prop_map(
        |(incarnation, number, sent, body)| ToServer::Request(Request { incarnation, number, sent, body }),
    );
    prop_oneof![1 => hello().prop_map(ToServer::Hello), 4 => request]
}

fn settings() -> impl Strategy<Value = Settings> {
    any::<[i64; 8]>().prop_map(|nanos| {
        let [interval, lead, lease, round_trip, retrieve, stagger, early_limit, sample_window] =
            nanos.map(Span::from_nanos);
        Settings { interval, lead, lease, round_trip, retrieve, stagger, early_limit, sample_window }
    })
}

fn table() -> impl Strategy<Value = TableView> {
    (
        (generation(), of(generation())),
        (instant(), instant(), instant(), of(instant())),
        settings(),
        any::<bool>(),
    )
        .prop_map(|((staged, active), (activation, next_earliest, grid, landing), settings, held)| {
            TableView { staged, active, activation, next_earliest, grid, landing, settings, held }
        })
}

fn grant() -> impl Strategy<Value = Grant> {
    (any::<u64>(), instant(), of(instant())).prop_map(|(token, granted_at, due)| Grant {
        token,
        granted_at,
        due,
    })
}

fn route() -> impl Strategy<Value = Route> {
    let object = (digest(), any::<u64>()).prop_map(|(name, len)| ObjectRef { name, len });
    vec(object, 0..=ROUTE_MAX).prop_map(|objects| Route { objects: objects.into_iter().collect() })
}

/// The bytes of a fetch are only counted here; the tests put content in their place.
fn reply_body() -> impl Strategy<Value = ReplyBody<u16>> {
    use Refusal::*;
    let refusal = proptest::sample::select(vec![NotHolder, LeaseOver, WrongActivation, GrantedEarly]);
    prop_oneof![
        table().prop_map(ReplyBody::Table),
        (grant(), table()).prop_map(|(grant, table)| ReplyBody::Granted { grant, table }),
        table().prop_map(ReplyBody::NotDue),
        (table(), span()).prop_map(|(table, retry_after)| ReplyBody::Busy { table, retry_after }),
        table().prop_map(ReplyBody::Advanced),
        (refusal, table()).prop_map(|(why, table)| ReplyBody::Refused { why, table }),
        Just(ReplyBody::Unlocked),
        route().prop_map(ReplyBody::Route),
        (any::<u64>(), any::<u64>(), 0..=FETCH_MAX as u16)
            .prop_map(|(offset, total, bytes)| ReplyBody::Bytes { offset, total, bytes }),
        Just(ReplyBody::Gone),
        Just(ReplyBody::Noted),
        Just(ReplyBody::Time),
    ]
}

fn to_agent() -> impl Strategy<Value = ToAgent<u16>> {
    use ErrorCode::*;
    let code = proptest::sample::select(vec![HelloFirst, Version, Unauthorized, NoFarm, TooLarge, Busy]);
    let stamp = (timeline(), local(), instant(), instant())
        .prop_map(|(timeline, echo, received, answered)| Stamp { timeline, echo, received, answered });
    let welcome = (incarnation(), any::<u8>(), timeline(), any::<u32>(), any::<[i64; 3]>(), any::<bool>())
        .prop_map(|(incarnation, version, timeline, ppb, limits, may_lock)| {
            let [max_interval, max_lead, max_hold] = limits.map(Span::from_nanos);
            let limits = Limits { max_interval, max_lead, max_hold };
            let server_rate = Rate::from_ppb(ppb);
            ToAgent::Welcome(Welcome { incarnation, version, timeline, server_rate, limits, may_lock })
        });
    let reply =
        (incarnation(), any::<u64>(), stamp, reply_body()).prop_map(|(incarnation, number, stamp, body)| {
            ToAgent::Reply(Reply { incarnation, number, stamp, body })
        });
    let error = (incarnation(), code).prop_map(|(incarnation, code)| ToAgent::Error { incarnation, code });
    let path = (incarnation(), any::<[u8; 32]>())
        .prop_map(|(incarnation, key)| ToAgent::TimePath { incarnation, key: Key::new(key) });
    prop_oneof![1 => welcome, 8 => reply, 1 => error, 1 => path]
}

/// Bytes of a fetch: noise, or long runs with few zeros, where stuffing has its edges.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), FETCH_MAX), vec(prop_oneof![400 => Just(1u8), 1 => Just(0u8)], FETCH_MAX),]
}

fn framed<T: Serialize>(message: &T) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    let len = frame::encode(message, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn with_content<'a>(message: &ToAgent<u16>, content: &'a [u8]) -> ToAgent<&'a [u8]> {
    message.clone().map_bytes(|len| &content[..usize::from(len)])
}

/// Feeds a stream in pieces of the given lengths, over and over; the messages and faults in order.
fn received_by_server(bytes: &[u8], cuts: &[usize]) -> Vec<Result<ToServer, Fault>> {
    let mut receiver = Receiver::new();
    let mut outcomes = Vec::new();
    each_piece(bytes, cuts, |mut piece| {
        while let Some(outcome) = receiver.next(&mut piece) {
            outcomes.push(outcome);
        }
    });
    let faults = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(receiver.dropped().total() as usize, faults);
    outcomes
}

fn each_piece(mut bytes: &[u8], cuts: &[usize], mut take: impl FnMut(&[u8])) {
    let mut cuts = cuts.iter().copied().cycle();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(cuts.next().unwrap_or(bytes.len()).clamp(1, bytes.len()));
        take(piece);
        bytes = rest;
    }
}

/// What may stand between two good frames: nothing, a cut frame, noise, noise without an end.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    let cut = (to_server(), any::<prop::sample::Index>()).prop_map(|(message, at)| {
        let frame = framed(&message);
        // At least the last byte and the 0x00 are missing.
        let mut cut = frame[..at.index(frame.len() - 1)].to_vec();
        cut.push(0);
        cut
    });
    let noise = vec(any::<u8>(), 0..64).prop_map(|mut noise| {
        noise.push(0);
        noise
    });
    let endless = (FRAME_MAX..4 * FRAME_MAX).prop_map(|len| {
        let mut endless = vec![0x55; len];
        endless.push(0);
        endless
    });
    prop_oneof![4 => Just(Vec::new()), 2 => cut, 2 => noise, 1 => endless]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_server_receives_what_agents_sent_under_any_cut_and_damage(
        stream in vec((damage(), to_server()), 1..6),
        cuts in vec(1usize..200, 1..8),
    ) {
        let bytes: Vec<u8> =
            stream.iter().flat_map(|(damage, message)| [damage.clone(), framed(message)].concat()).collect();
        let outcomes = received_by_server(&bytes, &cuts);
        let good: Vec<&ToServer> = outcomes.iter().flatten().collect();
        let sent: Vec<&ToServer> = stream.iter().map(|(_, message)| message).collect();
        prop_assert_eq!(good, sent);
        // The same outcomes, faults included, in one piece and byte by byte.
        prop_assert_eq!(&received_by_server(&bytes, &[]), &outcomes);
        prop_assert_eq!(&received_by_server(&bytes, &[1]), &outcomes);
    }

    #[test]
    fn an_agent_receives_what_a_server_sent_under_any_cut(
        messages in vec(to_agent(), 1..6),
        content in content(),
        cuts in vec(1usize..1500, 1..8),
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|message| framed(&with_content(message, &content))).collect();
        let mut receiver = Receiver::new();
        let mut sent = messages.iter();
        each_piece(&bytes, &cuts, |mut piece| {
            while let Some(received) = receiver.next::<ToAgent<&[u8]>>(&mut piece) {
                let expected = sent.next().unwrap();
                let received = received.unwrap();
                assert_eq!(&received, &with_content(expected, &content));
                assert_eq!(&received.without_content(), expected);
            }
        });
        prop_assert!(sent.next().is_none() && receiver.is_between_frames());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(prop_oneof![8 => any::<u8>(), 1 => Just(0)], 0..3000)) {
        let mut receiver = Receiver::new();
        let mut rest = &bytes[..];
        while receiver.next::<ToAgent<&[u8]>>(&mut rest).is_some() {}
        received_by_server(&bytes, &[]);
    }

    /// Bodies that a right checksum vouches for, too: decoding must not trust it.
    #[test]
    fn arbitrary_bodies_never_panic(body in vec(any::<u8>(), 0..400)) {
        // A tuple of bytes has no length before it: the body is these bytes.
        struct Raw(Vec<u8>);
        impl Serialize for Raw {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple;
                let mut tuple = serializer.serialize_tuple(self.0.len())?;
                self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
                tuple.end()
            }
        }
        let frame = framed(&Raw(body));
        let mut receiver = Receiver::new();
        let outcome = receiver.next::<ToAgent<&[u8]>>(&mut &frame[..]);
        prop_assert!(matches!(outcome, Some(Ok(_) | Err(Fault::Malformed))));
        let outcome = receiver.next::<ToServer>(&mut &frame[..]);
        prop_assert!(matches!(outcome, Some(Ok(_) | Err(Fault::Malformed))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every bit of the frame, the closing 0x00 included: the changed frame is dropped, or (where
    /// it runs into the next one) both are; nothing else is ever taken for a message.
    #[test]
    fn a_flipped_bit_is_never_taken_for_another_message(first in to_server(), second in to_server()) {
        let clean = framed(&first);
        for bit in 0..clean.len() * 8 {
            let mut bytes = clean.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.extend(framed(&second));
            let outcomes = received_by_server(&bytes, &[]);
            prop_assert!(outcomes.iter().any(Result::is_err), "bit {bit} went unseen");
            for message in outcomes.iter().flatten() {
                prop_assert_eq!(message, &second, "bit {}", bit);
            }
        }
    }
}
