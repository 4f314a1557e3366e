//! The program, run for real.

#[cfg(test)]
mod acts;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod servers;
