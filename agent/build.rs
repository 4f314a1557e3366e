//! Embeds the kernel side: the BPF objects, which `cargo xtask build` makes in the folder that it
//! names in `AGENT_EBPF_OBJECT`, as `<name>.bpf.o`.
//!
//! Without it empty objects are embedded, so that the code can be checked and tested on a machine
//! without the eBPF tool chain; such a binary says what it lacks and does not run.
//!
//! The shipped program is linked so that little of it is resident (`order.ld`).

use std::{env, fs, path::PathBuf, process::Command};

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
    link();
}

/// Options of the linker for the program that is shipped: a static one. They are lld's, with which Rust
/// links for this target.
fn link() {
    println!("cargo::rerun-if-changed=order.ld");
    let set = |name: &str| env::var(name).unwrap_or_default();
    let is_static = set("CARGO_CFG_TARGET_FEATURE").split(',').any(|it| it == "crt-static");
    let shipped = set("TARGET") == "x86_64-unknown-linux-gnu" && set("PROFILE") == "release";
    if !is_static || !shipped {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/order.ld", set("CARGO_MANIFEST_DIR"));
    if libc_has_relr() {
        // 300 KiB of relocations become 3, and are resident as they are read.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the C library of this machine, which becomes part of the program, applies packed
/// relocations: glibc does from 2.36 on.
fn libc_has_relr() -> bool {
    let Ok(output) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let minor = text.trim().strip_prefix("glibc 2.").and_then(|minor| minor.split('.').next());
    minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 36)
}
