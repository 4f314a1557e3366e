//! The flags of the collectors: `--collector.<name>` and `--no-collector.<name>`, as node_exporter
//! has them.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::metrics::catalog;
use crate::metrics::collector::{Collector, Collectors};

/// The collectors that are on. Made from the list of collectors, so that each has its flags and its
/// cost in the help text.
#[derive(Clone, Copy, Debug)]
pub struct CollectorArgs(pub Collectors);

fn on(collector: Collector) -> String {
    format!("collector.{}", collector.name())
}

fn off(collector: Collector) -> String {
    format!("no-collector.{}", collector.name())
}

fn variable(collector: Collector) -> String {
    format!("PODVITALS_COLLECTOR_{}", collector.name().to_uppercase())
}

fn flags(command: Command) -> Command {
    Collector::ALL.into_iter().fold(command, |command, collector| {
        let (on, off) = (on(collector), off(collector));
        let flag = Arg::new(on.clone())
            .long(on.clone())
            .env(variable(collector))
            .action(ArgAction::Set)
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_value(if collector.is_default() { "true" } else { "false" })
            .default_missing_value("true")
            .value_parser(BoolishValueParser::new())
            .hide_default_value(true)
            .hide_possible_values(true)
            .overrides_with(off.clone())
            .help_heading(
                "Collectors (all are on but probe_phases; --no-collector.<NAME> switches one off)",
            )
            .help(format!("{} Series: up to {}.", collector.help(), catalog::cost(collector)));
        let no_flag = Arg::new(off.clone())
            .long(off)
            .action(ArgAction::SetTrue)
            .overrides_with(on)
            .hide(true);
        command.arg(flag).arg(no_flag)
    })
}

impl Args for CollectorArgs {
    fn augment_args(command: Command) -> Command {
        flags(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        flags(command)
    }
}

impl FromArgMatches for CollectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_on = |collector: &Collector| {
            !matches.get_flag(&off(*collector))
                && matches
                    .get_one::<bool>(&on(*collector))
                    .copied()
                    .unwrap_or(collector.is_default())
        };
        let on = Collector::ALL.into_iter().filter(is_on);
        Ok(Self(on.fold(Collectors::NONE, Collectors::with)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Collectors {
        let command = flags(Command::new("test"));
        let matches = command.get_matches_from([&["test"], arguments].concat());
        CollectorArgs::from_arg_matches(&matches).unwrap().0
    }

    #[test]
    fn the_defaults_are_on_and_the_last_word_counts() {
        let all = Collectors::DEFAULT;
        assert_eq!(parsed(&[]), all);
        let without = all.without(Collector::Pressure).without(Collector::Cpu);
        assert_eq!(parsed(&["--no-collector.pressure", "--collector.cpu=false"]), without);
        assert_eq!(parsed(&["--no-collector.cpu", "--collector.cpu"]), all);
        assert_eq!(parsed(&["--collector.cpu", "--no-collector.cpu"]), all.without(Collector::Cpu));
        assert_eq!(parsed(&["--collector.probe_phases"]), Collectors::ALL);
    }

    #[test]
    fn the_help_says_what_each_costs() {
        let help = flags(Command::new("test")).render_long_help().to_string();
        for collector in Collector::ALL {
            assert!(help.contains(&format!("--collector.{}", collector.name())));
            assert!(help.contains(&variable(collector)));
            assert!(help.contains(&catalog::cost(collector)), "{help}");
        }
        assert_eq!(catalog::cost(Collector::Cpu), "5 a container, 1 a Pod");
    }
}
