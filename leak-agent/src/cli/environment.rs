//! The environment: a variable that looks like ours and is not would be a wish that silently is not granted.

use super::error::CliError;
use crate::output::alert::HOOK_PREFIX;
use std::collections::BTreeSet;
use std::ffi::OsString;

const PREFIX: &str = "LEAK_AGENT_";
/// Names that are this alike are offered as what may have been meant.
const ALIKE: f64 = 0.8;

/// Refuses variables that begin with `LEAK_AGENT_` and are the twin of no flag.
///
/// # Errors
///
/// The first such variable, with the nearest known name.
pub(super) fn check(
    command: &clap::Command,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), CliError> {
    let known = known(command);
    for (name, _) in variables {
        let name = name.to_string_lossy();
        // A hook may run leak-agent.
        let ours = name.starts_with(PREFIX) && !name.starts_with(HOOK_PREFIX);
        if ours && !known.contains(name.as_ref()) && !is_service_link(&name) {
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, &name), known))
                .filter(|(alike, _)| *alike > ALIKE)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match nearest {
                Some((_, nearest)) => format!("did you mean {nearest}?"),
                None => "leak-agent help run lists the variables next to their flags".to_owned(),
            };
            return Err(CliError::usage(format!("unknown environment variable {name}")).hint(hint));
        }
    }
    Ok(())
}

/// The twins of all flags of all subcommands.
fn known(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    let mut names: BTreeSet<String> = own.map(|name| name.to_string_lossy().into_owned()).collect();
    names.extend(command.get_subcommands().flat_map(known));
    names
}

/// Kubernetes puts such variables into every pod of a namespace with a service called leak-agent or leak-agent-…:
/// `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_HTTP`, `…_PORT`, `…_PORT_9750_TCP`, `…_PORT_9750_TCP_ADDR`.
fn is_service_link(name: &str) -> bool {
    let rest = name.strip_prefix("LEAK_AGENT").unwrap_or(name);
    let port = rest.split_once("_PORT_").is_some_and(|(_, number)| {
        number.split_once('_').is_some_and(|(digits, protocol)| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && ["TCP", "UDP", "SCTP"]
                    .iter()
                    .any(|known| protocol.starts_with(known))
        })
    });
    rest.ends_with("_SERVICE_HOST") || rest.ends_with("_PORT") || rest.contains("_SERVICE_PORT_") || port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::CommandFactory as _;

    fn check_name(name: &str) -> Result<(), CliError> {
        check(
            &Cli::command(),
            [(OsString::from(name), OsString::new())].into_iter(),
        )
    }

    /// A mistyped variable is an error that names it and what was meant; those of others are none of ours.
    #[test]
    fn unknown_variable_is_named_with_its_nearest() {
        let error = check_name("LEAK_AGENT_LISTN").unwrap_err().to_string();
        assert!(
            error.contains("LEAK_AGENT_LISTN") && error.contains("LEAK_AGENT_LISTEN?"),
            "{error}"
        );
        assert!(check_name("LEAK_AGENT_").is_err());
        for name in [
            "PATH",
            "LEAK_AGENT",
            "LEAK_AGENT_LISTEN",
            "LEAK_AGENT_NO_BPF",
            "LEAK_AGENT_FOR",
            "LEAK_AGENT_FINDING_PID",
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    /// The variables of a Kubernetes service that is called like the agent are let through.
    #[test]
    fn service_links_are_not_flags() {
        for name in [
            "LEAK_AGENT_SERVICE_HOST",
            "LEAK_AGENT_SERVICE_PORT",
            "LEAK_AGENT_SERVICE_PORT_METRICS",
            "LEAK_AGENT_PORT",
            "LEAK_AGENT_PORT_9750_TCP",
            "LEAK_AGENT_PORT_9750_TCP_ADDR",
            "LEAK_AGENT_METRICS_SERVICE_HOST",
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    /// What a hook finds in its environment is the twin of no flag.
    #[test]
    fn variables_of_hooks_are_no_flags() {
        assert!(
            known(&Cli::command())
                .iter()
                .all(|name| !name.starts_with(HOOK_PREFIX))
        );
    }

    /// Every flag but help and version has a twin, named after it.
    #[test]
    fn every_flag_has_a_twin() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                if let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) {
                    let twin = format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
                    assert_eq!(
                        arg.get_env().and_then(|env| env.to_str()),
                        Some(twin.as_str()),
                        "--{long}"
                    );
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
