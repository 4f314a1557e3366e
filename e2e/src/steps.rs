//! Progress: what is being done, how long it has taken.

use std::time::{Duration, Instant};

/// The steps of a run, in order.
pub(crate) struct Steps {
    start: Instant,
    current: Option<(String, Instant)>,
    done: Vec<(String, Duration)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), current: None, done: Vec::new() }
    }

    /// Ends the step before, if there is one, and begins one.
    pub(crate) fn begin(&mut self, what: &str) {
        self.end();
        println!("[{:7.1} s] {what} …", self.start.elapsed().as_secs_f64());
        self.current = Some((what.to_owned(), Instant::now()));
    }

    /// Ends the current step.
    pub(crate) fn end(&mut self) {
        if let Some((what, start)) = self.current.take() {
            self.done.push((what, start.elapsed()));
        }
    }

    /// A table of all steps.
    pub(crate) fn report(&self) -> String {
        let mut report = String::new();
        for (what, took) in &self.done {
            report.push_str(&format!("{:>8.1} s  {what}\n", took.as_secs_f64()));
        }
        report.push_str(&format!("{:>8.1} s  in all\n", self.start.elapsed().as_secs_f64()));
        report
    }
}
