//! The table's directories on this machine, in a mount namespace of their own.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{By, CASES, Case, USER};

const MOUNTS: &str = "mkdir -p mounted parts readonly small && chmod 755 mounted && touch mounted/f \
    && echo a longer old content >parts/f && chmod 666 parts/f && mount --bind parts/f mounted/f \
    && mount -t tmpfs none readonly && printf old >readonly/f && mount -o remount,ro readonly \
    && mount -t tmpfs -o size=64k,mode=777 none small && echo ready && exec cat >/dev/null";

pub struct Scene {
    pub directory: PathBuf,
    namespace: Child,
}

impl Scene {
    /// Everything as it is before the cases; `None` for a user who may not mount.
    pub fn new(name: &str) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("arl-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", MOUNTS]).current_dir(&directory);
        let mut namespace = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(namespace.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let scene = Self { directory, namespace };
        if ready != "ready\n" {
            eprintln!("skipped: only root may mount what the cases need");
            return None;
        }
        for case in CASES {
            let directory = scene.place(case);
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
            let said = scene.shell(case, By::Root, case.before);
            assert_eq!(said, "", "before {}", case.name);
        }
        Some(scene)
    }

    /// The directory of a case.
    pub fn place(&self, case: &Case) -> PathBuf {
        self.directory.join(case.name)
    }

    /// A program among the mounts.
    pub fn command(&self, by: By, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.namespace.id()));
        if by == By::User {
            command.args([format!("--setuid={USER}"), format!("--setgid={USER}")]);
        }
        command.args(["--", program]);
        command
    }

    /// Runs a script in the directory of a case and returns what it prints.
    fn shell(&self, case: &Case, by: By, script: &str) -> String {
        let mut shell = self.command(by, "sh");
        shell.args(["-c", "cd -- \"$1\" && umask 022 && eval \"$2\"", "sh"]);
        let output = shell.arg(self.place(case)).arg(script).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// What is wrong with what came of a case.
    pub fn judge(&self, case: &Case, by: By, outcome: &Result<(), String>) -> Option<String> {
        let left = self.shell(case, by, case.after);
        let is_right = case.says(outcome) && left == case.shows;
        (!is_right).then(|| format!("{} by {by:?}: {outcome:?}, and then {left:?}", case.name))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.namespace.stdin.take());
        let _ = self.namespace.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
