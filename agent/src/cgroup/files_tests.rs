use super::*;
use proptest::prelude::*;

/// Sample of one file alone.
fn parsed(name: &str, bytes: &[u8]) -> Result<Sample, ParseError> {
    let file = FILES.iter().find(|file| file.name == name).unwrap();
    let mut sample = Sample::default();
    (file.parse)(bytes, &mut sample)?;
    Ok(sample)
}

fn cpu(name: &str, bytes: &[u8]) -> Result<Cpu, ParseError> {
    parsed(name, bytes).map(|sample| sample.cpu)
}

fn memory_max(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    parsed("memory.max", bytes).map(|sample| sample.memory.limit_bytes)
}

/// File `memory.stat` of a container on Linux 6.12.
const MEMORY_STAT: &str = "\
anon 2195456
file 18534400
kernel 1253376
kernel_stack 65536
pagetables 126976
sec_pagetables 0
percpu 1088
sock 0
vmalloc 0
shmem 4096
zswap 0
zswapped 0
file_mapped 9060352
file_dirty 0
file_writeback 0
swapcached 0
anon_thp 0
file_thp 0
shmem_thp 0
inactive_anon 2179072
active_anon 20480
inactive_file 10653696
active_file 7876608
unevictable 0
slab_reclaimable 738160
slab_unreclaimable 254336
slab 992496
workingset_refault_anon 0
workingset_refault_file 120
workingset_activate_anon 0
workingset_activate_file 40
workingset_restore_anon 0
workingset_restore_file 0
workingset_nodereclaim 0
pswpin 0
pswpout 0
pgscan 0
pgsteal 0
pgscan_kswapd 0
pgscan_direct 0
pgscan_khugepaged 0
pgsteal_kswapd 0
pgsteal_direct 0
pgsteal_khugepaged 0
pgfault 6421
pgmajfault 155
pgrefill 0
pgactivate 1856
pgdeactivate 0
pglazyfree 0
pglazyfreed 0
zswpin 0
zswpout 0
thp_fault_alloc 0
thp_collapse_alloc 0
";

#[test]
fn memory_stat_of_a_container() {
    assert_eq!(
        memory_stat(MEMORY_STAT.as_bytes()),
        Ok(MemoryStat {
            anon_bytes: Some(2_195_456),
            file_bytes: Some(18_534_400),
            kernel_bytes: Some(1_253_376),
            shmem_bytes: Some(4096),
            inactive_file_bytes: Some(10_653_696),
            faults: Some(6421),
            major_faults: Some(155),
        })
    );
    let older = MEMORY_STAT.replace("kernel 1253376\n", "");
    assert_eq!(memory_stat(older.as_bytes()).unwrap().kernel_bytes, None);
}

#[test]
fn cpu_stat_with_and_without_the_controller() {
    let bare = b"usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnice_usec 0\n";
    let want = Cpu { usage_us: Some(1_234_567), ..Cpu::default() };
    assert_eq!(cpu("cpu.stat", bare), Ok(want.clone()));
    let mut whole = bare.to_vec();
    whole.extend_from_slice(
        b"core_sched.force_idle_usec 0\nnr_periods 10\nnr_throttled 3\nthrottled_usec 99\nnr_bursts 0\nburst_usec 0\n",
    );
    let want =
        Cpu { periods: Some(10), throttled_periods: Some(3), throttled_us: Some(99), ..want };
    assert_eq!(cpu("cpu.stat", &whole), Ok(want));
}

#[test]
fn the_files_of_one_part_leave_each_other_alone() {
    let mut sample = Sample::default();
    cpu_max(b"50000 100000\n", &mut sample).unwrap();
    cpu_stat(b"usage_usec 3\n", &mut sample).unwrap();
    cpu_stat(b"usage_usec x\n", &mut sample).unwrap_err();
    let want = Cpu {
        usage_us: Some(3),
        quota_us: Some(50_000),
        period_us: Some(100_000),
        ..Cpu::default()
    };
    assert_eq!(sample.cpu, want);
}

#[test]
fn limits() {
    assert_eq!(cpu("cpu.max", b"max 100000\n"), Ok(Cpu::default()));
    let want = Cpu { quota_us: Some(50_000), period_us: Some(100_000), ..Cpu::default() };
    assert_eq!(cpu("cpu.max", b"50000 100000\n"), Ok(want));
    assert_eq!(cpu("cpu.max", b""), Ok(Cpu::default()));
    assert_eq!(
        cpu("cpu.max", b"50000\n"),
        Err(ParseError::NotANumber { key: "period", text: String::new() })
    );
    assert_eq!(memory_max(b"max\n"), Ok(None));
    assert_eq!(memory_max(b"0\n"), Ok(Some(0)));
    assert_eq!(parsed("pids.current", b"7").unwrap().tasks, Some(7));
    assert_eq!(parsed("pids.current", b"").unwrap().tasks, None);
}

#[test]
fn each_part_has_files_and_a_file_is_one_part() {
    let parts = [Parts::CPU, Parts::MEMORY, Parts::MEMORY_STAT, Parts::PIDS, Parts::PRESSURE];
    for file in FILES {
        assert!(parts.contains(&file.part) || file.part == Parts::OTHER, "{}", file.name);
        assert_eq!(FILES.iter().filter(|other| other.name == file.name).count(), 1);
    }
    for part in parts {
        assert!(FILES.iter().any(|file| file.part == part), "{part:?}");
        assert!(part.meets(Parts::ALL) && !part.meets(part.complement()));
        assert_eq!(part.or(part.complement()), Parts::ALL);
    }
}

#[test]
fn events() {
    let file = b"low 0\nhigh 1\nmax 22\noom 3\noom_kill 2\noom_group_kill 1\nsock_throttled 0\n";
    let want = MemoryEvents { high: Some(1), max: Some(22), oom: Some(3), oom_kill: Some(2) };
    assert_eq!(memory_events(file), Ok(want));
    let part = memory_events(b"oom 0\n").unwrap();
    assert_eq!((part.oom, part.oom_kill), (Some(0), None));
}

#[test]
fn pressures() {
    let both = b"some avg10=0.12 avg60=1.00 avg300=0.50 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99\n";
    assert_eq!(pressure(both), Ok(Pressure { some_us: Some(123_456), full_us: Some(99) }));
    let some = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    assert_eq!(pressure(some), Ok(Pressure { some_us: Some(0), full_us: None }));
    assert_eq!(pressure(b"some avg10=0.00\n"), Ok(Pressure::default()), "no total");
    assert_eq!(pressure(b""), Ok(Pressure::default()));
}

#[test]
fn a_malformed_value_names_its_key() {
    let not = |key, text: &str| ParseError::NotANumber { key, text: text.to_owned() };
    assert_eq!(cpu("cpu.stat", b"usage_usec -1\n"), Err(not("usage_usec", "-1")));
    assert_eq!(cpu("cpu.stat", b"usage_usec\n"), Err(not("usage_usec", "")));
    assert_eq!(memory_stat(b"anon 1 2\n"), Err(not("anon", "1 2")));
    assert_eq!(memory_stat(b"anon  1\n"), Err(not("anon", " 1")));
    assert_eq!(memory_events(b"oom_kill \xff\n"), Err(not("oom_kill", "\\xff")));
    assert_eq!(pressure(b"full total=1.5\n"), Err(not("full total", "1.5")));
    assert_eq!(parsed("memory.peak", b"+1\n"), Err(not("memory.peak", "+1")));
    assert_eq!(memory_stat(b"unheard_of x\n\n \nanon 1\n").unwrap().anon_bytes, Some(1));
    assert_eq!(memory_stat(b"anonymous 1\nano 2\n"), Ok(MemoryStat::default()));
    let long = format!("pgfault {}", "x".repeat(500));
    assert_eq!(memory_stat(long.as_bytes()), Err(not("pgfault", &"x".repeat(32))));
    assert_eq!(not("anon", "-1").to_string(), "`anon` is not a number: \"-1\"");
}

#[test]
fn overflow_is_an_error() {
    let single = |text: &str| memory_max(text.as_bytes());
    assert_eq!(single("18446744073709551615"), Ok(Some(u64::MAX)));
    assert_eq!(single("18446744073709551616"), Err(ParseError::Overflow { key: "memory.max" }));
    assert_eq!(single("99999999999999999999999"), Err(ParseError::Overflow { key: "memory.max" }));
}

/// Lines for the values that are given, among unknown lines.
fn render(values: &[(&str, Option<u64>)]) -> String {
    let mut text = String::from("unknown_first 1\n");
    for (key, value) in values {
        if let Some(value) = value {
            text.push_str(&format!("{key} {value}\nx_{key} nonsense\n"));
        }
    }
    text
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in any::<Vec<u8>>()) {
        for file in FILES {
            let _ = (file.parse)(&bytes, &mut Sample::default());
        }
    }

    #[test]
    fn any_likely_text_is_survived(parts in prop::collection::vec(
        "(anon|some|full|high|max|oom|usage_usec|total=| |\n|[0-9]{1,25}|-|.)", 0..20)
    ) {
        let bytes = parts.concat().into_bytes();
        for file in FILES {
            let _ = (file.parse)(&bytes, &mut Sample::default());
        }
    }

    #[test]
    fn memory_stat_comes_back(values in prop::array::uniform7(any::<Option<u64>>())) {
        let [anon, file, kernel, shmem, inactive, faults, major] = values;
        let text = render(&[("anon", anon), ("file", file), ("kernel", kernel), ("shmem", shmem),
            ("inactive_file", inactive), ("pgfault", faults), ("pgmajfault", major)]);
        prop_assert_eq!(memory_stat(text.as_bytes()), Ok(MemoryStat {
            anon_bytes: anon, file_bytes: file, kernel_bytes: kernel, shmem_bytes: shmem,
            inactive_file_bytes: inactive, faults, major_faults: major,
        }));
    }

    #[test]
    fn cpu_stat_and_events_come_back(values in prop::array::uniform4(any::<Option<u64>>())) {
        let [a, b, c, d] = values;
        let text = render(&[("usage_usec", a), ("nr_periods", b), ("nr_throttled", c),
            ("throttled_usec", d)]);
        prop_assert_eq!(cpu("cpu.stat", text.as_bytes()), Ok(Cpu {
            usage_us: a, periods: b, throttled_periods: c, throttled_us: d, ..Cpu::default() }));
        let text = render(&[("high", a), ("max", b), ("oom", c), ("oom_kill", d)]);
        prop_assert_eq!(memory_events(text.as_bytes()), Ok(MemoryEvents {
            high: a, max: b, oom: c, oom_kill: d }));
    }

    #[test]
    fn pressure_and_limits_come_back(some in any::<u64>(), full in any::<Option<u64>>()) {
        let averages = "avg10=1.00 avg60=0.10 avg300=0.00";
        let mut text = format!("some {averages} total={some}\n");
        if let Some(full) = full {
            text.push_str(&format!("full {averages} total={full}\n"));
        }
        prop_assert_eq!(pressure(text.as_bytes()), Ok(Pressure { some_us: Some(some), full_us: full }));
        prop_assert_eq!(memory_max(format!("{some}\n").as_bytes()), Ok(Some(some)));
        let max = cpu("cpu.max", format!("{some} 100000\n").as_bytes());
        let want = Cpu { quota_us: Some(some), period_us: Some(100_000), ..Cpu::default() };
        prop_assert_eq!(max, Ok(want));
    }
}
