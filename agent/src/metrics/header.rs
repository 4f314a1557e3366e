//! Lines above the samples of a family, in each format.

use super::family::Family;

/// Writes the lines of text 0.0.4.
pub(super) fn write_text(out: &mut Vec<u8>, family: &Family) {
    let name = [family.prefix(), family.name];
    write_line(out, "HELP", name, |out| write_help(out, family.help, b""));
    write_line(out, "TYPE", name, |out| out.extend_from_slice(family.kind.name().as_bytes()));
}

/// Writes the lines of OpenMetrics. The order is the one that the specification recommends.
pub(super) fn write_open_metrics(out: &mut Vec<u8>, family: &Family) {
    let name = [family.prefix(), family.open_metrics_name()];
    write_line(out, "TYPE", name, |out| out.extend_from_slice(family.kind.name().as_bytes()));
    if let Some(unit) = family.unit.name() {
        write_line(out, "UNIT", name, |out| out.extend_from_slice(unit.as_bytes()));
    }
    write_line(out, "HELP", name, |out| write_help(out, family.help, b"\""));
}

fn write_line(out: &mut Vec<u8>, what: &str, name: [&str; 2], text: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"# ");
    for part in [what, " ", name[0], name[1], " "] {
        out.extend_from_slice(part.as_bytes());
    }
    text(out);
    out.push(b'\n');
}

/// Escapes `also` beside what both formats escape.
fn write_help(out: &mut Vec<u8>, help: &str, also: &[u8]) {
    for byte in help.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            byte if byte == b'\\' || also.contains(&byte) => out.extend_from_slice(&[b'\\', byte]),
            byte => out.push(byte),
        }
    }
}
