//! Embeds the kernel side: the BPF objects, which `cargo xtask build` makes in the folder that it
//! names in `AGENT_EBPF_OBJECT`, as `<name>.bpf.o`.
//!
//! Without it empty objects are embedded, so that the code can be checked and tested on a machine
//! without the eBPF tool chain; such a binary says what it lacks and does not run.

use std::{env, fs, path::PathBuf};

/// The objects; `bpf::object` names them too.
const OBJECTS: [&str; 3] = ["core", "snapshot", "probes"];

fn main() {
    const VARIABLE: &str = "AGENT_EBPF_OBJECT";
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: run this through cargo");
        return;
    };
    let folder = env::var_os(VARIABLE).map(PathBuf::from);
    for name in OBJECTS {
        let file = format!("{name}.bpf.o");
        let object = match folder.as_ref().map(|folder| folder.join(&file)) {
            None => Vec::new(),
            Some(path) => {
                println!("cargo::rerun-if-changed={}", path.display());
                match fs::read(&path) {
                    Ok(object) => object,
                    Err(error) => {
                        println!(
                            "cargo::error={VARIABLE} is to name a folder of BPF objects; {}: {error}",
                            path.display()
                        );
                        return;
                    }
                }
            }
        };
        let out = out.join(&file);
        if let Err(error) = fs::write(&out, object) {
            println!("cargo::error={}: {error}", out.display());
        }
    }
}
