//! Traces of a real run are accepted, and refused as soon as anything in them is changed: each change
//! for a reason of its own.

mod change;

use change::{Line, Run, add, spoil};
use downbeat_trace::{Fault, texts_of};
use serde_json::{Value, json};

/// A run in which a strict and a prompt agent go over several times. The strict one is killed and
/// comes back, the server is killed and continued, and then on another boot; the farm is held and its
/// settings are changed.
const RUN: [&str; 4] = [
    include_str!("../corpus/server.trace"),
    include_str!("../corpus/strict.trace"),
    include_str!("../corpus/prompt.trace"),
    include_str!("../corpus/looks.trace"),
];
const SERVER: usize = 0;
const STRICT: usize = 1;
const PROMPT: usize = 2;
const LOOKS: usize = 3;

#[test]
fn the_corpus_is_accepted_whole() {
    let replayed = texts_of(&RUN);
    assert_eq!(replayed.faults, Vec::<Fault>::new());
    let lines: usize = RUN.iter().map(|text| text.lines().count()).sum();
    assert_eq!(replayed.lines + replayed.torn, lines);
    assert!(
        replayed.killed >= 2
            && replayed.enclosed > 50
            && replayed.histories.values().all(|history| history.live.len() > 2)
    );
}

/// Each of the first two files as its processes would have written it in time namespaces of their own.
#[test]
fn a_process_that_sees_the_host_s_clock_elsewhere_and_says_so_is_judged_like_any_other() {
    for (file, by) in [(SERVER, -250_000 * MILLI), (STRICT, 7_200_000 * MILLI)] {
        let mut run = sound();
        shift(&mut run, file, by);
        assert_ne!(run.judged(), [""; 0], "another clock is found where nobody says so");
        for line in &mut run.0[file] {
            if let Line::Whole(line) = line
                && !line["begin"].is_null()
            {
                line["begin"]["ahead"] = by.into();
            }
        }
        assert_eq!(run.judged(), [""; 0], "file {file}");
    }
}

/// The run with what its only editor and a reader of the strict agent could have said of it: it was fed
/// once, from epoch 3 on; epoch 4 has the scheduled record beside that.
fn sound() -> Run {
    let mut run = Run::of(&RUN);
    let staged = |run: &mut Run, epoch: u64| {
        let look = run.find(LOOKS, "look", |line| line["staged"]["epoch"] == epoch);
        run.at(LOOKS, look)["staged"]["digest"].clone()
    };
    let [empty, fed, scheduled] = [2, 3, 4].map(|epoch| staged(&mut run, epoch));
    let agent = run.find(STRICT, "agent", any);
    let life = run.at(STRICT, agent)["start"]["incarnation"].clone();
    let held = |epoch: u64, records: &Value, unscheduled: &Value| {
        let generation = json!({ "epoch": epoch, "digest": records });
        json!({ "held": { "at": 0, "life": life, "generation": generation, "records": records,
            "unscheduled": unscheduled } })
    };
    let told = [
        json!({ "fed": { "at": 0, "farm": "eu", "from": 1, "records": empty } }),
        json!({ "fed": { "at": 1, "farm": "eu", "from": 3, "records": fed } }),
        held(2, &empty, &empty),
        held(3, &fed, &fed),
        held(4, &scheduled, &fed),
        held(5, &fed, &fed),
    ];
    let end = run.0[LOOKS].len() - 1;
    run.0[LOOKS].splice(end..end, told.map(Line::Whole));
    run
}

/// A change, and what it has to be refused for.
type Change = (&'static str, &'static str, fn(&mut Run));

const CONFORMS: &str = "conforms";
const FORMAT: &str = "format";
const CLOCKS: &str = "clocks";

fn any(_: &Value) -> bool {
    true
}
fn reply(name: &'static str) -> impl Fn(&Value) -> bool {
    move |line| !line["reply"][name].is_null()
}
fn got(name: &'static str) -> impl Fn(&Value) -> bool {
    move |line| !line["input"]["receive"]["Reply"]["body"][name].is_null()
}
fn puts_out(least: usize) -> impl Fn(&Value) -> bool {
    move |line| line["out"].as_array().is_some_and(|out| out.len() >= least)
}
fn publishes(line: &Value) -> bool {
    line["out"].as_array().is_some_and(|out| out.iter().any(|effect| !effect["Publish"].is_null()))
}
fn current(line: &Value) -> bool {
    !line["got"]["Active"].is_null() || !line["got"]["Staged"].is_null()
}
/// What a read got as current.
fn generation(line: &mut Value) -> &mut Value {
    let name = if line["got"]["Active"].is_null() { "Staged" } else { "Active" };
    &mut line["got"][name]
}
fn effects(line: &mut Value) -> &mut Vec<Value> {
    line["out"].as_array_mut().expect("effects")
}
/// The reads of an agent's file that got something current: where they stand, and which epoch.
fn reads(run: &mut Run, file: usize) -> Vec<(usize, u64)> {
    let count = run.0[file].len();
    let epoch = |line: &Value| {
        let got = &line["read"]["got"];
        let generation = if got["Active"].is_null() { &got["Staged"] } else { &got["Active"] };
        generation["epoch"].as_u64()
    };
    let read = |index| match &run.0[file][index] {
        Line::Whole(line) => epoch(line).map(|epoch| (index, epoch)),
        Line::Text(_) => None,
    };
    (0..count).filter_map(read).collect()
}
/// The last read of an epoch before the first one of the next: two neighbours at a switch, of all switches
/// the one with the least time between the two, since readers may have looked late at others.
fn switch(run: &mut Run, file: usize) -> (usize, usize) {
    let reads = reads(run, file);
    let pairs = reads.windows(2).filter(|pair| pair[1].1 == pair[0].1 + 1);
    let between = |pair: &&[(usize, u64)]| {
        let mut at = |index| run.at(file, index)["at"].as_i64().expect("an instant");
        at(pair[1].0) - at(pair[0].0)
    };
    let pair = pairs.min_by_key(between).expect("a switch");
    (pair[0].0, pair[1].0)
}
/// Moves a read by so much, on both clocks.
fn move_read(run: &mut Run, file: usize, index: usize, by: i64) {
    let read = run.at(file, index);
    add(&mut read["at"], by);
    add(&mut read["now"], by);
}
/// Moves everything that a file says of the host's clock.
fn shift(run: &mut Run, file: usize, by: i64) {
    for line in &mut run.0[file] {
        if let Line::Whole(line) = line {
            let line = line.as_object_mut().expect("a line").values_mut().next().expect("a kind");
            if !line["at"].is_null() {
                add(&mut line["at"], by);
            }
            if !line["line"]["bend_local"].is_null() {
                add(&mut line["line"]["bend_local"], by);
            }
        }
    }
}

const MILLI: i64 = 1_000_000;

const CHANGES: &[Change] = &[
    ("an agent's reading a millisecond later", CLOCKS, |run| {
        run.change(STRICT, "in", got("Table"), |line| add(&mut line["now"], MILLI));
    }),
    ("the host's clock at an input five milliseconds earlier", CLOCKS, |run| {
        run.change(PROMPT, "in", got("Table"), |line| add(&mut line["at"], -5 * MILLI));
    }),
    ("a server's reading two nanoseconds later", CLOCKS, |run| {
        run.change(SERVER, "answer", any, |line| add(&mut line["now"], 2));
    }),
    ("an answer out of its time", CLOCKS, |run| {
        run.change(SERVER, "answer", any, |line| add(&mut line["at"], -MILLI));
    }),
    ("a server that gives out time beyond its mark", CLOCKS, |run| {
        for line in &mut run.0[SERVER] {
            if let Line::Whole(line) = line
                && !line["clock"].is_null()
            {
                add(&mut line["clock"]["line"]["mark"]["until"], -40_000 * MILLI);
            }
        }
    }),
    ("a clock's line that jumps", CONFORMS, |run| {
        run.change(
            SERVER,
            "clock",
            |line| !line["how"]["renewed"].is_null(),
            |line| add(&mut line["line"]["bend"], 1),
        );
    }),
    ("a whole trace on another clock: the true time is outside", "S12 clock_enclosure", |run| {
        shift(run, STRICT, 100 * MILLI);
    }),
    ("a promise in an answer", CONFORMS, |run| {
        run.change(SERVER, "answer", any, |line| add(&mut line["reply"]["Table"]["next_earliest"], 1));
    }),
    ("an activation in what an agent got", CONFORMS, |run| {
        run.change(STRICT, "in", got("Table"), |line| {
            add(&mut line["input"]["receive"]["Reply"]["body"]["Table"]["activation"], 1);
        });
    }),
    ("a promise in what an agent got, later than the server's", CONFORMS, |run| {
        run.change(PROMPT, "in", got("Table"), |line| {
            add(&mut line["input"]["receive"]["Reply"]["body"]["Table"]["next_earliest"], 500 * MILLI);
        });
    }),
    ("an echo from before its request", CONFORMS, |run| {
        // On the first timeline: what is answered on another one than was asked on is used for nothing.
        let first = |line: &Value| line["input"]["receive"]["Reply"]["stamp"]["timeline"]["counter"] == 1;
        run.change(
            STRICT,
            "in",
            |line| got("Table")(line) && first(line),
            |line| add(&mut line["input"]["receive"]["Reply"]["stamp"]["echo"], -1_000 * MILLI),
        );
    }),
    ("a stamp from before the request arrived", CONFORMS, |run| {
        run.change(STRICT, "in", got("Table"), |line| {
            add(&mut line["input"]["receive"]["Reply"]["stamp"]["answered"], -50 * MILLI);
        });
    }),
    ("an effect left out", CONFORMS, |run| {
        run.change(STRICT, "in", puts_out(1), |line| {
            effects(line).pop();
        });
    }),
    ("an effect doubled", CONFORMS, |run| {
        run.change(PROMPT, "in", puts_out(1), |line| {
            let first = effects(line)[0].clone();
            effects(line).insert(0, first);
        });
    }),
    ("effects in another order", CONFORMS, |run| {
        run.change(STRICT, "in", puts_out(2), |line| effects(line).reverse());
    }),
    ("a plan published a microsecond earlier", CONFORMS, |run| {
        run.change(STRICT, "in", publishes, |line| {
            let mut plans = effects(line).iter_mut().filter(|effect| !effect["Publish"].is_null());
            add(&mut plans.next().expect("a plan")["Publish"]["active_until"], -1_000);
        });
    }),
    ("an enclosure too wide: another bound of the clock's rate", CONFORMS, |run| {
        run.change(STRICT, "agent", any, |line| add(&mut line["config"]["rate"], 1_000_000));
    }),
    ("a token in a grant", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Granted"), |line| {
            add(&mut line["reply"]["Granted"]["grant"]["token"], 1);
        });
    }),
    ("a token in an advance", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Advanced"), |line| {
            add(&mut line["request"]["Advance"]["token"], 1);
        });
    }),
    ("an activation in an advance", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Advanced"), |line| {
            add(&mut line["request"]["Advance"]["activation"], 1);
        });
    }),
    ("an epoch in a table", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Advanced"), |line| {
            add(&mut line["table"]["staged"]["epoch"], 1);
        });
    }),
    ("a lease in a table", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Granted"), |line| {
            add(&mut line["table"]["lock"]["expires"], MILLI);
        });
    }),
    ("a lease that was over: all of a grant's expiry, consistently, is S3's", "S3 fenced_writes", |run| {
        let grant = run.find(SERVER, "transaction", reply("Granted"));
        let at = run.at(SERVER, grant)["now"].clone();
        run.at(SERVER, grant)["table"]["lock"]["expires"] = at;
    }),
    (
        "an advance before the lead: the activation, consistently, is S4's",
        "S4 activation_arithmetic",
        |run| {
            let advance = run.find(SERVER, "transaction", reply("Advanced"));
            let line = run.at(SERVER, advance);
            add(&mut line["table"]["activation"], -1_000 * MILLI);
        },
    ),
    ("an activation a slot later: the advance, consistently, is S4's", "S4 activation_arithmetic", |run| {
        let advance = run.find(SERVER, "transaction", reply("Advanced"));
        let line = run.at(SERVER, advance);
        let interval = line["table"]["settings"]["interval"].as_i64().expect("an interval");
        add(&mut line["table"]["activation"], interval);
        add(&mut line["table"]["next_earliest"], interval);
    }),
    ("a grant in a hold", "S2 lock_exclusive", |run| {
        let grant = run.find(SERVER, "transaction", reply("Granted"));
        let changes = |line: &Line| match line {
            Line::Whole(line) => {
                ["transaction", "operated", "over", "made"].iter().any(|kind| line[kind]["table"].is_object())
            }
            Line::Text(_) => false,
        };
        let before = run.0[SERVER][..grant].iter().rposition(changes).expect("a table before it");
        run.at(SERVER, before)["table"]["held"] = json!({ "until": null });
    }),
    ("a token that was used before", "S2 lock_exclusive", |run| {
        let grant = run.find(SERVER, "transaction", reply("Granted"));
        run.at(SERVER, grant)["table"]["lock"]["token"] = 0.into();
    }),
    ("an epoch that is left out", "S1 single_initiator", |run| {
        let advance = run.find(SERVER, "transaction", reply("Advanced"));
        add(&mut run.at(SERVER, advance)["table"]["staged"]["epoch"], 1);
    }),
    ("another verdict on the content", CONFORMS, |run| {
        let judged = |line: &Value| line["facts"].to_string().contains("Promote");
        run.change(SERVER, "transaction", judged, |line| {
            let facts = line["facts"].as_array_mut().expect("facts");
            let verdict = facts.iter_mut().find(|fact| !fact["verdict"].is_null()).expect("a verdict");
            spoil(&mut verdict["verdict"]["verdict"]["Promote"]);
        });
    }),
    ("a question to the content left out", CONFORMS, |run| {
        run.change(SERVER, "transaction", reply("Advanced"), |line| {
            line["facts"].as_array_mut().expect("facts").pop();
        });
    }),
    ("a hold's end", CONFORMS, |run| {
        let holds = |line: &Value| !line["change"]["hold"].is_null();
        run.change(SERVER, "operated", holds, |line| line["table"]["held"] = json!({ "until": 5 }));
    }),
    ("an operator's change left out", CONFORMS, |run| {
        let index = run.find(SERVER, "operated", any);
        run.0[SERVER].drain(index..index + 2);
    }),
    ("another table in between", CONFORMS, |run| {
        let index = run.find(SERVER, "found", any);
        add(&mut run.at(SERVER, index)["table"]["next_earliest"], MILLI);
    }),
    ("a new line that doesn't wait", CONFORMS, |run| {
        run.change(SERVER, "over", any, |line| add(&mut line["table"]["activation"], -1));
    }),
    ("a commit left out", CONFORMS, |run| {
        let index = run.find(SERVER, "committed", any);
        run.0[SERVER].remove(index);
    }),
    ("a commit doubled", CONFORMS, |run| {
        let index = run.find(SERVER, "committed", any);
        let again = run.0[SERVER][index].clone();
        run.0[SERVER].insert(index, again);
    }),
    ("an answer that the server never gave", CONFORMS, |run| {
        let agent = run.find(PROMPT, "agent", any);
        let life = run.at(PROMPT, agent)["start"]["incarnation"].clone();
        let index = run.find(SERVER, "answer", |line| line["id"]["incarnation"] == life);
        run.0[SERVER].remove(index);
    }),
    ("an input left out", CONFORMS, |run| {
        let index = run.find(STRICT, "in", got("Table"));
        run.0[STRICT].remove(index);
    }),
    ("an input doubled", CONFORMS, |run| {
        let index = run.find(PROMPT, "in", got("Table"));
        let again = run.0[PROMPT][index].clone();
        run.0[PROMPT].insert(index, again);
    }),
    ("two inputs in the other order", CONFORMS, |run| {
        let index = run.find(STRICT, "in", got("Table"));
        run.0[STRICT].swap(index - 1, index);
    }),
    ("a verification that nobody asked for", CONFORMS, |run| {
        let index = run.find(STRICT, "in", |line| !line["input"]["verified"].is_null());
        add(&mut run.at(STRICT, index)["input"]["verified"]["target"]["epoch"], 1);
    }),
    ("a read of the old generation after the new one", "S9 epochs_rise", |run| {
        let (old, new) = switch(run, PROMPT);
        let mut again = run.at(PROMPT, old).clone();
        let (at, now) = (run.at(PROMPT, new)["at"].clone(), run.at(PROMPT, new)["now"].clone());
        (again["at"], again["now"]) = (at, now);
        add(&mut again["at"], 1_000);
        add(&mut again["now"], 1_000);
        run.0[PROMPT].insert(new + 1, Line::Whole(json!({ "read": again })));
    }),
    ("a read that no plan explains", CONFORMS, |run| {
        run.change(PROMPT, "read", current, |line| line["got"] = "Hold".into());
    }),
    ("a strict read of the new generation before T", "S7 strict_serves_live", |run| {
        let (_, new) = switch(run, STRICT);
        move_read(run, STRICT, new, -30 * MILLI);
    }),
    ("a prompt read of the new generation long before T", "S8 prompt_skew_bound", |run| {
        let (_, new) = switch(run, PROMPT);
        move_read(run, PROMPT, new, -500 * MILLI);
    }),
    ("records of another generation", "S5 whole_generation", |run| {
        let digested = |line: &Value| line["records"].is_string() && current(line);
        run.change(STRICT, "read", digested, |line| spoil(&mut line["records"]));
    }),
    ("other records found in a generation", "S5 whole_generation", |run| {
        run.change(LOOKS, "held", any, |line| spoil(&mut line["records"]));
    }),
    ("records found that were not fed", "S5 whole_generation", |run| {
        run.change(LOOKS, "held", any, |line| spoil(&mut line["unscheduled"]));
    }),
    ("records fed that are nowhere", "S5 whole_generation", |run| {
        run.change(LOOKS, "fed", any, |line| spoil(&mut line["records"]));
    }),
    ("records fed an epoch later than they are found", "S5 whole_generation", |run| {
        run.change(LOOKS, "fed", any, |line| add(&mut line["from"], 1));
    }),
    ("content found in a life that never began", FORMAT, |run| {
        run.change(LOOKS, "held", any, |line| add(&mut line["life"], 1));
    }),
    ("a generation of another content", "S6 agreement", |run| {
        run.change(PROMPT, "read", current, |line| spoil(&mut generation(line)["digest"]));
    }),
    ("a joiner that begins with the generation before", "S10 join_is_current", |run| {
        let reads = reads(run, PROMPT);
        add(&mut generation(run.at(PROMPT, reads[0].0))["epoch"], 1);
    }),
    ("a timeline that jumps for who looks from outside", "one_line", |run| {
        run.change(LOOKS, "look", any, |line| add(&mut line["now"], 20 * MILLI));
    }),
    ("a table that goes back for who looks from outside", "S1 single_initiator", |run| {
        run.change(
            LOOKS,
            "look",
            |line| line["staged"]["epoch"].as_u64() > Some(2),
            |line| {
                line["staged"]["epoch"] = 1.into();
            },
        );
    }),
    ("a scheduled record that is not shown", "S11 schedule_respected", |run| {
        let shown = |line: &Value| line["shown"] == true;
        run.change(LOOKS, "shown", shown, |line| line["shown"] = false.into());
    }),
    ("a scheduled record that is shown before its time", "S11 schedule_respected", |run| {
        let lacks = |line: &Value| line["shown"] == false;
        run.change(LOOKS, "shown", lacks, |line| line["shown"] = true.into());
    }),
    ("a line cut", FORMAT, |run| {
        let index = run.find(SERVER, "answer", any);
        let Line::Whole(line) = &run.0[SERVER][index] else { return };
        let text = line.to_string();
        run.0[SERVER][index] = Line::Text(text[..text.len() / 2].to_owned());
    }),
    ("a line that says more", FORMAT, |run| {
        run.change(STRICT, "in", any, |line| line["more"] = 1.into());
    }),
    ("a line of no known kind", FORMAT, |run| {
        run.0[PROMPT].insert(5, Line::Whole(json!({ "nothing": {} })));
    }),
    ("the life's begin left out", FORMAT, |run| {
        let index = run.find(STRICT, "agent", any);
        run.0[STRICT].remove(index);
    }),
    ("a life that begins twice", FORMAT, |run| {
        let index = run.find(STRICT, "agent", any);
        let again = run.0[STRICT][index].clone();
        run.0[STRICT].insert(index, again);
    }),
    ("the trace's begin left out", FORMAT, |run| {
        run.0[PROMPT].remove(0);
    }),
    ("another version", FORMAT, |run| {
        run.change(PROMPT, "begin", any, |line| add(&mut line["version"], 1));
    }),
    ("another host", FORMAT, |run| {
        run.change(PROMPT, "begin", any, |line| add(&mut line["host"], 1));
    }),
    ("a line after the end", FORMAT, |run| {
        let last = run.0[PROMPT].len();
        let again = run.0[PROMPT][last - 2].clone();
        run.0[PROMPT].push(again);
    }),
    ("lines that could not be written", FORMAT, |run| {
        run.0[PROMPT].pop();
        run.0[PROMPT].push(Line::Whole(json!({ "incomplete": { "at": 0 } })));
    }),
    ("nothing at all", FORMAT, |run| run.0[LOOKS].clear()),
];

#[test]
fn every_change_is_refused_for_its_own_reason() {
    let sound = sound();
    assert_eq!(sound.judged(), [""; 0]);
    let mut wrong = Vec::new();
    for (name, reason, change) in CHANGES {
        let mut changed = sound.clone();
        change(&mut changed);
        let found = changed.judged();
        if !found.contains(reason) {
            wrong.push(format!("{name}: wanted {reason}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "of {} changes:\n{}", CHANGES.len(), wrong.join("\n"));
}
