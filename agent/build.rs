//! Embeds the kernel side, which `cargo xtask build` makes and names in `AGENT_EBPF_OBJECT`.
//!
//! Without it an empty object is embedded, so that the code can be checked and tested on a machine
//! without the eBPF tool chain; such a binary says what it lacks and does not run.

use std::{env, fs, path::PathBuf};

fn main() {
    const VARIABLE: &str = "AGENT_EBPF_OBJECT";
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let Some(out) = env::var_os("OUT_DIR").map(|dir| PathBuf::from(dir).join("podvitals.bpf.o"))
    else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return;
    };
    let object = match env::var_os(VARIABLE).map(PathBuf::from) {
        None => Vec::new(),
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            match fs::read(&path) {
                Ok(object) => object,
                Err(error) => {
                    println!("cargo::error={VARIABLE}={}: {error}", path.display());
                    return;
                }
            }
        }
    };
    if let Err(error) = fs::write(&out, object) {
        println!("cargo::error={}: {error}", out.display());
    }
}
