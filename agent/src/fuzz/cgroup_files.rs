//! Files of cgroups.

use std::fmt::Write as _;

use super::seeds::texts;
use crate::cgroup::files::{self, FILES};
use crate::cgroup::sample::{MemoryEvents, MemoryStat, Pressure, Sample};

/// Length limit of an error's message, in bytes: 32 characters of the file, escaped.
const MESSAGE_MAX: usize = 512;

/// The input as each of the files.
pub(super) fn run(input: &[u8]) -> bool {
    for file in FILES {
        let parse = || {
            let mut sample = Sample::default();
            (file.parse)(input, &mut sample).map(|()| sample)
        };
        let (one, other) = (parse(), parse());
        assert_eq!(one, other, "{}: the same bytes, another sample", file.name);
        if let Err(error) = one {
            let message = error.to_string();
            assert!(message.len() <= MESSAGE_MAX && !message.contains('\n'), "{message}");
        }
    }
    let stat = files::memory_stat(input);
    let events = files::memory_events(input);
    let pressure = files::pressure(input);
    // Lines that a later kernel may add change nothing.
    let more = [input, b"\nnot_yet_known 7 8\n"].concat();
    assert_eq!(files::memory_stat(&more), stat);
    assert_eq!(files::memory_events(&more), events);
    assert_eq!(files::pressure(&more), pressure);
    // What was understood is understood again when it is written as the kernel writes it.
    if let Ok(stat) = stat {
        assert_eq!(files::memory_stat(stat_lines(&stat).as_bytes()), Ok(stat));
    }
    if let Ok(events) = events {
        assert_eq!(files::memory_events(event_lines(&events).as_bytes()), Ok(events));
    }
    if let Ok(pressure) = pressure {
        assert_eq!(files::pressure(pressure_lines(&pressure).as_bytes()), Ok(pressure));
    }
    let all = [
        stat.is_ok_and(|it| it != MemoryStat::default()),
        events.is_ok_and(|it| it != MemoryEvents::default()),
        pressure.is_ok_and(|it| it != Pressure::default()),
        number(input),
    ];
    all.contains(&true)
}

/// Whether the input is one number, which is then what it says.
fn number(input: &[u8]) -> bool {
    let Some(file) = FILES.iter().find(|file| file.name == "pids.current") else { return false };
    let mut sample = Sample::default();
    if (file.parse)(input, &mut sample).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(input.trim_ascii()).into_owned();
    let Some(tasks) = sample.tasks else {
        assert!(matches!(text.as_str(), "" | "max"), "{text:?} is no number and not `max`");
        return false;
    };
    let digits = text.trim_start_matches('0');
    assert_eq!(tasks.to_string(), if digits.is_empty() { "0" } else { digits });
    true
}

fn lines(values: &[(&str, Option<u64>)]) -> String {
    values.iter().fold(String::new(), |mut text, (key, value)| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} {value}");
        }
        text
    })
}

fn stat_lines(stat: &MemoryStat) -> String {
    lines(&[
        ("anon", stat.anon_bytes),
        ("file", stat.file_bytes),
        ("kernel", stat.kernel_bytes),
        ("shmem", stat.shmem_bytes),
        ("inactive_file", stat.inactive_file_bytes),
        ("pgfault", stat.faults),
        ("pgmajfault", stat.major_faults),
    ])
}

fn event_lines(events: &MemoryEvents) -> String {
    lines(&[
        ("low", Some(0)),
        ("high", events.high),
        ("max", events.max),
        ("oom", events.oom),
        ("oom_kill", events.oom_kill),
    ])
}

fn pressure_lines(pressure: &Pressure) -> String {
    let average = "avg10=0.00 avg60=0.00 avg300=0.00 total=";
    let [some, full] = [("some", pressure.some_us), ("full", pressure.full_us)]
        .map(|(kind, total)| total.map(|total| format!("{kind} {average}{total}\n")));
    [some, full].into_iter().flatten().collect()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "anon 4096\nfile 8192\nkernel 16384\nshmem 0\ninactive_file 4096\npgfault 12\npgmajfault 3\n",
        "low 0\nhigh 1\nmax 18446744073709551615\noom 2\noom_kill 1\noom_group_kill 0\n",
        "some avg10=0.00 avg60=0.12 avg300=0.05 total=15\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnr_periods 5\nnr_throttled 1\nthrottled_usec 77\nhigh 0\n",
        "50000 100000\nanon 1\n",
        "42\n",
    ])
}
