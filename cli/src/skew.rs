//! When agents went over to each generation, as they told.

use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;
use clap::Args;
use serde_json::{Map, Value};

/// Shows how far from T agents went over, of the newest activations
#[derive(Args, Debug)]
#[command(
    after_help = "Each agent reports when it went over, by its estimate of the server's clock, and how far that may \
    be wrong (its ε). p50, p99 and max are distances from T; the spread is that of the first switch to the last, and \
    the true one is no farther from it than ±. Late is who went over later than 2ε after T; refused, who wouldn't \
    take the generation; stale and fenced, who told after T that what it serves is marked stale, or that it serves \
    nothing; silent, who was there before T and told nothing of all that. Armed is how long all but the slowest \
    hundredth took from the promotion until they held the generation. Where the lead is shorter than that and a \
    quarter more, the lead that would do is told."
)]
pub(crate) struct Skew {
    /// Shows so many activations
    #[arg(long, default_value_t = 10)]
    limit: u32,
}

impl Skew {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let told = remote.get(&remote.of_farm(&format!("/skew?limit={}", self.limit)))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let activations = told["activations"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(newest) = activations.first() else {
            println!("No activation has passed of which agents could tell.");
            return Ok(());
        };
        let mut table = show::table(&[
            "epoch", "T", "agents", "switched", "late", "refused", "stale", "fenced", "silent", "joined",
            "p50", "p99", "max", "spread", "±", "armed",
        ]);
        for activation in activations {
            let span = |name: &str| activation[name].as_i64().map_or("-".to_owned(), show::span);
            let count = |name: &str| show::plain(&activation[name]);
            table.add_row([
                count("epoch"),
                show::nanos(&activation["activation"]).map_or("-".to_owned(), show::local),
                count("agents"),
                count("switched"),
                count("late"),
                count("refused"),
                count("stale"),
                count("fenced"),
                count("silent"),
                count("joined"),
                span("p50_ns"),
                span("p99_ns"),
                span("max_ns"),
                span("spread_ns"),
                span("bound_ns"),
                span("armed_p99_ns"),
            ]);
        }
        println!("{table}");
        let named = newest["named"].as_array().map_or(&[][..], Vec::as_slice);
        if !named.is_empty() {
            println!("\nOf epoch {}:", newest["epoch"]);
            let mut table = show::table(&["", "agent", "", "from T", "ε"]);
            for agent in named {
                table.add_row([
                    show::plain(&agent["what"]),
                    shown(agent),
                    show::short(&agent["agent"]),
                    agent["from_t_ns"].as_i64().map_or("-".to_owned(), signed),
                    agent["epsilon_ns"].as_i64().map_or("-".to_owned(), show::span),
                ]);
            }
            println!("{table}");
        }
        if let Some(advice) = told["advice"].as_object() {
            println!("\n{}", advised(advice));
        }
        Ok(())
    }
}

/// What would do where the lead doesn't.
fn advised(advice: &Map<String, Value>) -> String {
    let given = |name: &str| advice.get(name).and_then(Value::as_i64);
    let of = |name: &str| given(name).map_or("-".to_owned(), show::span);
    let mut text = format!(
        "The lead is too short: agents took up to {} until they were armed. After an outage, when only the lead is left \
         to them, some would be late. ",
        of("slowest_ns")
    );
    let millis =
        |name: &str| given(name).map(|nanos| nanos.div_euclid(1_000_000) + i64::from(nanos % 1_000_000 != 0));
    if given("beyond_ns").is_some() {
        text += &format!(
            "What would do is beyond the limit that the farm was made with, {}: make what changes at a time smaller, or \
             agents faster.",
            of("beyond_ns")
        );
        return text;
    }
    let lead = millis("lead_ns").map_or(String::new(), |millis| format!(" --lead {millis}ms"));
    let interval = millis("interval_ns").map_or(String::new(), |millis| format!(" --interval {millis}ms"));
    text + &format!("This would do: downbeat settings{lead}{interval}")
}

fn shown(agent: &Value) -> String {
    agent["name"].as_str().filter(|name| !name.is_empty()).map_or("-".to_owned(), str::to_owned)
}

fn signed(nanos: i64) -> String {
    if nanos < 0 {
        format!("-{}", show::span(nanos.saturating_neg()))
    } else {
        format!("+{}", show::span(nanos))
    }
}
