use super::*;
use crate::content::{GenerationHasher, KEY_MAX, VALUE_MAX, record_digest};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

type Content = BTreeMap<Name, BTreeMap<Vec<u8>, Vec<u8>>>;
type Given = Vec<(String, Vec<u8>, Option<Vec<u8>>)>;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn manifest_of(content: &Content) -> Vec<ManifestEntry> {
    let entry = |(dataset, records): (&Name, &BTreeMap<Vec<u8>, Vec<u8>>)| {
        let mut sum = DatasetSum::EMPTY;
        records.iter().for_each(|(key, value)| sum.add(record_digest(dataset, key, value)));
        ManifestEntry { dataset: dataset.clone(), sum }
    };
    content.iter().filter(|(_, records)| !records.is_empty()).map(entry).collect()
}

fn target_of(manifest: &[ManifestEntry]) -> Generation {
    let mut hasher = GenerationHasher::new();
    manifest.iter().for_each(|entry| hasher.push(&entry.dataset, &entry.sum).unwrap());
    Generation { epoch: 7, digest: hasher.finish() }
}

/// A snapshot of the datasets that `wanted` keeps.
fn snapshot(content: &Content, wanted: impl Fn(&Name) -> bool) -> (Vec<u8>, Expected) {
    let manifest = manifest_of(content);
    let target = target_of(&manifest);
    let mut bytes = Vec::new();
    let mut writer =
        Writer::new(None, target, &manifest, |piece: &[u8]| bytes.extend_from_slice(piece)).unwrap();
    for (dataset, records) in
        content.iter().filter(|(dataset, records)| wanted(dataset) && !records.is_empty())
    {
        writer.dataset(dataset).unwrap();
        records.iter().for_each(|(key, value)| writer.put(key, value).unwrap());
    }
    let object = writer.finish().unwrap();
    assert_eq!(object.len, bytes.len() as u64);
    assert_eq!(object.name, name_of_bytes(&bytes));
    (bytes, Expected { name: object.name, base: None, target, datasets: heapless::Vec::new() })
}

fn name_of_bytes(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// Reads `bytes` in pieces whose lengths `cuts` gives in turn, and a snapshot where it lies, too: both
/// ways take the same objects, and see the same in them.
fn read(bytes: &[u8], cuts: &[usize], expected: &Expected) -> Result<(Given, Summary), ObjectError> {
    let read = read_in_pieces(bytes, cuts, expected);
    if expected.base.is_none() {
        let wanted = |dataset: &str| {
            expected.datasets.is_empty() || expected.datasets.iter().any(|name| name.as_str() == dataset)
        };
        let proven = in_place::prove(bytes, expected.name, expected.target, &wanted);
        assert_eq!(proven.is_ok(), read.is_ok(), "{proven:?} in place, {read:?} in pieces");
        if let Ok((given, _)) = &read {
            let records = in_place::records(bytes).filter(|record| wanted(record.dataset));
            let seen = records
                .map(|record| (record.dataset.to_string(), record.key.to_vec(), Some(record.value.to_vec())));
            assert_eq!(&seen.collect::<Given>(), given);
        } else {
            // Of bytes that were not proven nothing is expected, but that it ends.
            in_place::records(bytes).for_each(drop);
        }
    }
    read
}

fn read_in_pieces(
    bytes: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(Given, Summary), ObjectError> {
    let mut reader: Reader<_> = Reader::new(expected.clone(), std::vec![0; KEY_MAX + VALUE_MAX]);
    let mut given = Given::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        while let Some(record) = reader.next(&mut piece)? {
            given.push((
                record.dataset.to_string(),
                record.key.to_vec(),
                record.value.map(|value| value.to_vec()),
            ));
        }
        assert!(piece.is_empty());
        rest = later;
    }
    reader.finish().map(|summary| (given, summary))
}

fn flat(content: &Content) -> Given {
    let records = content.iter().flat_map(|(dataset, records)| {
        records.iter().map(|(key, value)| (dataset.to_string(), key.clone(), Some(value.clone())))
    });
    records.collect()
}

fn small() -> Content {
    let records = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    };
    BTreeMap::from([
        (name("prices"), records(&[("", "nothing"), ("EUR/USD", "1.0842"), ("EUR/YEN", "")])),
        (name("texts"), records(&[("a", "b")])),
    ])
}

/// Any change here is another format: every name of every object would change.
#[test]
fn golden_snapshot() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    assert_eq!(&bytes[..10], b"downbeat\x01\x00");
    assert_eq!(bytes.len(), 217);
    assert_eq!(expected.name.to_string(), "c4b043c057e962d97a55fe6dfa0731fc559d1ba0e33fc1af8ef7f6a4676f9b9a");
}

#[test]
fn the_ends_are_told_by_the_beginning() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    assert_eq!(ends_of(&bytes[..50]), Ok((None, expected.target)));
    assert_eq!(ends_of(&bytes[..49]), Err(ObjectError::Truncated));
    let base = Generation { epoch: 6, digest: Digest([9; 32]) };
    let (manifest, mut delta) = (manifest_of(&small()), Vec::new());
    let writer = Writer::new(Some(base), expected.target, &manifest, |b: &[u8]| delta.extend_from_slice(b));
    writer.unwrap().finish().unwrap();
    assert_eq!(ends_of(&delta[..ENDS_MAX]), Ok((Some(base), expected.target)));
    assert_eq!(ends_of(&delta[..ENDS_MAX - 1]), Err(ObjectError::Truncated));
    assert_eq!(ends_of(&delta[..49]), Err(ObjectError::Truncated));
    for (at, error) in [
        (0, ObjectError::Magic),
        (8, ObjectError::Version { found: 0xff }),
        (9, ObjectError::BaseMark { found: 0xff }),
    ] {
        let mut other = delta.clone();
        other[at] = 0xff;
        assert_eq!(ends_of(&other), Err(error));
    }
}

#[test]
fn nothing_at_all_is_an_object_too() {
    let (bytes, expected) = snapshot(&Content::new(), |_| true);
    let (given, summary) = read(&bytes, &[1], &expected).unwrap();
    assert_eq!((given.len(), summary.len), (0, 52));
}

/// With the name of the damaged bytes, so that the form and the sums alone have to find it.
#[test]
fn any_flipped_bit_is_refused_by_the_form_alone() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let expected = Expected { name: name_of_bytes(&damaged), ..expected.clone() };
            assert!(read(&damaged, &[usize::MAX], &expected).is_err(), "byte {at} bit {bit} was taken");
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len], &[5], &expected), Err(ObjectError::Truncated));
    }
    let longer = [&bytes[..], b"\0"].concat();
    assert_eq!(read(&longer, &[usize::MAX], &expected), Err(ObjectError::TrailingBytes));
}

#[test]
fn an_agent_of_some_datasets_takes_those_and_proves_them() {
    let (bytes, all) = snapshot(&small(), |dataset| dataset.as_str() == "texts");
    assert_eq!(read(&bytes, &[3], &all), Err(ObjectError::MissingDataset));
    let some = |text: &str| Expected { datasets: [name(text)].into_iter().collect(), ..all.clone() };
    let (given, _) = read(&bytes, &[3], &some("texts")).unwrap();
    assert_eq!(given, [("texts".to_string(), b"a".to_vec(), Some(b"b".to_vec()))]);
    assert_eq!(read(&bytes, &[3], &some("prices")), Err(ObjectError::MissingDataset));
    // One that no generation has yet is empty.
    let (given, _) = read(&bytes, &[3], &some("later")).unwrap();
    assert!(given.is_empty());
    // A whole object serves too.
    let (bytes, all) = snapshot(&small(), |_| true);
    let texts = Expected { datasets: [name("texts")].into_iter().collect(), ..all };
    assert_eq!(read(&bytes, &[3], &texts).unwrap().0.len(), 1);
}

#[test]
fn a_reader_for_few_datasets_keeps_only_those_it_wants() {
    let (bytes, all) = snapshot(&small(), |_| true);
    let mut one: Reader<_, 1> = Reader::new(all.clone(), [0; 64]);
    assert_eq!(one.next(&mut &bytes[..]), Err(ObjectError::TooManyDatasets));
    assert_eq!(one.next(&mut &[][..]), Err(ObjectError::TooManyDatasets), "an error is final");
    let texts = Expected { datasets: [name("texts")].into_iter().collect(), ..all.clone() };
    let mut one: Reader<_, 1> = Reader::new(texts, [0; 64]);
    let mut input = &bytes[..];
    while one.next(&mut input).unwrap().is_some() {}
    assert!(one.finish().is_ok());
    assert_eq!(one.manifest().len(), 1);

    let mut tiny: Reader<_> = Reader::new(all, [0; 9]);
    let mut input = &bytes[..];
    assert!(tiny.next(&mut input).unwrap().is_some(), "the first record has seven bytes");
    assert_eq!(tiny.next(&mut input), Err(ObjectError::BufferTooSmall { needed: 13 }));
}

#[test]
fn a_generation_of_many_datasets_and_long_records_is_read() {
    let dataset = |number: u8| (name(&std::format!("dataset{number:02}")), number);
    let records = |number: u8| BTreeMap::from([(std::vec![number; 300], std::vec![number; 300])]);
    let content: Content = (0..40).map(dataset).map(|(name, number)| (name, records(number))).collect();
    let (mut bytes, expected) = snapshot(&content, |_| true);
    assert_eq!(read(&bytes, &[100], &expected).unwrap().0, flat(&content));
    for at in [60, 1_000, bytes.len() - 5] {
        bytes[at] ^= 1;
        let named = Expected { name: name_of_bytes(&bytes), ..expected.clone() };
        assert!(read(&bytes, &[100], &named).is_err(), "byte {at}");
        bytes[at] ^= 1;
    }
}

#[test]
fn a_delta_is_read_with_its_deletes() {
    let content = small();
    let manifest = manifest_of(&content);
    let target = target_of(&manifest);
    let base = Generation { epoch: 6, digest: Digest([6; 32]) };
    let mut bytes = Vec::new();
    let mut writer =
        Writer::new(Some(base), target, &manifest, |piece: &[u8]| bytes.extend_from_slice(piece)).unwrap();
    writer.dataset(&name("gone")).unwrap();
    assert_eq!(writer.put(b"k", b"v"), Err(ObjectError::UnknownDataset));
    writer.delete(b"k").unwrap();
    writer.dataset(&name("prices")).unwrap();
    writer.delete(b"EUR/GBP").unwrap();
    writer.put(b"EUR/USD", b"1.0842").unwrap();
    let object = writer.finish().unwrap();
    let expected = Expected { name: object.name, base: Some(base), target, datasets: Default::default() };
    let (given, summary) = read(&bytes, &[1], &expected).unwrap();
    assert_eq!((given.len(), summary.records, given[0].2.clone()), (3, 3, None));
    let other = Expected { base: Some(Generation { epoch: 5, ..base }), ..expected.clone() };
    assert_eq!(read(&bytes, &[1], &other), Err(ObjectError::WrongBase));
    assert_eq!(read(&bytes, &[1], &Expected { base: None, ..expected.clone() }), Err(ObjectError::WrongBase));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged, &[usize::MAX], &expected).is_err());
    }
}

#[test]
fn a_writer_refuses_what_no_reader_takes() {
    let content = small();
    let manifest = manifest_of(&content);
    let target = target_of(&manifest);
    let begin = || Writer::new(None, target, &manifest, |_: &[u8]| {}).unwrap();
    assert_eq!(begin().put(b"k", b"v"), Err(ObjectError::NoSection));
    let mut writer = begin();
    assert_eq!(writer.dataset(&name("other")), Err(ObjectError::UnknownDataset));
    writer.dataset(&name("texts")).unwrap();
    assert_eq!(writer.delete(b"a"), Err(ObjectError::DeleteInSnapshot));
    assert_eq!(
        writer.put(&[0; KEY_MAX + 1], b""),
        Err(ObjectError::Limit(LimitError::Key { len: KEY_MAX + 1 }))
    );
    writer.put(b"a", b"b").unwrap();
    assert_eq!(writer.put(b"a", b"b"), Err(ObjectError::KeyOrder));
    assert_eq!(writer.dataset(&name("prices")), Err(ObjectError::SectionOrder));
    let mut writer = begin();
    writer.dataset(&name("texts")).unwrap();
    assert_eq!(writer.finish().err(), Some(ObjectError::EmptySection));
    let mut writer = begin();
    writer.dataset(&name("texts")).unwrap();
    writer.put(b"a", b"c").unwrap();
    assert_eq!(writer.finish().err(), Some(ObjectError::WrongSum));
    let wrong = Generation { epoch: 7, digest: Digest([0; 32]) };
    assert_eq!(Writer::new(None, wrong, &manifest, |_: &[u8]| {}).err(), Some(ObjectError::ManifestDigest));
    let turned: Vec<_> = manifest.iter().rev().cloned().collect();
    assert_eq!(Writer::new(None, target, &turned, |_: &[u8]| {}).err(), Some(ObjectError::ManifestOrder));
}

#[test]
fn what_is_as_large_as_the_limits_is_read() {
    let records = BTreeMap::from([(std::vec![7; KEY_MAX], std::vec![8; VALUE_MAX])]);
    let content = BTreeMap::from([(name("one"), records)]);
    let (bytes, expected) = snapshot(&content, |_| true);
    assert_eq!(read(&bytes, &[1_000], &expected).unwrap().0, flat(&content));
    let one = |index: usize| (name(&std::format!("d{index:02}")), small().remove(&name("texts")).unwrap());
    let content: Content = (0..64).map(one).collect();
    let (bytes, expected) = snapshot(&content, |_| true);
    assert_eq!(read(&bytes, &[1_000], &expected).unwrap().0, flat(&content));
}

#[test]
fn a_reader_says_which_buffer_would_do_and_stays_where_it_failed() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    // The second record is the longest: 7 bytes of key and 6 of value.
    for (len, needed) in [(12, 13), (9, 13), (1, 7)] {
        let mut reader: Reader<_> = Reader::new(expected.clone(), std::vec![0; len]);
        let mut input = &bytes[..];
        let failed = loop {
            match reader.next(&mut input) {
                Ok(record) => assert!(record.is_some(), "it failed before the end"),
                Err(error) => break error,
            }
        };
        assert_eq!(failed, ObjectError::BufferTooSmall { needed });
        assert_eq!(reader.finish(), Err(failed));
    }
}

#[test]
fn a_snapshot_is_no_delta() {
    let (bytes, expected) = snapshot(&small(), |_| true);
    let delta = Expected { base: Some(expected.target), ..expected };
    assert_eq!(read(&bytes, &[100], &delta).err(), Some(ObjectError::WrongBase));
}

/// Each by the bytes that cause it, with the name of those bytes.
#[test]
fn every_malformed_object_has_its_own_error() {
    let (good, expected) = snapshot(&small(), |_| true);
    let refused = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        read(&bytes, &[7], &Expected { name: name_of_bytes(&bytes), ..expected.clone() }).unwrap_err()
    };
    // 51 bytes to the manifest's first entry; "prices" is 1 + 6 + 40 long, "texts" 1 + 5 + 40.
    let sections = 51 + 47 + 46;
    assert_eq!(refused(&|b| b[0] = b'D'), ObjectError::Magic);
    assert_eq!(refused(&|b| b[8] = 2), ObjectError::Version { found: 2 });
    assert_eq!(refused(&|b| b[9] = 9), ObjectError::BaseMark { found: 9 });
    assert_eq!(refused(&|b| b[10] = 8), ObjectError::WrongTarget);
    assert_eq!(refused(&|b| b[50] = 65), ObjectError::TooManyDatasets);
    assert_eq!(refused(&|b| b[50] = 200), ObjectError::TooManyDatasets);
    assert_eq!(refused(&|b| b[51] = 0), ObjectError::BadName);
    assert_eq!(refused(&|b| b[51] = 65), ObjectError::BadName);
    assert_eq!(refused(&|b| b[51] = 255), ObjectError::BadName);
    assert_eq!(refused(&|b| b[52] = 0xff), ObjectError::BadName);
    assert_eq!(refused(&|b| b[52] = b'z'), ObjectError::ManifestOrder);
    assert_eq!(refused(&|b| b[60] ^= 1), ObjectError::ManifestDigest);
    assert_eq!(refused(&|b| b[sections] = 9), ObjectError::UnknownMark { found: 9 });
    assert_eq!(refused(&|b| b[sections] = 2), ObjectError::NoSection);
    assert_eq!(refused(&|b| b[sections + 2] = b'z'), ObjectError::UnknownDataset);
    let record = sections + 8;
    assert_eq!(good[record], 2);
    assert_eq!(refused(&|b| b[record] = 3), ObjectError::DeleteInSnapshot);
    assert_eq!(refused(&|b| b[record + 2] = 3), ObjectError::Limit(LimitError::Key { len: 768 }));
    assert_eq!(refused(&|b| b[record + 5] = 2), ObjectError::Limit(LimitError::Value { len: 0x2_0007 }));
    assert_eq!(refused(&|b| b[record + 7] ^= 1), ObjectError::WrongSum);
    assert_eq!(refused(&|b| drop(b.splice(record.., [1]))), ObjectError::EmptySection);
    assert_eq!(refused(&|b| drop(b.splice(sections.., [0]))), ObjectError::MissingDataset);
    let first = good[record..record + 14].to_vec();
    assert_eq!(refused(&|b| drop(b.splice(record..record, first.clone()))), ObjectError::KeyOrder);
    let section = good[sections..good.len() - 1].to_vec();
    let end = good.len() - 1;
    assert_eq!(refused(&|b| drop(b.splice(end..end, section.clone()))), ObjectError::SectionOrder);
    let other = Expected { name: Digest([0; 32]), ..expected.clone() };
    assert_eq!(read(&good, &[7], &other), Err(ObjectError::WrongName));
}

fn contents() -> impl Strategy<Value = Content> {
    let records = prop::collection::btree_map(
        prop::collection::vec(any::<u8>(), 0..6),
        prop::collection::vec(any::<u8>(), 0..40),
        0..8,
    );
    prop::collection::btree_map("[a-z]{1,3}".prop_map(|text| name(&text)), records, 0..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        content in contents(),
        cuts in prop::collection::vec(1usize..50, 1..9),
    ) {
        let (bytes, expected) = snapshot(&content, |_| true);
        let (given, summary) = read(&bytes, &cuts, &expected).unwrap();
        prop_assert_eq!(given, flat(&content));
        prop_assert_eq!(summary.len, bytes.len() as u64);
    }

    #[test]
    fn any_changed_byte_is_refused(content in contents(), at in any::<prop::sample::Index>(), by in 1u8..) {
        let (mut bytes, expected) = snapshot(&content, |_| true);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(read(&bytes, &[11], &expected).is_err());
        let named = Expected { name: name_of_bytes(&bytes), ..expected };
        prop_assert!(read(&bytes, &[11], &named).is_err());
    }

    /// No bytes whatever make a reader panic.
    #[test]
    fn arbitrary_bytes_are_refused(tail in prop::collection::vec(any::<u8>(), 0..300), keep in 0usize..200) {
        let (bytes, expected) = snapshot(&small(), |_| true);
        let mut mixed = bytes[..keep.min(bytes.len() - 1)].to_vec();
        mixed.extend(tail);
        prop_assume!(mixed != bytes);
        let named = Expected { name: name_of_bytes(&mixed), ..expected };
        prop_assert!(read(&mixed, &[13], &named).is_err());
    }
}
