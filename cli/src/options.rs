//! Flags that several verbs have.

use std::time::Duration;

use arl_client::Command;
use arl_crds::duration;
use clap::Args;

/// How a command is run.
#[derive(Args, Clone, Debug)]
pub struct Process {
    /// Add a variable to the container's own; may be repeated.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Run it in this directory; relative: below the container's working directory.
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<String>,
    /// Run it as this user, a name or uid[:gid]; needs a container that runs as root.
    #[arg(short, long)]
    pub user: Option<String>,
    /// End it, and all that it started, after this time, such as 90s.
    #[arg(long, value_parser = positive)]
    pub timeout: Option<Duration>,
}

impl Process {
    /// This command, run so.
    pub fn of(&self, argv: &[String]) -> Command {
        let mut command = Command::new(argv);
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        if let Some(directory) = &self.workdir {
            command = command.cwd(directory);
        }
        if let Some(user) = &self.user {
            command = command.user(user);
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        command
    }
}

/// A variable as the command line has it.
pub fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// A time in which something can be done.
fn positive(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("it is no time at all; leave it out for as long as it takes".to_owned()),
        time => Ok(time),
    }
}

/// The id of a run.
pub fn run_id(text: &str) -> Result<String, String> {
    arl_client::check_run_id(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// What chooses objects: nothing would choose all of them.
pub fn chosen(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_at_all_is_refused() {
        assert_eq!(positive("1ns"), Ok(Duration::from_nanos(1)));
        assert!(["0", "0s", "0h0ms"].iter().all(|text| positive(text).unwrap_err().contains("leave it out")));
        assert!(positive("5").unwrap_err().contains("is not a duration"));
    }

    #[test]
    fn a_variable_has_a_name_and_any_value() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("A").is_err() && variable("=b").is_err());
    }
}
