//! A file system that refuses chmod, as some network file systems and FUSE do, in the way in which it shows: by the answer of the system
//! call. What a kernel for tests can mount does not refuse.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::{By, CASES, Case};

/// What is another thing where a file is written in place: links stay together, and writing takes setuid and setgid away.
const IN_PLACE: [&str; 2] = ["hard-link", "setuid-and-setgid"];

/// The cases whose end is the same.
pub fn cases(by: By) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| case.by.contains(&by) && !IN_PLACE.contains(&case.name))
}

/// Runs this in a thread that may not change modes, and neither may what it starts.
pub fn run<T: Send>(this: impl FnOnce() -> T + Send) -> T {
    #[cfg(target_arch = "x86_64")]
    let old = [libc::SYS_chmod];
    #[cfg(not(target_arch = "x86_64"))]
    let old = [];
    let calls = [libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2].into_iter().chain(old);
    let rules = calls.map(|call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            apply_filter(&filter).unwrap();
            this()
        });
        thread.join().unwrap()
    })
}
