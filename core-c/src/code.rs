//! What a call came to: a number for programs and a text for people. All of them are here.

use core::ffi::c_char;
use downbeat_core::content::LimitError;
use downbeat_core::frame::{EncodeError, Fault};
use downbeat_core::object::ObjectError;

macro_rules! codes {
    ($($(#[$note:meta])* $code:ident = $number:literal $c:literal $text:literal,)*) => {
        /// What a call came to. Where it is negative, nothing was changed unless the header says so.
        #[repr(i32)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code {
            $($(#[$note])* #[doc = $text] $code = $number,)*
        }

        impl Code {
            /// The names in the header, and their values.
            pub const NUMBERS: crate::layout::Numbers =
                crate::layout::Numbers { name: "downbeat_code", values: &[$(($c, $number),)*] };
        }

        /// The text for a number, which may be anything, with an end mark.
        fn text(number: i32) -> &'static str {
            match number {
                $($number => concat!($text, "\0"),)*
                _ => "this is no result of a call of downbeat\0",
            }
        }
    };
}

codes! {
    Ok = 0 "DOWNBEAT_OK" "done as asked",
    Done = 1 "DOWNBEAT_DONE" "nothing more of this for now",

    NullPointer = -1 "DOWNBEAT_NULL_POINTER" "a pointer is NULL that must not be",
    Misaligned = -2 "DOWNBEAT_MISALIGNED" "the memory is not aligned as it must be; declare it with the types of the header",
    MemoryTooShort = -3 "DOWNBEAT_MEMORY_TOO_SHORT" "the memory is too short; the header's types are large enough",
    NotInitialized = -4 "DOWNBEAT_NOT_INITIALIZED" "this memory was not initialized for this use",
    EffectsPending = -5 "DOWNBEAT_EFFECTS_PENDING" "effects of the input before are still to be taken; call downbeat_next_effect until it says that it is done",
    TimeWentBack = -6 "DOWNBEAT_TIME_WENT_BACK" "the instant is before one that was given already; if the clock really went back, call downbeat_clock_broke",
    StaleEffect = -7 "DOWNBEAT_STALE_EFFECT" "only the effect that was taken last can be encoded",
    NothingToSend = -8 "DOWNBEAT_NOTHING_TO_SEND" "this effect sends nothing",
    BufferTooShort = -9 "DOWNBEAT_BUFFER_TOO_SHORT" "the buffer is too short; a frame needs up to DOWNBEAT_FRAME_MAX bytes, a record up to DOWNBEAT_RECORD_MAX",
    BodyTooLarge = -10 "DOWNBEAT_BODY_TOO_LARGE" "the message is longer than a frame can be",
    FrameOversized = -11 "DOWNBEAT_FRAME_OVERSIZED" "a frame longer than any can be was dropped; is the other end a Downbeat server?",
    FrameGarbled = -12 "DOWNBEAT_FRAME_GARBLED" "a frame was cut or changed on the way and was dropped; what it said will be asked again",
    FrameVersion = -13 "DOWNBEAT_FRAME_VERSION" "a frame of another version of the protocol was dropped; upgrade the older end",
    FrameMalformed = -14 "DOWNBEAT_FRAME_MALFORMED" "a whole frame that is no message was dropped; the other end is broken or misused",
    BadName = -15 "DOWNBEAT_BAD_NAME" "a farm's or dataset's name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'",
    BadText = -16 "DOWNBEAT_BAD_TEXT" "a text is longer than 64 bytes, or not UTF-8",
    TooManyNames = -17 "DOWNBEAT_TOO_MANY_NAMES" "an agent can subscribe to at most DOWNBEAT_DATASETS_MAX datasets by name",
    BadSetting = -18 "DOWNBEAT_BAD_SETTING" "a setting is out of its range; the header says which are allowed",
    BadPlan = -19 "DOWNBEAT_BAD_PLAN" "these bytes are no plan",
    BadNumber = -20 "DOWNBEAT_BAD_NUMBER" "a number is none of its enumeration",
    PageBusy = -21 "DOWNBEAT_PAGE_BUSY" "somebody else is publishing on this page; a page has one writer",
    Unsupported = -22 "DOWNBEAT_UNSUPPORTED" "this target doesn't have that",

    ObjectMagic = -40 "DOWNBEAT_OBJECT_MAGIC" "these bytes are no object",
    ObjectVersion = -41 "DOWNBEAT_OBJECT_VERSION" "the object is of a version that is not read here",
    ObjectBaseMark = -42 "DOWNBEAT_OBJECT_BASE_MARK" "the object is damaged: it is neither a snapshot nor a delta",
    ObjectWrongBase = -43 "DOWNBEAT_OBJECT_WRONG_BASE" "the object is a delta, and a snapshot was expected",
    ObjectWrongTarget = -44 "DOWNBEAT_OBJECT_WRONG_TARGET" "the object leads to another generation than expected",
    ObjectTooManyDatasets = -45 "DOWNBEAT_OBJECT_TOO_MANY_DATASETS" "the object has more datasets than are taken here; subscribe to some by name",
    ObjectBadName = -46 "DOWNBEAT_OBJECT_BAD_NAME" "the object is damaged: a dataset's name breaks the rule for names",
    ObjectManifestOrder = -47 "DOWNBEAT_OBJECT_MANIFEST_ORDER" "the object is damaged: its manifest is out of order or lists an empty dataset",
    ObjectManifestDigest = -48 "DOWNBEAT_OBJECT_MANIFEST_DIGEST" "the object is damaged: its manifest doesn't have the generation's digest",
    ObjectUnknownMark = -49 "DOWNBEAT_OBJECT_UNKNOWN_MARK" "the object is damaged: a byte marks nothing",
    ObjectNoSection = -50 "DOWNBEAT_OBJECT_NO_SECTION" "the object is damaged: a record stands outside of any dataset",
    ObjectSectionOrder = -51 "DOWNBEAT_OBJECT_SECTION_ORDER" "the object is damaged: its datasets are out of order",
    ObjectEmptySection = -52 "DOWNBEAT_OBJECT_EMPTY_SECTION" "the object is damaged: a dataset's section is empty",
    ObjectUnknownDataset = -53 "DOWNBEAT_OBJECT_UNKNOWN_DATASET" "the object is damaged: it has a dataset that its manifest doesn't list",
    ObjectKeyOrder = -54 "DOWNBEAT_OBJECT_KEY_ORDER" "the object is damaged: its keys are out of order",
    ObjectLimit = -55 "DOWNBEAT_OBJECT_LIMIT" "a record of the object has a key or a value that is longer than any may be",
    ObjectDeleteInSnapshot = -56 "DOWNBEAT_OBJECT_DELETE_IN_SNAPSHOT" "the object is damaged: a snapshot deletes a record",
    ObjectWrongSum = -57 "DOWNBEAT_OBJECT_WRONG_SUM" "the object is damaged: a dataset's records don't have its sum",
    ObjectMissingDataset = -58 "DOWNBEAT_OBJECT_MISSING_DATASET" "the object lacks a dataset that was asked for",
    ObjectTrailingBytes = -59 "DOWNBEAT_OBJECT_TRAILING_BYTES" "the object is damaged: bytes follow its end",
    ObjectTruncated = -60 "DOWNBEAT_OBJECT_TRUNCATED" "the object ends too early",
    ObjectWrongName = -61 "DOWNBEAT_OBJECT_WRONG_NAME" "the object is damaged: its bytes don't have its name; fetch it again",
}

/// What a fallible step came to, for C.
pub(crate) fn told(result: Result<(), Code>) -> Code {
    result.err().unwrap_or(Code::Ok)
}

impl From<Fault> for Code {
    fn from(fault: Fault) -> Code {
        match fault {
            Fault::Oversized => Code::FrameOversized,
            Fault::Garbled => Code::FrameGarbled,
            Fault::Version(_) => Code::FrameVersion,
            Fault::Malformed => Code::FrameMalformed,
        }
    }
}

impl From<EncodeError> for Code {
    fn from(error: EncodeError) -> Code {
        match error {
            EncodeError::BodyTooLarge => Code::BodyTooLarge,
            EncodeError::BufferTooSmall => Code::BufferTooShort,
        }
    }
}

impl From<ObjectError> for Code {
    fn from(error: ObjectError) -> Code {
        match error {
            ObjectError::Magic => Code::ObjectMagic,
            ObjectError::Version { .. } => Code::ObjectVersion,
            ObjectError::BaseMark { .. } => Code::ObjectBaseMark,
            ObjectError::WrongBase => Code::ObjectWrongBase,
            ObjectError::WrongTarget => Code::ObjectWrongTarget,
            ObjectError::TooManyDatasets => Code::ObjectTooManyDatasets,
            ObjectError::BadName => Code::ObjectBadName,
            ObjectError::ManifestOrder => Code::ObjectManifestOrder,
            ObjectError::ManifestDigest => Code::ObjectManifestDigest,
            ObjectError::UnknownMark { .. } => Code::ObjectUnknownMark,
            ObjectError::NoSection => Code::ObjectNoSection,
            ObjectError::SectionOrder => Code::ObjectSectionOrder,
            ObjectError::EmptySection => Code::ObjectEmptySection,
            ObjectError::UnknownDataset => Code::ObjectUnknownDataset,
            ObjectError::KeyOrder => Code::ObjectKeyOrder,
            ObjectError::Limit(LimitError::Key { .. } | LimitError::Value { .. }) => Code::ObjectLimit,
            ObjectError::BufferTooSmall { .. } => Code::BufferTooShort,
            ObjectError::DeleteInSnapshot => Code::ObjectDeleteInSnapshot,
            ObjectError::WrongSum => Code::ObjectWrongSum,
            ObjectError::MissingDataset => Code::ObjectMissingDataset,
            ObjectError::TrailingBytes => Code::ObjectTrailingBytes,
            ObjectError::Truncated => Code::ObjectTruncated,
            ObjectError::WrongName => Code::ObjectWrongName,
        }
    }
}

/// The text of a result, in English, with an end mark; it stays for ever. Any number has one.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_error_text(result: i32) -> *const c_char {
    text(result).as_ptr().cast()
}
