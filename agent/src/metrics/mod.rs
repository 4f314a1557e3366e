//! Metrics: facts and samples in, an exposition out.
