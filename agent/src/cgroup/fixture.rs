//! Fixture: the files of a container's cgroup with all controllers, and their sample.

use super::files::{self, File};
use super::sample::Sample;

/// Name and text of each file.
pub const FILES: &[(&str, &str)] = &[
    ("cpu.max", "50000 100000\n"),
    ("cpu.stat", "usage_usec 12345678\nnr_periods 100\nnr_throttled 7\nthrottled_usec 1500\n"),
    ("memory.current", "104857600\n"),
    ("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n"),
    ("memory.max", "134217728\n"),
    ("memory.peak", "115343360\n"),
    (
        "memory.stat",
        "anon 52428800\nfile 41943040\nkernel 2097152\nshmem 1048576\ninactive_file 10485760\n\
         pgfault 5003\npgmajfault 3\n",
    ),
    ("memory.swap.current", "0\n"),
    ("memory.swap.max", "0\n"),
    ("cpu.pressure", "some avg10=0.00 total=250000\nfull avg10=0.00 total=6\n"),
    ("memory.pressure", "some avg10=0.00 total=30\nfull avg10=0.00 total=15\n"),
    ("io.pressure", "some avg10=0.00 total=1000000\nfull avg10=0.00 total=500000\n"),
    ("pids.current", "12\n"),
    ("pids.max", "4096\n"),
];

/// Sample of all files.
pub fn sample() -> Sample {
    sample_of(|_| true)
}

/// Sample of some files.
pub fn sample_of(is_read: impl Fn(&File) -> bool) -> Sample {
    let mut sample = Sample::default();
    for file in files::FILES.iter().filter(|file| is_read(file)) {
        let (_, text) = FILES.iter().find(|(name, _)| *name == file.name).unwrap();
        (file.parse)(text.as_bytes(), &mut sample).unwrap();
    }
    sample.memory.set_working_set();
    sample
}
