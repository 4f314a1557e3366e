//! Test support of Podvitals, used by the agent's tests, the scenarios, the benchmarks, the tests
//! on a Kubernetes node and `xtask`.
//!
//! It knows the agent from outside only: its command line, its exposition, its exit. So it builds
//! without the agent's crate, and static. The agent's own demo, which makes what the tests make,
//! takes `cgroup` and `tree` from here into the product.

pub mod agent;
pub mod catalogue;
pub mod cgroup;
pub mod child;
pub mod exposition;
pub mod http;
mod note;
pub mod otlp;
#[cfg(feature = "promql")]
pub mod promql;
pub mod runner;
pub mod scrape;
pub mod tree;
