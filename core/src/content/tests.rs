use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Golden: computed once with an independent implementation from the layout in the module's doc.
/// A change here is another format.
#[test]
fn golden_digests() {
    let record = record_digest(&name("prices"), b"EUR/USD", b"1.0842");
    assert_eq!(record.to_string(), "04137a8bb4b0e45af55c109d962cbf71fdeaeaf724838fdfc6d6b5329c94ce49");
    let mut sum = DatasetSum::EMPTY;
    sum.add(record);
    sum.add(record_digest(&name("prices"), b"", b""));
    assert_eq!(
        Digest(sum.sum).to_string(),
        "0a10ebd30f04101e358982c3f8c3578c21079c460146eed83954f603bbb4c632"
    );
    let generation = generation_digest([(&name("prices"), &sum)]).unwrap();
    assert_eq!(generation.to_string(), "7b01cab1f7ccc0d0d2c6021e74ec401663394b567bfa5ea6c0e0e2db02c40f89");
    assert_eq!(
        generation_digest([]).unwrap().to_string(),
        "0e3338a5e82e693461ff8e306d5f25c51b63f505b1b1c29030899ce04749a547"
    );
}

#[test]
fn fields_of_a_record_do_not_run_into_each_other() {
    let one = record_digest(&name("d"), b"ab", b"c");
    assert_ne!(one, record_digest(&name("d"), b"a", b"bc"));
    assert_ne!(one, record_digest(&name("da"), b"b", b"c"));
}

#[test]
fn limits() {
    assert_eq!(check_record(&[0; KEY_MAX], &std::vec![0; VALUE_MAX]), Ok(()));
    assert_eq!(check_record(&[], &[]), Ok(()));
    assert_eq!(check_record(&[0; 513], &[]), Err(LimitError::Key { len: 513 }));
    assert_eq!(check_record(&[], &[0; 65_537]), Err(LimitError::Value { len: 65_537 }));
}

#[test]
fn carries_and_borrows_run_through() {
    let ones = Digest([0xff; 32]);
    let mut sum = DatasetSum::EMPTY;
    sum.add(ones);
    sum.add(ones);
    // 2·(2²⁵⁶ − 1) = 2²⁵⁷ − 2, which is −2 modulo 2²⁵⁶.
    let mut minus_two = [0xff; 32];
    minus_two[0] = 0xfe;
    assert_eq!(sum, DatasetSum { sum: minus_two, count: 2 });
    sum.remove(ones);
    sum.remove(ones);
    assert_eq!(sum, DatasetSum::EMPTY);
}

#[test]
fn a_generation_has_one_order_and_no_empty_datasets() {
    let mut sum = DatasetSum::EMPTY;
    sum.add(Digest([1; 32]));
    let (a, b) = (name("a"), name("b"));
    assert_eq!(generation_digest([(&b, &sum), (&a, &sum)]), Err(OutOfOrder));
    assert_eq!(generation_digest([(&a, &sum), (&a, &sum)]), Err(OutOfOrder));
    assert_eq!(GenerationHasher::new().push(&a, &DatasetSum::EMPTY), Err(OutOfOrder));
    assert_eq!(
        generation_digest([(&a, &sum), (&b, &DatasetSum::EMPTY)]),
        generation_digest([(&a, &sum)]),
        "a dataset that was emptied is as if it had never been"
    );
}

proptest! {
    #[test]
    fn sums_are_free_of_order(digests in prop::collection::vec(any::<[u8; 32]>(), 0..12), seed in any::<u64>()) {
        let mut in_order = DatasetSum::EMPTY;
        digests.iter().for_each(|digest| in_order.add(Digest(*digest)));

        let mut shuffled = digests.clone();
        let len = shuffled.len().max(1);
        for at in 0..shuffled.len() {
            shuffled.swap(at, (seed as usize).rotate_left(at as u32) % len);
        }
        let mut other = DatasetSum::EMPTY;
        other.add(Digest([7; 32]));
        shuffled.iter().for_each(|digest| other.add(Digest(*digest)));
        other.remove(Digest([7; 32]));
        prop_assert_eq!(in_order, other);

        let halves: Vec<_> = digests.chunks(2).collect();
        for half in halves {
            half.iter().for_each(|digest| other.remove(Digest(*digest)));
        }
        prop_assert_eq!(other, DatasetSum::EMPTY);
    }
}
