//! Offsets of sockets for the programs of the kubelet's connections, resolved by name.

use agent_common::probes::{HAS_SOCK, HAS_SOCK_OPS, ProbesLayout};

use super::btf::{Btf, BtfError};

/// Offsets of sockets. Each program is loaded only if all that it reads is known.
#[derive(Debug)]
pub struct ProbesOffsets {
    /// Offsets for the programs' `.rodata`.
    pub layout: ProbesLayout,
    /// Whether those are known that a `sock_ops` program reads.
    pub sock_ops: Result<(), BtfError>,
    /// Whether those are known that the tracepoint's program reads.
    pub sock: Result<(), BtfError>,
}

/// Resolves every field of [`ProbesLayout`].
#[must_use]
pub fn resolve(btf: &Btf) -> ProbesOffsets {
    let mut layout = ProbesLayout::default();
    let sock_ops = sock_ops(btf, &mut layout);
    let sock = sock(btf, &mut layout);
    for (known, flag) in [(sock_ops.is_ok(), HAS_SOCK_OPS), (sock.is_ok(), HAS_SOCK)] {
        layout.known |= if known { flag } else { 0 };
    }
    ProbesOffsets { layout, sock_ops, sock }
}

fn sock_ops(btf: &Btf, layout: &mut ProbesLayout) -> Result<(), BtfError> {
    layout.sock_ops_sk = btf.number("bpf_sock_ops_kern", "sk", 8)?;
    layout.sock_err = btf.number("sock", "sk_err", 4)?;
    Ok(())
}

fn sock(btf: &Btf, layout: &mut ProbesLayout) -> Result<(), BtfError> {
    let at = |path, bytes| btf.number("sock", path, bytes);
    layout.sock_err = at("sk_err", 4)?;
    layout.sock_protocol = at("sk_protocol", 2)?;
    layout.sock_family = at("__sk_common.skc_family", 2)?;
    layout.sock_num = at("__sk_common.skc_num", 2)?;
    layout.sock_dport = at("__sk_common.skc_dport", 2)?;
    layout.sock_daddr = at("__sk_common.skc_daddr", 4)?;
    layout.sock_rcv_saddr = at("__sk_common.skc_rcv_saddr", 4)?;
    layout.sock_v6_daddr = at("__sk_common.skc_v6_daddr", 16)?;
    layout.sock_v6_rcv_saddr = at("__sk_common.skc_v6_rcv_saddr", 16)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The types of the kernel that runs the tests, where it has them.
    #[test]
    fn this_kernel_has_all_of_them() {
        let path = Path::new(crate::kernel::btf::VMLINUX);
        if !path.exists() {
            println!("SKIPPED: no {}", path.display());
            return;
        }
        let found = resolve(&Btf::from_file(path).unwrap());
        assert!(found.sock_ops.is_ok() && found.sock.is_ok(), "{found:?}");
        assert_eq!(found.layout.known, HAS_SOCK_OPS | HAS_SOCK);
        // The first fields of `sock_common` have not moved in ten years.
        let layout = &found.layout;
        assert_eq!((layout.sock_daddr, layout.sock_rcv_saddr, layout.sock_dport), (0, 4, 12));
    }
}
