//! When agents went over to each generation, as they told.

use crate::failure::Failure;
use crate::remote::Remote;
use crate::show;
use clap::Args;
use serde_json::Value;

/// Shows how far from T agents went over, of the newest activations
#[derive(Args, Debug)]
#[command(
    after_help = "Each agent reports when it went over, by its estimate of the server's clock, and how far that may \
    be wrong (its ε). p50, p99 and max are distances from T; the spread is that of the first switch to the last, and \
    the true one is no farther from it than ±. Late is who went over later than 2ε after T; refused, who wouldn't \
    take the generation; silent, who was there before T and told nothing."
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
            "epoch", "T", "agents", "switched", "late", "refused", "silent", "joined", "p50", "p99", "max",
            "spread", "±",
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
                count("silent"),
                count("joined"),
                span("p50_ns"),
                span("p99_ns"),
                span("max_ns"),
                span("spread_ns"),
                span("bound_ns"),
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
        Ok(())
    }
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
