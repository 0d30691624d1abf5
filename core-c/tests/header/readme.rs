//! What the README shows compiles as it stands, with the functions that it leaves to the host declared.

use crate::compiler::Compiler;

const README: &str = include_str!("../../README.md");

const OF_THE_HOST: &str = r#"
#include "downbeat.h"
#include <stdbool.h>
struct record { int of_the_host; };
enum answer { ANSWERED, MAY_BE_OLD, NO_SUCH_RECORD, ASK_AGAIN, UNAVAILABLE };
int64_t local_now(void);
int64_t clock_of_readers(void *context);
void report(const char *text);
void write_stream(const uint8_t *bytes, size_t len);
size_t wait_for_bytes(uint8_t *bytes, size_t len, int64_t until);
void make_room(const struct downbeat_incoming *incoming);
void append(struct downbeat_bytes bytes);
uint32_t prove(const struct downbeat_incoming *incoming);
void log_event(const struct downbeat_event *event);
bool find(const struct downbeat_generation *generation, const char *key, struct record *record);
extern uint64_t boot;
void run(void);
enum answer read_record(const char *key, struct record *record);
"#;

/// The pieces of C in the README.
fn pieces() -> impl Iterator<Item = &'static str> {
    README.split("\n```c\n").skip(1).map(|piece| piece.split_once("```").expect("its end").0)
}

#[test]
fn the_code_of_the_readme_compiles() {
    assert_eq!(pieces().count(), 2);
    let code = [OF_THE_HOST].into_iter().chain(pieces()).collect::<String>();
    let compiler = Compiler::new();
    let compiled = compiler.run(&["-std=c11", "-fsyntax-only"], &compiler.file("readme.c", &code));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // And the compiler is asked: a call that isn't there is found.
    let wrong = code.replace("downbeat_poll_at(", "downbeat_poll(");
    let compiled = compiler.run(&["-std=c11", "-fsyntax-only"], &compiler.file("wrong.c", &wrong));
    assert!(!compiled.status.success());
}

#[test]
fn the_loop_of_the_readme_is_short() {
    let lines = pieces().next().expect("the loop").lines().count();
    assert!(lines <= 45, "{lines} lines");
}
