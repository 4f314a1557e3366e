//! Program `podvitals`: the command line of the library `agent`.

use std::process::ExitCode;

use agent::cli::{self, Command, default_agent_args};

fn main() -> ExitCode {
    // Before anything else is read, and before there is another thread.
    if let Err(error) = agent::kernel::capabilities::forbid_new_privileges() {
        eprintln!("podvitals: privileges could be gained: {error}");
    }
    let command = cli::parse().command.unwrap_or_else(|| Command::Agent(default_agent_args()));
    let result = match command {
        Command::Agent(args) => agent::run::main(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => agent::check::main(&args),
        Command::Demo(args) => agent::demo::run(args).map(|()| ExitCode::SUCCESS),
        Command::DemoWork(args) => agent::demo::run_work(args).map(|()| ExitCode::SUCCESS),
        Command::Catalogue(args) => {
            agent::output::print(&agent::catalogue::text(args.json)).map(|()| ExitCode::SUCCESS)
        }
    };
    let status = result.unwrap_or_else(|error| {
        agent::log::say(&format!("podvitals: {error:#}"));
        ExitCode::FAILURE
    });
    agent::log::finish();
    status
}
