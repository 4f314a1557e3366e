//! Leaving out of an object what serves debuggers alone.
//!
//! The compiler has to write DWARF, from which bpf-linker makes BTF, and it stays in the object: five
//! sixths of it, for which nobody asks in the agent. The kernel reads BTF.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// The object without its sections of DWARF, their relocations, and symbols of nothing else.
pub(super) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("the object is no ELF file")?;
    for section in &mut elf.sections {
        let name = section.name.to_string();
        section.delete = name.strip_prefix(".rel").unwrap_or(&name).starts_with(".debug_");
    }
    elf.delete_orphans();
    // LLVM has one table for the names of symbols and sections; this writer wants two.
    if !elf.sections.iter().any(|section| section.name.as_slice() == b".shstrtab") {
        let names = elf.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    elf.write(&mut stripped).context("write the object anew")?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use object::{
        Architecture, BinaryFormat, Endianness, Object as _, ObjectSection as _, ObjectSymbol as _,
        RelocationEncoding, RelocationFlags, RelocationKind, SectionKind, SymbolFlags, SymbolKind,
        SymbolScope,
        write::{Object, Relocation, Symbol, SymbolSection},
    };

    use super::*;

    #[test]
    fn dwarf_goes_and_all_else_stays() {
        let mut made = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let mut section = |name: &[u8], kind, data: &[u8]| {
            let id = made.add_section(Vec::new(), name.to_vec(), kind);
            made.append_section_data(id, data, 8);
            id
        };
        let code = section(b"iter/cgroup", SectionKind::Text, &[0x95, 0, 0, 0, 0, 0, 0, 0]);
        section(b".BTF", SectionKind::Other, b"types");
        let info = section(b".debug_info", SectionKind::Debug, &[0; 64]);
        let program = made.add_symbol(Symbol {
            name: b"cgroup_iter".to_vec(),
            value: 0,
            size: 8,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(code),
            flags: SymbolFlags::None,
        });
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Absolute,
            encoding: RelocationEncoding::Generic,
            size: 64,
        };
        let relocation = Relocation { offset: 8, symbol: program, addend: 0, flags };
        made.add_relocation(info, relocation).unwrap();
        let before = made.write().unwrap();

        let after = strip(&before).unwrap();
        let [before, after] = [&before, &after].map(|it| object::File::parse(&**it).unwrap());
        let names = |file: &object::File<'_>| {
            file.sections().map(|it| it.name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(names(&before).iter().any(|name| name == ".debug_info"));
        assert!(!names(&after).iter().any(|name| name.contains(".debug_")), "{:?}", names(&after));
        for kept in ["iter/cgroup", ".BTF"] {
            let data = |file: &object::File<'_>| {
                file.section_by_name(kept).unwrap().data().unwrap().to_vec()
            };
            assert_eq!(data(&after), data(&before), "{kept}");
        }
        let program = after.symbols().find(|it| it.name() == Ok("cgroup_iter")).unwrap();
        assert_eq!(program.size(), 8);
    }

    #[test]
    fn what_is_no_object_is_said() {
        assert!(strip(b"no object").unwrap_err().to_string().contains("ELF"));
    }
}
