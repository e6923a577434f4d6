//! The one rule of FilePatch as a table: for the agent, for the script of plain exec, and for pods of both modes.
#![allow(dead_code, missing_docs)]

pub mod no_chmod;
pub mod scene;

/// What every case writes.
pub const CONTENT: &str = "new\n";
/// The user of a container that is not root's, and its group.
pub const USER: u32 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Root,
    User,
}

pub struct Case {
    /// The name of its directory too, which everybody may write.
    pub name: &'static str,
    pub by: &'static [By],
    /// Shell, run by root in the directory.
    pub before: &'static str,
    /// From the directory.
    pub path: &'static str,
    /// What the message says, where the file is refused.
    pub refused: Option<&'static str>,
    /// Shell, run by the same user afterwards, and what it prints.
    pub after: &'static str,
    pub shows: &'static str,
}

impl Case {
    /// Whether this is what is to come of it; a refusal names the path.
    pub fn says(&self, outcome: &Result<(), String>) -> bool {
        match (self.refused, outcome) {
            (None, outcome) => outcome.is_ok(),
            (Some(expected), Err(message)) => message.contains(expected) && message.starts_with(self.path),
            (Some(_), Ok(())) => false,
        }
    }
}

const ROOT: &[By] = &[By::Root];
const USERS: &[By] = &[By::User];
const BOTH: &[By] = &[By::Root, By::User];

const LONG: &str = concat!(
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345"
);

const TOO_LONG: &str = concat!(
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "123456789012345678901234567890123456789012345678901234567890",
    "1234567890123456"
);

const fn written(
    name: &'static str,
    by: &'static [By],
    before: &'static str,
    path: &'static str,
    after: &'static str,
    shows: &'static str,
) -> Case {
    Case { name, by, before, path, refused: None, after, shows }
}

const fn refused(
    name: &'static str,
    by: &'static [By],
    before: &'static str,
    path: &'static str,
    message: &'static str,
    after: &'static str,
    shows: &'static str,
) -> Case {
    Case { name, by, before, path, refused: Some(message), after, shows }
}

/// Beside the cases' directories are: `mounted/f`, a file that is a mount point, `readonly/f`, on a file system that cannot be
/// written, and `small`, a file system of 64 KiB.
pub const CASES: &[Case] = &[
    written("new", BOTH, "", "a/b c/f", "stat -c %a a 'a/b c' 'a/b c/f'; cat a/*/f", "755\n755\n644\nnew\n"),
    written("new-in-place-of-nothing", BOTH, "", "f", "ls -A; stat -c %a f", "f\n644\n"),
    written("awkward-name", BOTH, "", "-n '$x`\"\n y", "cat ./-n*; set -- * .arl*; echo $#", "new\n2\n"),
    written("dots-in-the-middle", BOTH, "mkdir d", "d/../f", "ls -A; cat f", "d\nf\nnew\n"),
    written("dots-below-what-is-missing", BOTH, "", "a/./b/./f", "ls -A . a; cat a/b/f", ".:\na\n\na:\nb\nnew\n"),
    written(
        "mode-and-owner",
        BOTH,
        "echo old >f; chmod 751 f; chown 1000:1000 f",
        "f",
        "ls -A; stat -c '%a %u:%g' f; cat f",
        "f\n751 1000:1000\nnew\n",
    ),
    written(
        "another-group",
        BOTH,
        "echo old >f; chown 1000:2000 f; chmod 640 f",
        "f",
        "ls -A; stat -c '%a %u:%g' f; cat f",
        "f\n640 1000:2000\nnew\n",
    ),
    written(
        "setuid-and-setgid",
        BOTH,
        "echo old >f; chown 1000:1000 f; chmod 6755 f",
        "f",
        "stat -c '%a %u:%g' f; cat f",
        "6755 1000:1000\nnew\n",
    ),
    written(
        "sticky-bit",
        BOTH,
        "echo old >f; chown 1000:1000 f; chmod 1644 f",
        "f",
        "stat -c %a f; cat f",
        "1644\nnew\n",
    ),
    written(
        "of-another-user-but-writable",
        BOTH,
        "echo a longer old content >f; chown 0:1000 f; chmod 664 f",
        "f",
        "ls -A; stat -c '%a %u:%g' f; cat f",
        "f\n664 0:1000\nnew\n",
    ),
    written("not-readable", BOTH, "echo old >f; chown 1000:1000 f; chmod 222 f", "f", "stat -c '%a %s' f", "222 4\n"),
    written("read-only-for-all-but-root", ROOT, "echo old >f; chmod 444 f", "f", "stat -c %a f; cat f", "444\nnew\n"),
    refused(
        "read-only-for-its-owner",
        USERS,
        "echo old >f; chown 1000:1000 f; chmod 444 f",
        "f",
        "Permission denied; uid 1000 may not write",
        "ls -A; stat -c '%a %u:%g' f; cat f",
        "f\n444 1000:1000\nold\n",
    ),
    refused(
        "of-another-user",
        USERS,
        "echo old >f; chmod 644 f",
        "f",
        "Permission denied; uid 1000 may not write",
        "ls -A; stat -c '%a %u:%g' f; cat f",
        "f\n644 0:0\nold\n",
    ),
    written(
        "in-a-directory-that-is-not-writable",
        BOTH,
        "mkdir d; echo a longer old content >d/f; chmod 666 d/f",
        "d/f",
        "ls -A d; stat -c '%a %u:%g' d/f; cat d/f",
        "f\n666 0:0\nnew\n",
    ),
    refused(
        "new-in-a-directory-that-is-not-writable",
        USERS,
        "mkdir d",
        "d/f",
        "Permission denied; uid 1000 may not write",
        "ls -A d",
        "",
    ),
    refused(
        "in-a-directory-that-is-closed",
        USERS,
        "mkdir -m 700 d; echo old >d/f",
        "d/f",
        "ermission",
        "ls -A",
        "d\n",
    ),
    written(
        "in-a-sticky-directory",
        BOTH,
        "mkdir d; chmod 1777 d; echo old >d/f; chmod 666 d/f",
        "d/f",
        "ls -A d; stat -c '%a %u:%g' d/f; cat d/f",
        "f\n666 0:0\nnew\n",
    ),
    written(
        "link",
        BOTH,
        "mkdir -m 777 d; echo old >d/f; chown 1000:1000 d/f; ln -s d/f l",
        "l",
        "ls -A . d; readlink l; cat d/f",
        ".:\nd\nl\n\nd:\nf\nd/f\nnew\n",
    ),
    written(
        "chain-of-links",
        BOTH,
        "mkdir -m 777 d e; echo old >e/f; chown 1000:1000 e/f; ln -s d/m l; ln -s \"$PWD/e/f\" d/m",
        "l",
        "readlink l; readlink d/m | sed 's:.*/e/:e/:'; cat e/f",
        "d/m\ne/f\nnew\n",
    ),
    written("link-on-the-way", BOTH, "mkdir -m 777 d; ln -s d e", "e/x/f", "readlink e; cat d/x/f", "d\nnew\n"),
    written(
        "up-from-a-link",
        BOTH,
        "mkdir -p d/in; chmod 777 d d/in; ln -s d/in e",
        "e/../f",
        "cat d/f; ls -A",
        "new\nd\ne\n",
    ),
    written(
        "dangling-link",
        BOTH,
        "mkdir -m 777 d; ln -s d/f l",
        "l",
        "readlink l; stat -c %a d/f; cat d/f",
        "d/f\n644\nnew\n",
    ),
    written("absolute-dangling-link", BOTH, "mkdir -m 777 d; ln -s \"$PWD/d/f\" l", "l", "[ -L l ]; cat d/f", "new\n"),
    written("dangling-link-into-nowhere", BOTH, "ln -s x/y/f l", "l", "readlink l; cat x/y/f", "x/y/f\nnew\n"),
    refused("link-to-a-link-to-itself", BOTH, "ln -s a b; ln -s b a", "a", "leads back to itself", "ls -A", "a\nb\n"),
    refused(
        "link-to-a-directory",
        BOTH,
        "mkdir d; ln -s d l",
        "l",
        "is a directory; name a file in it",
        "ls -A . d",
        ".:\nd\nl\n\nd:\n",
    ),
    refused("link-to-a-missing-directory", BOTH, "ln -s d/ l", "l", "name a file in it", "ls -A", "l\n"),
    refused("below-a-dangling-link", BOTH, "ln -s nowhere d", "d/f", "cannot be made", "ls -A", "d\n"),
    refused("directory", BOTH, "mkdir d", "d", "is a directory; name a file in it", "ls -A . d", ".:\nd\n\nd:\n"),
    refused("trailing-slash", BOTH, "", "d/", "name a file in it", "ls -A", ""),
    refused("dot", BOTH, "", ".", "name a file in it", "ls -A", ""),
    refused("dots", BOTH, "", "d/..", "name a file in it", "ls -A", ""),
    refused("home", BOTH, "", "~/f", "~, which is not expanded", "ls -A", ""),
    refused("home-of-a-user", BOTH, "", "~root/f", "~, which is not expanded", "ls -A", ""),
    written("tilde-in-a-name", BOTH, "", "./~f", "ls -A; cat ./~f", "~f\nnew\n"),
    refused("below-a-file", BOTH, "echo old >f", "f/x", "cannot be written", "cat f", "old\n"),
    refused("pipe", BOTH, "mkfifo -m 666 p", "p", "is a pipe, not a file", "[ -p p ] && ls -A", "p\n"),
    refused(
        "link-to-a-pipe",
        BOTH,
        "mkfifo -m 666 p; ln -s p l",
        "l",
        "is a pipe, not a file",
        "[ -p p ] && ls -A",
        "l\np\n",
    ),
    refused(
        "device",
        BOTH,
        "mknod -m 666 null c 1 3",
        "null",
        "is a device, not a file",
        "[ -c null ] && ls -A",
        "null\n",
    ),
    written(
        "mount-point",
        BOTH,
        "",
        "../mounted/f",
        "ls -A ../mounted; stat -c '%a %u:%g' ../mounted/f; cat ../mounted/f",
        "f\n666 0:0\nnew\n",
    ),
    refused(
        "read-only-file-system",
        BOTH,
        "",
        "../readonly/f",
        "ead-only file system; write to a volume",
        "cat ../readonly/f",
        "old",
    ),
    refused(
        "new-on-a-read-only-file-system",
        BOTH,
        "",
        "../readonly/new",
        "ead-only file system; write to a volume",
        "ls ../readonly",
        "f\n",
    ),
    refused(
        "full-file-system",
        BOTH,
        "echo old >../small/f; chown 1000:1000 ../small/f; dd if=/dev/zero of=../small/zero 2>/dev/null || true",
        "../small/f",
        "o space left on device; make room",
        "cat ../small/f; ls -A ../small",
        "old\nf\nzero\n",
    ),
    refused(
        "new-on-a-full-file-system",
        BOTH,
        "",
        "../small/new",
        "o space left on device; make room",
        "ls -A ../small",
        "f\nzero\n",
    ),
    written("longest-name", BOTH, "", LONG, "ls -A | wc -c; cat *", "256\nnew\n"),
    written(
        "longest-name-again",
        BOTH,
        "echo old >1; n=$(printf %0255d 1); mv 1 $n; chown 1000:1000 $n; mkdir -m 777 d; mv $n d; ln -s d/$n l",
        "l",
        "cat d/*; ls -A d | wc -l",
        "new\n1\n",
    ),
    refused("name-that-is-too-long", BOTH, "", TOO_LONG, "ame too long", "ls -A", ""),
    written("many-slashes", BOTH, "mkdir -m 777 d", "d//.//f", "ls -A d; cat d/f", "f\nnew\n"),
    written("patterns-of-a-shell", BOTH, "echo old >a1; chmod 666 a1", "a[1]*?", "ls -A; cat a1", "a1\na[1]*?\nold\n"),
    written("line-breaks-at-the-end", BOTH, "", "d\n/f\n", "cat d*/f*; set -- d*/*; echo $#", "new\n1\n"),
    written(
        "link-to-a-name-with-a-line-break-at-the-end",
        BOTH,
        "mkdir -m 777 d; ln -s 'd/f\n' l",
        "l",
        "[ -L l ]; cat d/f*; set -- d/*; echo $#",
        "new\n1\n",
    ),
    written(
        "new-in-a-setgid-directory",
        BOTH,
        "mkdir d; chown 0:2000 d; chmod 2777 d",
        "d/f",
        "ls -A d; stat -c '%a %g' d/f; cat d/f",
        "f\n644 2000\nnew\n",
    ),
    written(
        "of-another-group-than-its-setgid-directory",
        BOTH,
        "mkdir d; chown 0:2000 d; chmod 2777 d; echo old >d/f; chown 1000:1000 d/f; chmod 640 d/f",
        "d/f",
        "ls -A d; stat -c '%a %u:%g' d/f; cat d/f",
        "f\n640 1000:1000\nnew\n",
    ),
    refused(
        "link-to-a-device",
        BOTH,
        "mknod -m 666 null c 1 3; ln -s null l",
        "l",
        "is a device, not a file",
        "[ -c null ] && ls -A",
        "l\nnull\n",
    ),
    refused("block-device", BOTH, "mknod -m 666 b b 7 250", "b", "is a device, not a file", "[ -b b ] && ls -A", "b\n"),
    written(
        "hard-link",
        BOTH,
        "echo old >f; chown 1000:1000 f; ln f g",
        "f",
        "cat f g; stat -c %h f g",
        "new\nold\n1\n1\n",
    ),
];
