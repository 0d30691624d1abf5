//! Lookups in the image, beside maps of the same content with the same hash function.

use crate::Options;
use crate::data::{DATASET, Data, VALUE, key, mixed};
use crate::image::records;
use crate::report::{Report, Row, Unit};
use downbeat_image::{Dataset, Place};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::io;
use std::time::Instant;

/// Lookups in one sample.
const BATCH: u64 = 1_000;

/// XXH3-64 of the key's bytes, computed in one go as the image does.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, 7);
    }
    /// A slice's length comes before its bytes; the image doesn't hash it.
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Same>>;

/// What a lookup does with the value it finds.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// Its length.
    Len,
    /// Its first byte, which has to come from memory.
    Byte,
    /// Nothing: there is no such key.
    Miss,
}

/// A lookup of a key among what is measured.
type Lookup<'a> = Box<dyn Fn(&[[u8; 12]], Use) -> u64 + 'a>;

/// Looks all keys of a batch up; generic, so that each peer's lookups are compiled into the loop.
fn batch<'v>(keys: &[[u8; 12]], how: Use, get: impl Fn(&[u8; 12]) -> Option<&'v [u8]>) -> u64 {
    let of = |key| match (get(key), how) {
        (Some(value), Use::Len) => value.len() as u64,
        (Some(value), _) => 1 + value.first().map_or(0, |byte| *byte as u64),
        (None, _) => 0,
    };
    keys.iter().map(of).sum()
}

fn of_image(dataset: &Dataset) -> Lookup<'_> {
    Box::new(move |keys, how| batch(keys, how, |key| dataset.get(key).expect("it isn't damaged")))
}

/// Nanoseconds for each lookup, in batches; the peers take turns, each with keys of its own, as two
/// of them read the same memory.
fn measure(data: &Data, peers: &[Lookup<'_>], how: Use, rounds: u64) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::new(); peers.len()];
    let mut seed = (how as u64 + 1) << 50;
    for round in 0..rounds + 20 {
        for (peer, samples) in peers.iter().zip(&mut samples) {
            let absent = if how == Use::Miss { data.records } else { 0 };
            let keys: Vec<[u8; 12]> =
                (seed..seed + BATCH).map(|seed| key(mixed(seed) % data.records + absent)).collect();
            seed += BATCH;
            let began = Instant::now();
            black_box(peer(black_box(&keys), how));
            // The first rounds bring memory in.
            if round >= 20 {
                samples.push(began.elapsed().as_nanos() as f64 / BATCH as f64);
            }
        }
    }
    samples
}

/// Lookups of random keys.
pub(crate) fn lookup(options: Options, report: &mut Report) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let place = Place::Directory(directory.path().to_path_buf());
    let mut data = Data::new(records(options));
    let base = data.snapshot(&place)?;
    let data_at_base = Data::new(records(options));
    let changes = data.change(data.records / 100);
    let one = data.stage(&place, &base, &changes)?;
    // As worn as an image gets before its base is rewritten, or nearly: in a row of cycles overlays
    // are merged, so that the longest chain has large and small ones.
    let mut worn = one.clone();
    for share in [11, 50] {
        let changes = data.change(data.records / share);
        worn = data.stage(&place, &worn, &changes)?;
    }
    let held = data_at_base.snapshot(&Place::Memory)?;
    for image in [&base, &one, &worn, &held] {
        image.verify().map_err(io::Error::other)?;
    }
    let records = || (0..data.records).map(|at| (key(at), data.value(at)));
    let boxed: Map<Box<[u8]>, Box<[u8]>> = records().map(|(key, value)| (key.into(), value.into())).collect();
    let inline: Map<[u8; 12], [u8; VALUE]> = records().collect();
    let tree: BTreeMap<Box<[u8]>, Box<[u8]>> =
        records().map(|(key, value)| (key.into(), value.into())).collect();
    let dataset = |image| downbeat_image::Image::dataset(image, DATASET).ok_or(io::ErrorKind::NotFound);
    let peers: Vec<Lookup<'_>> = vec![
        Box::new(|keys, how| batch(keys, how, |key| boxed.get(&key[..]).map(|value| &value[..]))),
        of_image(dataset(&base)?),
        of_image(dataset(&one)?),
        of_image(dataset(&worn)?),
        of_image(dataset(&held)?),
        Box::new(|keys, how| batch(keys, how, |key| inline.get(key).map(|value| &value[..]))),
        Box::new(|keys, how| batch(keys, how, |key| tree.get(&key[..]).map(|value| &value[..]))),
    ];
    let layers = format!("image, base and {} overlays", worn.layers().count() - 1);
    let names = [
        "HashMap<Box<[u8]>, Box<[u8]>>, same hash function",
        "image, base alone",
        "image, base and overlay of 1 %",
        &layers,
        "image in memory, for comparison",
        "HashMap<[u8; 12], [u8; 100]>, for comparison",
        "BTreeMap<Box<[u8]>, Box<[u8]>>, for comparison",
    ];
    for (how, about) in [
        (Use::Len, "lookup, value not read"),
        (Use::Byte, "lookup, value's first byte read"),
        (Use::Miss, "lookup of a key that isn't there"),
    ] {
        let samples = measure(&data, &peers, how, if options.quick { 50 } else { 600 });
        let map = Row::new("", Unit::Nanos, samples[0].clone()).median();
        for (at, (name, samples)) in names.iter().zip(samples).enumerate() {
            let row = Row::new(&format!("{about}: {name}"), Unit::Nanos, samples);
            let ratio = row.median() / map;
            let row = if at == 0 { row.note("means of 1,000 random keys") } else { row };
            report.push(row);
            if (1..=3).contains(&at) {
                // The bar is on lookups that find something.
                let row = Row::new("  against that HashMap", Unit::Ratio, vec![ratio]);
                report.push(if how == Use::Miss { row } else { row.bar(1.3) });
            }
        }
    }
    Ok(())
}
