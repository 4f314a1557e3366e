//! What the programs say about their decisions, as lines of the log (feature `kernel-log`).
//!
//! The programs write into a ring of their own (`aya-log`, map `AYA_LOGS`), which is read when records
//! are. Without the feature there is nothing of it, here and in the objects.

/// Target of these lines, for `--log.level`.
#[cfg(feature = "kernel-log")]
const TARGET: &str = "kernel";

/// Reading end of an object's lines.
#[derive(Default)]
pub(super) struct KernelLog {
    #[cfg(feature = "kernel-log")]
    logger: Option<aya_log::EbpfLogger<on::Bridge>>,
}

#[cfg(not(feature = "kernel-log"))]
impl KernelLog {
    /// Tells the programs which lines are wanted: none.
    pub(super) const fn prepare(_: &mut aya::EbpfLoader<'_>) {}

    /// The lines of an object that has none.
    pub(super) const fn of(_: &mut aya::Ebpf) -> Self {
        Self {}
    }

    /// Hands on no lines.
    pub(super) const fn drain(&mut self) {}
}

#[cfg(feature = "kernel-log")]
mod on {
    use aya::{Ebpf, EbpfLoader};
    use aya_log::EbpfLogger;
    use log::{Level, Log, Metadata, Record};

    use super::{KernelLog, TARGET};

    /// Levels of `aya_log_common::Level`, as bytes: none, debug, trace.
    static LEVELS: [u8; 3] = [0, 4, 5];

    impl KernelLog {
        /// Tells the programs which lines are wanted. The verifier drops the others as dead code.
        pub(in crate::bpf) fn prepare(loader: &mut EbpfLoader<'_>) {
            let [none, debug, trace] = &LEVELS;
            let level = if tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
                trace
            } else if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
                debug
            } else {
                none
            };
            loader.override_global(aya_log::LEVEL, level, false);
        }

        /// The lines of an object.
        pub(in crate::bpf) fn of(ebpf: &mut Ebpf) -> Self {
            let logger = EbpfLogger::init_with_logger(ebpf, Bridge);
            if let Err(error) = &logger {
                tracing::warn!(
                    %error,
                    "the programs write no log: build them with `cargo xtask build --kernel-log`"
                );
            }
            Self { logger: logger.ok() }
        }

        /// Hands on the lines that are there.
        pub(in crate::bpf) fn drain(&mut self) {
            if let Some(logger) = &mut self.logger {
                logger.flush();
            }
        }
    }

    /// The way from the crate `log`, which aya-log writes to, into our log.
    pub(in crate::bpf) struct Bridge;

    impl Log for Bridge {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let program = record.module_path().unwrap_or_default();
            if record.level() == Level::Trace {
                tracing::trace!(target: TARGET, program, "{}", record.args());
            } else {
                tracing::debug!(target: TARGET, program, "{}", record.args());
            }
        }

        fn flush(&self) {}
    }
}
