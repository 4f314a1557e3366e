use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;
/// Elements of the lines in a made-up kernel: the five of `state`, then the two of `events`.
const TRUTH: [u32; LINES] = [5, 9, 1, 12, 3, 0, 7];
const STATES: u32 = 20;
const EVENTS: u32 = 10;

/// Arrays of a made-up cgroup.
fn arrays(state: &[i64], events: &[u64]) -> CgroupStats {
    let mut stats = CgroupStats { has: HAS_STATISTICS, ..CgroupStats::NONE };
    stats.state[..state.len()].copy_from_slice(state);
    stats.vm_events[..events.len()].copy_from_slice(events);
    stats
}

/// File `memory.stat` of the made-up kernel.
fn file(stats: &CgroupStats) -> MemoryStat {
    let at = |line: usize| value(stats, line, TRUTH[line], PAGE);
    MemoryStat {
        anon_bytes: at(0),
        file_bytes: at(1),
        kernel_bytes: at(2),
        shmem_bytes: at(3),
        inactive_file_bytes: at(4),
        faults: at(5),
        major_faults: at(6),
    }
}

fn distinct() -> CgroupStats {
    let state: Vec<i64> = (0..i64::from(STATES)).map(|n| 100 + n).collect();
    let events: Vec<u64> = (0..u64::from(EVENTS)).map(|n| 7_000 + n).collect();
    arrays(&state, &events)
}

fn learn(elements: &mut Elements, stats: &CgroupStats) {
    elements.learn(stats, &file(stats), &file(stats), PAGE);
}

#[test]
fn two_comparisons_of_a_busy_cgroup_suffice() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let busy = distinct();
    assert_eq!(elements.read(&busy, PAGE), None, "nothing is known yet");
    learn(&mut elements, &busy);
    assert_eq!(elements.read(&busy, PAGE), None, "once may be a coincidence");
    learn(&mut elements, &busy);
    assert!(elements.settled());
    assert_eq!(elements.read(&busy, PAGE), Some(file(&busy)));
}

#[test]
fn where_all_that_is_left_agrees_there_is_an_answer() {
    // Shared memory is 0 everywhere, and so is much else.
    let mut elements = Elements::new(STATES, EVENTS, None);
    let mut plain = distinct();
    for element in [12, 13, 14] {
        plain.state[element] = 0;
    }
    learn(&mut elements, &plain);
    learn(&mut elements, &plain);
    assert!(!elements.settled());
    assert_eq!(elements.read(&plain, PAGE), Some(file(&plain)));
    // Then a cgroup uses some of what was 0.
    let mut other = distinct();
    other.state[13] = 0;
    assert_eq!(elements.read(&other, PAGE), None, "its file is read");
    learn(&mut elements, &other);
    learn(&mut elements, &other);
    assert!(elements.settled());
    assert_eq!(elements.read(&other, PAGE), Some(file(&other)));
}

#[test]
fn a_line_that_changed_meanwhile_proves_nothing() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let busy = distinct();
    let before = MemoryStat { anon_bytes: Some(1), ..file(&busy) };
    for _ in 0..3 {
        elements.learn(&busy, &before, &file(&busy), PAGE);
    }
    assert_eq!(elements.lines[0].left.count_ones(), STATES);
    assert_eq!(elements.lines[1].left, 1 << TRUTH[1]);
}

#[test]
fn one_coincidence_does_not_refute_the_truth() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let busy = distinct();
    learn(&mut elements, &busy);
    // The value changed and changed back around the reading.
    let mut moved = busy;
    moved.state[TRUTH[0] as usize] += 1;
    elements.learn(&moved, &file(&busy), &file(&busy), PAGE);
    learn(&mut elements, &busy);
    learn(&mut elements, &busy);
    assert!(elements.settled());
    assert_eq!(elements.read(&busy, PAGE), Some(file(&busy)));
}

#[test]
fn others_in_between_do_not_hide_a_difference() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let [mut busy, mut quiet] = [distinct(), arrays(&[0; STATES as usize], &[0; EVENTS as usize])];
    (busy.cgroup_id, quiet.cgroup_id) = (1, 2);
    for _ in 0..2 {
        learn(&mut elements, &busy);
        learn(&mut elements, &quiet);
    }
    assert!(elements.settled());
}

#[test]
fn a_difference_in_two_cgroups_may_be_two_coincidences() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let quiet = arrays(&[0; STATES as usize], &[0; EVENTS as usize]);
    for cgroup_id in 1..200 {
        let mut moved = CgroupStats { cgroup_id, ..quiet };
        moved.state[TRUTH[3] as usize] = 1;
        elements.learn(&moved, &file(&quiet), &file(&quiet), PAGE);
    }
    assert_ne!(elements.lines[3].left & 1 << TRUTH[3], 0);
    assert!(elements.doubts.len() <= DOUBTS_MAX);
}

#[test]
fn arrays_that_contradict_the_files_are_given_up() {
    let mut elements = Elements::new(STATES, EVENTS, None);
    let busy = distinct();
    let wrong = MemoryStat { file_bytes: Some(PAGE * 999_999), ..file(&busy) };
    for _ in 0..2 * CONTRADICTIONS_MAX {
        assert!(elements.usable());
        elements.learn(&busy, &wrong, &wrong, PAGE);
    }
    assert!(!elements.usable());
    assert_eq!(elements.read(&busy, PAGE), None);
}

#[test]
fn what_the_types_tell_needs_no_learning_but_can_be_refuted() {
    let state = [TRUTH[0], TRUTH[1], TRUTH[2], TRUTH[3], TRUTH[4]];
    let mut elements = Elements::new(STATES, EVENTS, Some(state));
    let mut quiet = distinct();
    quiet.vm_events = [0; VM_EVENTS_MAX];
    assert_eq!(elements.read(&quiet, PAGE), Some(file(&quiet)), "events agree in being 0");
    learn(&mut elements, &distinct());
    learn(&mut elements, &distinct());
    assert!(elements.settled());
    assert!(!Elements::new(STATES, EVENTS, Some([STATES, 1, 2, 3, 4])).usable(), "not in it");
}

#[test]
fn arrays_of_unknown_or_too_great_length_are_not_used() {
    assert!(!Elements::none().usable());
    assert!(!Elements::new(65, 20, None).usable());
    assert!(!Elements::new(38, 33, None).usable());
    assert!(Elements::new(64, 32, None).usable());
}

#[test]
fn a_cgroup_without_memory_has_no_answer() {
    let elements = Elements::new(STATES, EVENTS, None);
    assert_eq!(elements.read(&CgroupStats::NONE, PAGE), None);
}

proptest! {
    /// Property: for any values of the cgroups, an answer is true as soon as there is one.
    #[test]
    fn an_answer_is_the_truth(
        cgroups in prop::collection::vec(
            (prop::collection::vec(-2_i64..4, STATES as usize),
             prop::collection::vec(0_u64..3, EVENTS as usize)),
            1..12,
        ),
    ) {
        let mut elements = Elements::new(STATES, EVENTS, None);
        for (state, events) in &cgroups {
            let stats = arrays(state, events);
            for _ in 0..2 {
                if let Some(answer) = elements.read(&stats, PAGE) {
                    prop_assert_eq!(answer, file(&stats));
                }
                learn(&mut elements, &stats);
            }
        }
        prop_assert!(elements.usable());
    }
}
