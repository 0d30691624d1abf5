//! What people are told when something is refused: each error says something of its own, names the
//! value that was wrong or the one that would do, and never nothing.

use downbeat_core::content::{KEY_MAX, LimitError, OutOfOrder, VALUE_MAX};
use downbeat_core::frame::{BODY_MAX, EncodeError, FRAME_MAX, Fault};
use downbeat_core::ids::{Digest, InvalidName, Name};
use downbeat_core::object::ObjectError;
use downbeat_core::object::chunks::ListError;
use downbeat_core::object::packed::PackedError;
use downbeat_core::operator::HoldError;
use downbeat_core::settings::SettingsError;
use downbeat_core::time::{ServerTime, Span};
use std::collections::BTreeSet;

/// Each is a sentence, no two are alike, and each holds what it must.
fn assert_told(errors: &[(String, String)]) {
    let different: BTreeSet<&String> = errors.iter().map(|(text, _)| text).collect();
    assert_eq!(different.len(), errors.len(), "two errors say the same: {different:?}");
    for (text, holds) in errors {
        assert!(text.split(' ').count() >= 4, "{text:?} tells nobody anything");
        assert!(text.contains(holds.as_str()), "{text:?} doesn't name {holds:?}");
    }
}
fn told(error: impl core::fmt::Display, holds: impl ToString) -> (String, String) {
    (error.to_string(), holds.to_string())
}

#[test]
fn refused_settings_name_the_value_that_would_do() {
    let least = Span::from_millis(2_500);
    let most = Span::from_secs(-7);
    assert_told(&[
        told(SettingsError::NotPositive { setting: "stagger" }, "stagger"),
        told(SettingsError::LeaseTooShort { least }, "a lease of 2.500000000 s would do"),
        told(SettingsError::LeadTooShort { least: Span::from_secs(46) }, "a lead of 46 s would do"),
        told(SettingsError::IntervalTooShort { least }, "an interval of 2.500000000 s would do"),
        told(SettingsError::IntervalTooLong { most: Span::from_nanos(1) }, "at most 0.000000001 s"),
        told(SettingsError::LeadTooLong { most }, "at most -7 s would do"),
    ]);
}

#[test]
fn refused_holds_names_and_content_name_the_limit() {
    let most = ServerTime::from_nanos(604_800);
    assert_told(&[
        told(HoldError::TooLong { most }, "604800 ns"),
        told(InvalidName, "1 to 64 characters"),
        told(LimitError::Key { len: 7 + KEY_MAX }, KEY_MAX + 7),
        told(LimitError::Key { len: 1 + KEY_MAX }, KEY_MAX),
        told(LimitError::Value { len: 7 + VALUE_MAX }, VALUE_MAX + 7),
        told(LimitError::Value { len: 1 + VALUE_MAX }, VALUE_MAX),
        told(OutOfOrder, "ascending order"),
    ]);
}

#[test]
fn frames_that_are_not_taken_say_why() {
    assert_told(&[
        told(EncodeError::BodyTooLarge, BODY_MAX),
        told(EncodeError::BufferTooSmall, FRAME_MAX),
        told(Fault::Oversized, FRAME_MAX),
        told(Fault::Garbled, "cut or changed"),
        told(Fault::Version(9), "version 9"),
        told(Fault::Malformed, "no message"),
    ]);
}

#[test]
fn objects_that_are_not_taken_say_why() {
    assert_told(&[
        told(ObjectError::Version { found: 9 }, "version 9"),
        told(ObjectError::BaseMark { found: 91 }, "91"),
        told(ObjectError::UnknownMark { found: 92 }, "92"),
        told(ObjectError::Limit(LimitError::Key { len: 999 }), "999 bytes"),
        told(ObjectError::BufferTooSmall { needed: 4_242 }, "4242 bytes would do"),
        told(ObjectError::Magic, "no object"),
        told(ObjectError::WrongBase, "starts from another"),
        told(ObjectError::WrongTarget, "leads to another"),
        told(ObjectError::TooManyDatasets, "more datasets"),
        told(ObjectError::BadName, "rule for names"),
        told(ObjectError::ManifestOrder, "out of order"),
        told(ObjectError::ManifestDigest, "digest"),
        told(ObjectError::NoSection, "outside of any dataset"),
        told(ObjectError::SectionOrder, "datasets are out of order"),
        told(ObjectError::EmptySection, "empty"),
        told(ObjectError::UnknownDataset, "doesn't list"),
        told(ObjectError::KeyOrder, "keys"),
        told(ObjectError::DeleteInSnapshot, "deletes"),
        told(ObjectError::WrongSum, "sum"),
        told(ObjectError::MissingDataset, "asked for"),
        told(ObjectError::TrailingBytes, "follow its end"),
        told(ObjectError::Truncated, "too early"),
        told(ObjectError::WrongName, "fetch it again"),
    ]);
}

#[test]
fn packed_objects_and_lists_of_chunks_that_are_not_taken_say_why() {
    assert_told(&[
        told(PackedError::Magic, "no packed object"),
        told(PackedError::Version { found: 9 }, "version 9"),
        told(PackedError::TooShort { len: 7 }, "7 bytes"),
        told(PackedError::TooLong { len: 4_242, most: 99 }, "4242 bytes, and 99"),
        told(PackedError::Truncated, "within its head"),
        told(ListError::Length { needed: 12, found: 9 }, "9 chunk values"),
        told(ListError::Length { needed: 12, found: 13 }, "has 12"),
        told(ListError::Name, "the object's name"),
    ]);
}

#[test]
fn names_and_digests_are_shown_as_people_type_them() {
    assert_eq!(Name::new("eu-prices").unwrap().to_string(), "eu-prices");
    let mut digest = Digest::default();
    (digest.0[0], digest.0[31]) = (0x0a, 0xf1);
    let hex = format!("0a{}f1", "00".repeat(30));
    assert_eq!((digest.to_string(), format!("{digest:?}")), (hex.clone(), hex));
}
