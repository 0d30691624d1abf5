//! How the values that cross the boundary are declared, so that what the header says of them can be
//! compared with what is compiled here (`tests/layout.rs`): each declaration also writes down its C
//! name, its size, and where its fields are.

/// A structure as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name in the header, without `struct`.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its alignment in bytes.
    pub alignment: usize,
    /// Its fields in their order.
    pub fields: &'static [Field],
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its first byte within the structure.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
}

/// Numbers that have names.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The name of the enumeration in the header, without `enum`.
    pub name: &'static str,
    /// The names in the header, and their values.
    pub values: &'static [(&'static str, i64)],
}

/// A structure of the header.
macro_rules! structure {
    ($(#[$note:meta])* $of:ident = $name:literal { $($(#[$field_note:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$note])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $of {
            $($(#[$field_note])* pub $field: $kind,)*
        }

        impl $of {
            /// How it lies in memory.
            pub const LAYOUT: $crate::layout::Layout = $crate::layout::Layout {
                name: $name,
                size: size_of::<$of>(),
                alignment: align_of::<$of>(),
                fields: &[$($crate::layout::Field {
                    name: stringify!($field),
                    offset: core::mem::offset_of!($of, $field),
                    size: size_of::<$kind>(),
                },)*],
            };
        }
    };
}

/// An enumeration of the header. It crosses the boundary as a 32-bit number, since compilers for small
/// targets make enumerations as short as their values allow.
macro_rules! numbers {
    ($(#[$note:meta])* $of:ident = $name:literal { $($(#[$value_note:meta])* $value:ident = $number:literal $c:literal,)* }) => {
        $(#[$note])*
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $of {
            $($(#[$value_note])* $value = $number,)*
        }

        impl $of {
            /// The names in the header, and their values.
            pub const NUMBERS: $crate::layout::Numbers =
                $crate::layout::Numbers { name: $name, values: &[$(($c, $number),)*] };

            /// The one with this number.
            #[allow(dead_code, reason = "some go out only")]
            pub(crate) fn of_number(number: u32) -> Option<$of> {
                match number {
                    $($number => Some($of::$value),)*
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {numbers, structure};
