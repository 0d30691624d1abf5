//! Routes of every kind, compared with plain maps, and whatever may be wrong with them.

use super::*;
use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::object::packed::PACKED_HEAD;
use downbeat_core::object::{PackedHead, Writer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;

/// Records by dataset and key.
type Model = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// So many records in each of two datasets, whose values end with a byte.
fn model(records: usize, byte: u8) -> Model {
    let values = |key: usize| (format!("key-{key:05}"), [&[b'v'; 90][..], &[byte, key as u8]].concat());
    let dataset: BTreeMap<_, _> = (0..records).map(values).collect();
    [("a", dataset.clone()), ("b", dataset)].into_iter().collect()
}

fn manifest(model: &Model) -> Vec<ManifestEntry> {
    let entry = |(dataset, records): (&&str, &BTreeMap<String, Vec<u8>>)| {
        let (dataset, mut sum) = (name(dataset), DatasetSum::EMPTY);
        records.iter().for_each(|(key, value)| sum.add(record_digest(&dataset, key.as_bytes(), value)));
        ManifestEntry { dataset, sum }
    };
    model.iter().map(entry).filter(|entry| !entry.sum.is_empty()).collect()
}

fn generation(epoch: u64, model: &Model) -> Generation {
    let manifest = manifest(model);
    let sums = manifest.iter().map(|entry| (&entry.dataset, &entry.sum));
    Generation { epoch, digest: generation_digest(sums).unwrap() }
}

/// A file as it is served, and what a route says of it.
#[derive(Clone)]
struct File {
    object: ObjectRef,
    bytes: Vec<u8>,
}

/// An object from nothing or a model to another, whose manifest says `listed`.
fn object_listing(from: Option<(u64, &Model)>, (epoch, to): (u64, &Model), listed: &Model) -> File {
    let mut bytes = Vec::new();
    let base = from.map(|(epoch, model)| generation(epoch, model));
    let manifest = manifest(listed);
    let out = |part: &[u8]| bytes.extend_from_slice(part);
    let mut writer = Writer::new(base, generation(epoch, listed), &manifest, out).unwrap();
    let nothing = BTreeMap::new();
    let before = |dataset: &str| from.and_then(|(_, from)| from.get(dataset)).unwrap_or(&nothing);
    for dataset in ["a", "b"] {
        let (before, after) = (before(dataset), to.get(dataset).unwrap_or(&nothing));
        let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed: Vec<_> = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
        if changed.is_empty() {
            continue;
        }
        writer.dataset(&name(dataset)).unwrap();
        for key in changed {
            match after.get(key) {
                Some(value) => writer.put(key.as_bytes(), value).unwrap(),
                None => writer.delete(key.as_bytes()).unwrap(),
            }
        }
    }
    let object = writer.finish().unwrap();
    File { object, bytes }
}

fn object(from: Option<(u64, &Model)>, to: (u64, &Model)) -> File {
    object_listing(from, to, to.1)
}

/// A head and whatever follows it, under its own name.
fn packed_as(object: ObjectRef, frame: &[u8]) -> File {
    let bytes = [&PackedHead { object }.to_bytes()[..], frame].concat();
    let name = Digest(*blake3::hash(&bytes).as_bytes());
    File { object: ObjectRef { name, len: bytes.len() as u64 }, bytes }
}

fn frame(bytes: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(file: &File) -> File {
    packed_as(file.object, &frame(&file.bytes, 23))
}

fn route(files: &[File]) -> (Route, Vec<u8>) {
    let objects = files.iter().map(|file| file.object).collect();
    (Route { objects }, files.iter().flat_map(|file| file.bytes.clone()).collect())
}

fn intake() -> Intake {
    Intake { place: Place::Memory, datasets: Bounded::new(), limit: 1 << 20 }
}

fn fill(files: &[File], target: Generation, base: Option<&Image>) -> Result<Image, Fault> {
    let (route, bytes) = route(files);
    // More follows, which is none of the route's.
    let bytes = [bytes, b"more".to_vec()].concat();
    let mut source = io::BufReader::with_capacity(1_000, bytes.as_slice());
    let filled = intake().fill(target, &route, base, &mut source);
    if filled.is_ok() {
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"more", "no more is read than the route's objects");
    }
    filled
}

fn assert_is(image: &Image, model: &Model) {
    assert_eq!(image.digest(), generation(0, model).digest);
    assert!(image.prove().unwrap());
    let count: usize = model.values().map(BTreeMap::len).sum();
    assert_eq!(image.len(), count as u64);
    for (dataset, records) in model {
        for (key, value) in records {
            assert_eq!(image.get(dataset, key.as_bytes()).unwrap(), Some(value.as_slice()));
        }
    }
}

/// Three generations, each a few changes after the one before.
fn generations() -> [Model; 3] {
    let first = model(500, 1);
    let mut second = first.clone();
    second.get_mut("a").unwrap().insert("key-00007".to_string(), b"new".to_vec());
    second.get_mut("b").unwrap().remove("key-00100");
    let mut third = second.clone();
    third.get_mut("b").unwrap().insert("key-x".to_string(), b"added".to_vec());
    third.get_mut("a").unwrap().remove("key-00007");
    [first, second, third]
}

#[test]
fn every_kind_of_route_leads_to_its_generation() {
    let [first, second, third] = &generations();
    let base = fill(&[object(None, (1, first))], generation(1, first), None).unwrap();
    assert_is(&base, first);
    let chain = [object(Some((1, first)), (2, second)), object(Some((2, second)), (3, third))];
    let routes: [(&[File], Option<&Image>); 7] = [
        (&[packed(&object(None, (3, third)))], None),
        (&[packed(&object(None, (3, third)))], Some(&base)),
        (&[packed(&object(Some((1, first)), (3, third)))], Some(&base)),
        (&[packed(&chain[0]), packed(&chain[1])], Some(&base)),
        (&[packed(&object(None, (2, second))), packed(&chain[1])], None),
        (&[object(None, (2, second)), packed(&chain[1])], Some(&base)),
        (&chain, Some(&base)),
    ];
    for (number, (files, base)) in routes.into_iter().enumerate() {
        let image = fill(files, generation(3, third), base);
        assert_is(&image.unwrap_or_else(|fault| panic!("route {number}: {fault}")), third);
    }
    assert_is(&base, first);
}

#[test]
fn what_is_subscribed_to_is_all_that_a_delta_changes() {
    let [first, second, _] = &generations();
    let mut intake = intake();
    intake.datasets.push(name("b")).unwrap();
    let fill = |file: File, target, base: Option<&Image>| {
        intake.fill(target, &route(std::slice::from_ref(&file)).0, base, &mut file.bytes.as_slice()).unwrap()
    };
    let base = fill(packed(&object(None, (1, first))), generation(1, first), None);
    let image = fill(packed(&object(Some((1, first)), (2, second))), generation(2, second), Some(&base));
    assert_eq!((image.datasets().count(), image.len()), (1, 499));
    assert_eq!(image.get("b", b"key-00100").unwrap(), None);
    assert_eq!(image.get("b", b"key-00101").unwrap(), Some(second["b"]["key-00101"].as_slice()));
}

#[test]
fn a_delta_needs_the_generation_that_it_starts_from() {
    let [first, second, third] = &generations();
    let delta = packed(&object(Some((2, second)), (3, third)));
    let other = fill(&[object(None, (1, first))], generation(1, first), None).unwrap();
    for base in [None, Some(&other)] {
        assert!(matches!(fill(std::slice::from_ref(&delta), generation(3, third), base), Err(Fault::Base)));
    }
}

#[test]
fn a_route_that_ends_elsewhere_is_refused() {
    let [first, second, third] = &generations();
    let base = fill(&[object(None, (1, first))], generation(1, first), None).unwrap();
    assert!(matches!(fill(&[], generation(1, first), Some(&base)), Err(Fault::Route)));
    let delta = packed(&object(Some((1, first)), (2, second)));
    let elsewhere = fill(&[delta], generation(3, third), Some(&base));
    assert!(matches!(elsewhere, Err(Fault::Object(ObjectError::WrongTarget))));
    // Well formed, and with another result than its manifest says.
    let lie = packed(&object_listing(Some((1, first)), (3, second), third));
    let lied = fill(&[lie], generation(3, third), Some(&base));
    assert!(matches!(lied, Err(Fault::Image(WriteError::Disagrees(_)))), "{lied:?}");
    let whole = object(None, (3, third));
    let short = File { bytes: whole.bytes[..700].to_vec(), ..whole.clone() };
    assert!(fill(&[short], generation(3, third), None).is_err());
}

#[test]
fn what_is_wrong_about_a_packed_object_is_said() {
    let first = &model(50, 1);
    let (plain, target) = (object(None, (1, first)), generation(1, first));
    let refused = |file: File| fill(&[file], target, None).map(drop).unwrap_err();
    let good = frame(&plain.bytes, 20);
    let of = |len: u64| ObjectRef { len, ..plain.object };

    let other = ObjectRef { name: Digest([7; 32]), ..plain.object };
    assert!(matches!(refused(packed_as(other, &good)), Fault::Object(ObjectError::WrongName)));
    let renamed = packed(&plain);
    let renamed = File { object: ObjectRef { name: Digest([7; 32]), ..renamed.object }, ..renamed };
    assert!(matches!(refused(renamed), Fault::Name));

    // A bomb: told by its length, or by what comes out of it.
    assert!(matches!(refused(packed_as(of(1 << 30), &good)), Fault::TooLarge { len: 0x4000_0000 }));
    let long = File { object: ObjectRef { len: 2 << 20, ..plain.object }, ..plain.clone() };
    assert!(matches!(refused(long), Fault::TooLarge { len: 0x20_0000 }));
    let mut bomb = plain.bytes.clone();
    bomb.resize(200 << 20, 0);
    for len in [plain.object.len, 1 << 19] {
        // Cut short by what the head says, or by core's reader, long before all of it came out.
        let fault = refused(packed_as(of(len), &frame(&bomb, 20)));
        assert!(matches!(fault, Fault::Stream(_) | Fault::Object(ObjectError::TrailingBytes)), "{fault:?}");
    }
    assert!(matches!(refused(packed_as(of(60), &good)), Fault::Stream(_)));

    // More memory than is agreed on; nothing inside; two frames; a frame that is skipped.
    let fault =
        refused(packed_as(plain.object, &frame(&[plain.bytes.clone(), vec![0; 32 << 20]].concat(), 24)));
    assert!(matches!(&fault, Fault::Stream(cause) if cause.contains("memory")), "{fault:?}");
    assert!(matches!(refused(packed_as(plain.object, &[])), Fault::Stream(_)));
    assert!(matches!(refused(packed_as(plain.object, &[&good[..], &good].concat())), Fault::Stream(_)));
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &good].concat();
    assert!(matches!(refused(packed_as(plain.object, &skipped)), Fault::Object(_) | Fault::Stream(_)));

    assert!(matches!(refused(packed_as(of(9), &good)), Fault::Packed(PackedError::TooShort { len: 9 })));
    let head = packed(&plain);
    for len in [0, 5, 8, PACKED_HEAD - 1] {
        let cut =
            File { object: ObjectRef { len: len as u64, ..head.object }, bytes: head.bytes[..len].to_vec() };
        let fault = refused(cut);
        let expected =
            matches!(&fault, Fault::Packed(PackedError::Truncated) | Fault::Object(ObjectError::Magic));
        assert!(expected, "{len}: {fault:?}");
    }
}

#[test]
fn the_limit_is_for_the_whole_generation_however_it_comes() {
    let first = &model(500, 1);
    let (mut more, mut moved) = (first.clone(), first.clone());
    for key in 0..300 {
        let (key, value) = (format!("new-{key:05}"), vec![b'v'; 92]);
        more.get_mut("b").unwrap().insert(key.clone(), value.clone());
        moved.get_mut("a").unwrap().insert(key, value);
        let oldest = moved["b"].keys().next().unwrap().clone();
        moved.get_mut("b").unwrap().remove(&oldest);
    }
    let size = |model: &Model| -> u64 {
        let records = model.values().flatten();
        records.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    };
    let whole = object(None, (1, first));
    let delta = object(Some((1, first)), (2, &more));
    // Each object is within the limit, and the base is; the generation isn't.
    let limit = size(&more) - 1;
    assert!(whole.object.len < limit && delta.object.len < limit);
    let intake = Intake { limit, ..intake() };
    let fill = |files: &[File], target, base: Option<&Image>| {
        let (route, bytes) = route(files);
        intake.fill(target, &route, base, &mut bytes.as_slice())
    };
    let base = fill(&[packed(&whole)], generation(1, first), None).unwrap();
    assert_eq!(base.content_bytes(), size(first));
    let too_large = |filled: Result<Image, Fault>| match filled {
        Err(Fault::TooLarge { len }) => assert_eq!(len, size(&more)),
        filled => panic!("{filled:?}"),
    };
    too_large(fill(&[packed(&delta)], generation(2, &more), Some(&base)));
    too_large(fill(std::slice::from_ref(&delta), generation(2, &more), Some(&base)));
    too_large(fill(&[packed(&whole), packed(&delta)], generation(2, &more), None));
    // On the way there, too.
    let back = object(Some((2, &more)), (3, first));
    too_large(fill(&[packed(&delta), packed(&back)], generation(3, first), Some(&base)));
    // As much as it takes away, a delta may bring, in whatever order.
    let delta = object(Some((1, first)), (2, &moved));
    assert!(size(first) + delta.object.len > limit);
    assert_is(&fill(&[packed(&delta)], generation(2, &moved), Some(&base)).unwrap(), &moved);
}

#[test]
fn what_fails_leaves_no_file_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let intake = Intake { place, ..intake() };
    let first = &model(50, 1);
    let whole = packed(&object(None, (1, first)));
    let cut = File { bytes: whole.bytes[..whole.bytes.len() - 4].to_vec(), ..whole };
    let filled =
        intake.fill(generation(1, first), &route(std::slice::from_ref(&cut)).0, None, &mut &cut.bytes[..]);
    assert!(filled.is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A route of a packed snapshot and a packed delta: changed anywhere, or cut anywhere and
    /// announced so, it is refused. Under the names that the changed files have themselves as well.
    #[test]
    fn what_is_changed_or_cut_is_never_taken(
        first in any::<bool>(),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
        cut in any::<bool>(),
        renamed in any::<bool>(),
    ) {
        let (before, mut after) = (model(20, 1), model(20, 1));
        after.get_mut("a").unwrap().insert("key-00003".to_string(), b"changed".to_vec());
        let mut files = [packed(&object(None, (1, &before))), packed(&object(Some((1, &before)), (2, &after)))];
        let file = &mut files[usize::from(!first)];
        let at = at.index(file.bytes.len());
        if cut {
            file.bytes.truncate(at);
        } else {
            file.bytes[at] ^= change;
        }
        file.object.len = file.bytes.len() as u64;
        if renamed {
            file.object.name = Digest(*blake3::hash(&file.bytes).as_bytes());
        }
        let filled = fill(&files, generation(2, &after), None);
        // A change that zstd doesn't notice and that changes nothing of what comes out is possible
        // where the file has its name: then the generation is what it must be.
        match filled {
            Ok(image) => {
                prop_assert!(renamed);
                assert_is(&image, &after);
            }
            Err(fault) => prop_assert!(!fault.to_string().is_empty()),
        }
    }

    /// No bytes whatever make it panic, or are taken.
    #[test]
    fn arbitrary_bytes_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kept in 0usize..=PACKED_HEAD + 12,
    ) {
        let first = &model(5, 1);
        let good = packed(&object(None, (1, first)));
        let bytes = [&good.bytes[..kept.min(good.bytes.len())], &bytes].concat();
        let name = Digest(*blake3::hash(&bytes).as_bytes());
        let file = File { object: ObjectRef { name, len: bytes.len() as u64 }, bytes };
        prop_assert!(fill(&[file], generation(1, first), None).is_err());
    }
}
