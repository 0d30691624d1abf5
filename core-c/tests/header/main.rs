//! The header, as C compilers see it.

mod compiler;
mod layout;
mod readme;
