//! The scenarios. Each makes a Pod of its own name, so that its series are its own.

mod beside;
mod common;
mod figures;
mod host;
mod kernel;
mod kill;
mod kubelet;
mod names;
mod oom;
mod places;
mod privileges;
mod probes;
mod restart;
mod session;
mod share;
mod shared;
mod shutdown;
mod signal;
mod snapshot;
mod unanswered;

pub(crate) use self::common::{Case, loses_nothing};
pub(crate) use self::shutdown::SHAPES;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
        // The longest first: it waits most of the time.
        kubelet::CASES,
        shutdown::CASES,
        kill::CASES,
        signal::CASES,
        session::CASES,
        restart::CASES,
        oom::CASES,
        figures::CASES,
        names::CASES,
        places::CASES,
        host::CASES,
        privileges::CASES,
        probes::CASES,
        unanswered::CASES,
        shared::CASES,
        beside::CASES,
        snapshot::CASES,
        kernel::CASES,
        share::CASES,
        restart::LAST_CASES,
    ]
    .into_iter()
    .flatten()
    .map(|make| make())
    .collect()
}
