//! Steps of a check, one after the other: each with a time limit, a result, and its row in a table.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stop::{self, Limit};

/// How a step ended.
enum Outcome {
    Passed,
    Failed(String),
    /// It could not run here, and why.
    Skipped(String),
}

/// Names, results and times of the steps so far.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, Outcome, Duration)>,
}

impl Steps {
    /// Runs one step, unless a signal has stopped the run. `Ok(Some(why))` from it means skipped.
    /// A step that waits for a process or asks [`stop::check`] fails once `limit` is over.
    pub fn run(
        &mut self,
        name: &str,
        limit: Duration,
        step: impl FnOnce() -> Result<Option<String>>,
    ) {
        if stop::signal().is_some() {
            return;
        }
        println!("\n=== {name}");
        let start = Instant::now();
        let limit = Limit::set(name, limit);
        let result = step();
        drop(limit);
        let outcome = match result {
            Ok(None) => Outcome::Passed,
            Ok(Some(why)) => Outcome::Skipped(why),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let took = start.elapsed();
        match &outcome {
            Outcome::Passed => println!("=== {name}: ok in {:.1} s", took.as_secs_f64()),
            Outcome::Skipped(why) => println!("=== {name}: SKIPPED ({why})"),
            Outcome::Failed(why) => {
                println!("{why}\n=== {name}: FAILED in {:.1} s", took.as_secs_f64());
            }
        }
        self.done.push((name.to_owned(), outcome, took));
    }

    /// Prints the table and the counts; whether all ran and none failed.
    pub fn finish(&self) -> bool {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        println!("\n{:<20} {:>8}  result", "step", "seconds");
        for (name, outcome, took) in &self.done {
            let word = match outcome {
                Outcome::Passed => {
                    passed += 1;
                    "ok".to_owned()
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {}", why.lines().next().unwrap_or_default())
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    format!("SKIPPED ({why})")
                }
            };
            println!("{name:<20} {:>8.1}  {word}", took.as_secs_f64());
        }
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if let Some(signal) = stop::signal() {
            println!("stopped by {signal}: the steps that are not in the table did not run");
        }
        failed == 0 && stop::signal().is_none()
    }
}
