//! Why a program could not be started, for steps and live processes alike.

use std::{ffi::OsString, io, path::PathBuf};

use arl_agent::message::{Variable, error::Kind};
use nix::errno::Errno;

/// What is said of a program that is not there.
pub const NOT_FOUND: &str = "not found in the container: the program is missing, or what starts it: the interpreter in a script's first line (lines that \
     end in CR LF hide it), or the loader of a program that was linked for another image, as one for glibc in Alpine";
/// So much of a program's name is repeated in what is said of it.
const NAME_MAX: usize = 256;

/// A program's name, as far as it is repeated.
pub fn named(program: &str) -> &str {
    &program[..program.floor_char_boundary(NAME_MAX)]
}

/// What is said of a program that is there and cannot be executed.
pub fn not_executable(program: &str, env: &[Variable], error: &io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES) => match found(program, env).map(|path| path.metadata()) {
            Some(Ok(found)) if found.is_dir() => "; it is a directory",
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                "; a directory of its path may not be searched by the user that the command runs as"
            }
            _ => "; if it is a script, chmod +x it, or run it by its interpreter, such as sh",
        },
        Some(Errno::ENOEXEC) => "; it is a script without a #! line, or for another kind of machine",
        _ => "",
    };
    format!("cannot be executed: {error}{advice}")
}

/// What the error of a start of `program` means; of one that no system call gave: that the request makes no sense.
pub fn kind(program: &str, env: &[Variable], error: &io::Error) -> Kind {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => Kind::NotFound,
        // The C library says so too where a directory of PATH cannot be entered, and no other has the program.
        Some(Errno::EACCES) if found(program, env).is_none() => Kind::NotFound,
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOEXEC | Errno::EISDIR | Errno::ELOOP) => Kind::NotExecutable,
        Some(Errno::E2BIG) => Kind::TooLarge,
        Some(_) => Kind::Other,
        None => Kind::Invalid,
    }
}

/// What would be started, as far as that can be seen.
fn found(program: &str, env: &[Variable]) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(program.into());
    }
    let own = env.iter().rfind(|variable| variable.name == "PATH").map(|path| OsString::from(&path.value));
    // As the C library has it where there is none.
    let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| "/usr/local/bin:/bin:/usr/bin".into());
    let named: Vec<_> = std::env::split_paths(&path).map(|directory| directory.join(program)).collect();
    let present = || named.iter().filter(|path| path.exists());
    // The search goes on past a directory of that name.
    present().find(|path| !path.is_dir()).or_else(|| present().next()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_program_helps_and_is_short() {
        let said = |errno: Errno| not_executable("p", &[], &io::Error::from_raw_os_error(errno as i32));
        assert!(said(Errno::EACCES).contains("chmod +x") && said(Errno::ENOEXEC).contains("#! line"));
        assert!(said(Errno::EISDIR).ends_with(')'));
        let denied = not_executable("/usr", &[], &io::Error::from_raw_os_error(Errno::EACCES as i32));
        assert!(denied.ends_with("; it is a directory"), "{denied}");
        assert_eq!(named(&"\u{e9}".repeat(100_000)).len(), NAME_MAX);
    }

    #[test]
    fn a_directory_of_its_name_is_no_program() {
        let path = |value: &str| vec![Variable { name: "PATH".into(), value: value.into() }];
        let base = std::env::temp_dir().join(format!("arl-refusal-{}", std::process::id()));
        let (directory, file) = (base.join("a/tool"), base.join("b/tool"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::create_dir_all(base.join("b")).unwrap();
        std::fs::write(&file, "").unwrap();
        let (a, b) = (base.join("a"), base.join("b"));
        let both = found("tool", &path(&format!("{}:{}", a.display(), b.display())));
        let one = found("tool", &path(&a.display().to_string()));
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!((both, one), (Some(file), Some(directory)));
    }

    #[test]
    fn a_program_that_no_directory_has_is_not_found_whatever_the_system_says() {
        let path = |value: &str| vec![Variable { name: "PATH".into(), value: value.into() }];
        let kind = |program: &str, env: &[Variable], errno: Errno| {
            kind(program, env, &io::Error::from_raw_os_error(errno as i32))
        };
        let refused = Errno::EACCES;
        assert_eq!(kind("no-such-program", &[], refused), Kind::NotFound);
        assert_eq!(kind("no-such-program", &path("/root:/usr/bin"), refused), Kind::NotFound);
        assert_eq!(kind("passwd", &path("/usr/bin:/etc"), refused), Kind::NotExecutable);
        assert_eq!(kind("./no-such-program", &[], refused), Kind::NotExecutable);
        assert_eq!(kind("/bin/sh", &path("/nowhere"), refused), Kind::NotExecutable);
        for (errno, expected) in [
            (Errno::ENOENT, Kind::NotFound),
            (Errno::ENAMETOOLONG, Kind::NotFound),
            (Errno::ELOOP, Kind::NotExecutable),
            (Errno::E2BIG, Kind::TooLarge),
            (Errno::ENOMEM, Kind::Other),
        ] {
            assert_eq!(kind("p", &[], errno), expected, "{errno}");
        }
    }
}
