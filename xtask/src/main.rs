//! `cargo xtask`; the library has all of it, and serves the crate `e2e` too.

fn main() -> std::process::ExitCode {
    xtask::main()
}
