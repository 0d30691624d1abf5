//! The header and what is compiled here agree: every structure, field, value and constant as the C
//! compiler sees it is compared with Rust's, and nothing is in one of them alone.

use crate::compiler::Compiler;
use downbeat_core_c::effects::STRUCTURES;
use downbeat_core_c::{CONSTANTS, ENUMERATIONS};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEADER: &str = include_str!("../../include/downbeat.h");
const MEMORY: [&str; 3] = ["downbeat_agent", "downbeat_page", "downbeat_object"];

/// The header without its comments.
fn code() -> String {
    let mut code = String::new();
    let mut rest = HEADER;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("a comment's end").1;
    }
    code + rest
}

/// A C file that prints a line for everything that is declared, as Rust has it.
fn asks() -> (String, String) {
    let mut asked = String::from("#include \"downbeat.h\"\n#include <stdio.h>\nint main(void) {\n");
    let mut expected = String::new();
    let mut ask = |what: &str, expression: &str, number: i64| {
        let format = format!("{what} %lld\\n");
        writeln!(asked, "    printf(\"{format}\", (long long)({expression}));").expect("text");
        writeln!(expected, "{what} {number}").expect("text");
    };
    let number = |size: usize| i64::try_from(size).expect("a small number");
    for of in STRUCTURES {
        let name = format!("struct {}", of.name);
        ask(&format!("size {name}"), &format!("sizeof({name})"), number(of.size));
        ask(&format!("alignment {name}"), &format!("_Alignof({name})"), number(of.alignment));
        for field in of.fields {
            let what = format!("{name} {}", field.name);
            let offset = format!("offsetof({name}, {})", field.name);
            ask(&format!("offset {what}"), &offset, number(field.offset));
            let size = format!("sizeof((({name} *)0)->{})", field.name);
            ask(&format!("size {what}"), &size, number(field.size));
        }
    }
    for of in ENUMERATIONS {
        of.values.iter().for_each(|(name, value)| ask(name, name, *value));
    }
    CONSTANTS.iter().for_each(|(name, value)| ask(name, name, number(*value)));
    ask("DOWNBEAT_NEVER", "DOWNBEAT_NEVER", i64::MAX);
    (asked + "    return 0;\n}\n", expected)
}

#[test]
fn the_c_compiler_sees_what_rust_has() {
    let (asked, expected) = asks();
    for flags in [&["-std=c11"][..], &["-std=c11", "-fshort-enums"], &["-std=c17", "-O2"]] {
        let printed = Compiler::new().printed(flags, &asked);
        for (line, (c, rust)) in printed.lines().zip(expected.lines()).enumerate() {
            assert_eq!(c, rust, "line {line}, {flags:?}");
        }
        assert_eq!(printed, expected);
    }
    assert!(expected.lines().count() > 250, "only {} comparisons", expected.lines().count());
}

#[test]
fn a_header_that_drifts_is_found() {
    let (asked, expected) = asks();
    for (was, is) in [
        ("uint32_t rate_ppb;", "uint64_t rate_ppb;"),
        ("DOWNBEAT_HOLD = 4,", "DOWNBEAT_HOLD = 6,"),
        ("int64_t at_ns;  ", "int64_t until_ns_; int64_t at_ns;"),
        ("#define DOWNBEAT_FRAME_MAX 1035", "#define DOWNBEAT_FRAME_MAX 1024"),
    ] {
        assert!(HEADER.contains(was), "{was}");
        let drifted = HEADER.replace(was, is);
        let asked = asked.replace("#include \"downbeat.h\"", &drifted);
        let printed = Compiler::new().printed(&["-std=c11"], &asked);
        assert_ne!(printed, expected, "{is}");
    }
}

#[test]
fn nothing_is_in_the_header_alone() {
    let code = code();
    let blocks = |kind: &str| -> Vec<(String, String)> {
        let begin = format!("\n{kind} ");
        let pieces = code.split(begin.as_str()).skip(1);
        let defined = pieces.filter_map(|piece| piece.split_once(" {"));
        let of = defined.filter(|(name, _)| !name.contains([';', '(']));
        of.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let structures = blocks("struct");
    let known: BTreeSet<_> = STRUCTURES.iter().map(|of| of.name).chain(MEMORY).collect();
    assert_eq!(structures.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(), known);
    for (name, body) in &structures {
        let Some(of) = STRUCTURES.iter().find(|of| of.name == name) else { continue };
        let end = body.find("\n};").expect("a structure's end");
        // The union's own fields are indented further.
        let fields = body[..end].lines().filter(|line| {
            line.starts_with("    ") && !line.starts_with("     ") && line.trim_end().ends_with(';')
        });
        assert_eq!(fields.count(), of.fields.len(), "fields of {name}");
    }
    let enumerations = blocks("enum");
    assert_eq!(
        enumerations.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(),
        ENUMERATIONS.iter().map(|of| of.name).collect()
    );
    for (name, body) in &enumerations {
        let of = ENUMERATIONS.iter().find(|of| of.name == name).expect("it is known");
        let end = body.find("\n};").expect("an enumeration's end");
        assert_eq!(body[..end].matches(" = ").count(), of.values.len(), "values of {name}");
    }
    let constants = code.lines().filter_map(|line| line.strip_prefix("#define DOWNBEAT_"));
    let constants: BTreeSet<_> = constants
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !matches!(*name, "H" | "NEVER"))
        .map(|name| format!("DOWNBEAT_{name}"))
        .collect();
    assert_eq!(constants, CONSTANTS.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_header_compiles_alone_as_c_and_as_cpp() {
    let compiler = Compiler::new();
    let file = compiler.file("alone.c", "#include \"downbeat.h\"\nint downbeat_is_there;\n");
    for flags in [
        &["-std=c11"][..],
        &["-std=c17", "-Wshadow", "-Wconversion"],
        &["-x", "c++", "-std=c++11"],
        &["-x", "c++", "-std=c++20"],
    ] {
        let compiled = compiler.run(&[flags, &["-fsyntax-only"]].concat(), &file);
        let said = String::from_utf8_lossy(&compiled.stderr);
        if said.contains("cc1plus") {
            eprintln!("LEFT OUT: the header as C++: {}", said.trim());
            continue;
        }
        assert!(compiled.status.success(), "{flags:?}: {said}");
    }
}
