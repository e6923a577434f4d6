//! Steps as argument lists for pods/exec.
//!
//! Whatever a user wrote travels as an argument and is never part of a script's text, so nothing in it can be read as shell.

use arl_crds::Step;

/// `$1` the working directory or empty, `$2` the number of variables, then the variables as NAME=VALUE, then the command.
const COMMAND: &str = r#"[ -z "$1" ] || cd -- "$1" || exit 126
n=$2; shift 2
while [ "$n" -gt 0 ]; do export "$1"; shift; n=$((n-1)); done
exec "$@""#;

/// `$1` the working directory or empty, `$2` the path, `$3` the size. The content comes on standard input, which cannot be
/// closed by every server, so exactly `$3` bytes are read. The copy made first gives the new file the old one's mode.
const FILE_PATCH: &str = r#"umask 022
fail() { echo "$1" >&2; exit 1; }
[ -z "$1" ] || cd -- "$1" || fail "workDir $1 cannot be entered"
case $2 in /*) p=$2 ;; *) p=./$2 ;; esac
[ ! -L "$p" ] || p=$(readlink -f "$p") || fail "$2 is a link to nowhere"
[ ! -d "$p" ] || fail "$2 is a directory; name a file in it"
d=${p%/*}; [ -n "$d" ] || d=/
mkdir -p "$d" || fail "the directory of $2 cannot be made"
t=$d/.arl-$$.tmp
trap 'rm -f "$t"' EXIT
if [ -e "$p" ]; then cp -p "$p" "$t" || fail "$2 cannot be copied to keep its mode"; fi
head -c "$3" >"$t" || fail "the content cannot be written beside $2"
[ "$(wc -c <"$t")" -eq "$3" ] || fail "$2 was not written whole: the disk may be full"
mv -f "$t" "$p" || fail "$2 cannot be replaced"
trap - EXIT"#;

/// What pods/exec is asked to start.
pub(super) struct Call {
    /// The program and its arguments.
    pub(super) arguments: Vec<String>,
    /// Where the program is the image's `sh`, and not one that the user named: what it is needed for, and what helps where
    /// there is none.
    pub(super) shell: Option<&'static str>,
}

fn script(text: &str, shell: &'static str, arguments: impl IntoIterator<Item = String>) -> Call {
    let arguments = ["sh", "-c", text, "arl"].into_iter().map(str::to_owned).chain(arguments).collect();
    Call { arguments, shell: Some(shell) }
}

/// What runs a Command step: the command itself where it needs neither variables nor a directory, so that it works in images
/// without a shell.
pub(super) fn command(step: &Step, command: &[String]) -> Call {
    let directory = step.work_dir.clone().unwrap_or_default();
    if directory.is_empty() && step.env.is_empty() {
        return Call { arguments: command.to_vec(), shell: None };
    }
    let variables = step.env.iter().map(|(name, value)| format!("{name}={value}"));
    let arguments = [directory, step.env.len().to_string()].into_iter().chain(variables).chain(command.iter().cloned());
    script(COMMAND, "env and workDir; leave both out, or use a pool whose image has a shell", arguments)
}

/// What writes a file of `size` bytes from standard input.
pub(super) fn file_patch(step: &Step, path: &str, size: usize) -> Call {
    let arguments = [step.work_dir.clone().unwrap_or_default(), path.to_owned(), size.to_string()];
    script(FILE_PATCH, "FilePatch; use a pool whose image has sh, head, wc and mv", arguments)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::fs::PermissionsExt,
        process::{Command, Output, Stdio},
    };

    use serde_json::json;

    use super::*;

    fn step(value: serde_json::Value) -> Step {
        serde_json::from_value(value).unwrap()
    }

    fn run(call: &Call, input: &str) -> Output {
        let arguments = &call.arguments;
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.as_mut().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[test]
    fn a_plain_command_needs_no_shell() {
        let plain = step(json!({"name": "a", "type": "Command", "command": ["prog", "$HOME", ""]}));
        let call = command(&plain, plain.command.as_ref().unwrap());
        assert_eq!(call.arguments, ["prog", "$HOME", ""]);
        assert_eq!(call.shell, None);
    }

    #[test]
    fn nothing_a_user_writes_is_read_as_shell() {
        let nasty = ["a b", "", "$HOME", "`id`", "x=y", "line\nline", "'\"", "-n", "*", "\u{1f980}"];
        let words: Vec<String> = ["printf", "<%s>"].into_iter().chain(nasty).map(str::to_owned).collect();
        let with_env = step(
            json!({"name": "a", "type": "Command", "command": words, "workDir": "/", "env": {"V": "a b\n$(id)='\""}}),
        );
        let output = run(&command(&with_env, &words), "");
        let expected = format!("<{}>", nasty.join("><"));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        let show: Vec<String> = ["printenv", "V"].map(str::to_owned).to_vec();
        assert_eq!(String::from_utf8(run(&command(&with_env, &show), "").stdout).unwrap(), "a b\n$(id)='\"\n");
    }

    #[test]
    fn a_bad_directory_is_126_and_a_missing_program_127() {
        let code = |step: &Step| run(&command(step, step.command.as_ref().unwrap()), "").status.code();
        let bad_directory = step(json!({"name": "a", "type": "Command", "command": ["true"], "workDir": "/no/such"}));
        let missing = step(json!({"name": "a", "type": "Command", "command": ["no-such-program"], "workDir": "/"}));
        assert_eq!((code(&bad_directory), code(&missing)), (Some(126), Some(127)));
    }

    #[test]
    fn files_are_written_whole_and_keep_their_mode() {
        let dir = std::env::temp_dir().join(format!("arl-script-{}", std::process::id()));
        let base = dir.to_str().unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("taken")).unwrap();
        let write = |path: &str, content: &str| {
            let patch =
                step(json!({"name": "a", "type": "FilePatch", "path": path, "content": content, "workDir": base}));
            run(&file_patch(&patch, path, content.len()), content)
        };
        let mode = |path: &str| std::fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;

        assert!(write("deep/er/$x 'y'.txt", "caf\u{e9}\nno newline at the end").status.success());
        assert_eq!(
            std::fs::read_to_string(dir.join("deep/er/$x 'y'.txt")).unwrap(),
            "caf\u{e9}\nno newline at the end"
        );
        assert_eq!(mode("deep/er/$x 'y'.txt"), 0o644);

        std::fs::write(dir.join("tool"), "a longer old content").unwrap();
        std::fs::set_permissions(dir.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(write("tool", "new").status.success());
        assert_eq!((std::fs::read_to_string(dir.join("tool")).unwrap().as_str(), mode("tool")), ("new", 0o755));

        assert!(write("-dash", "").status.success());
        assert_eq!(std::fs::read_to_string(dir.join("-dash")).unwrap(), "");

        let refused = write("taken", "x");
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8(refused.stderr).unwrap().contains("taken is a directory"));
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|n| n.to_str().unwrap().starts_with(".arl-")), "{left:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
