//! Trees as archives: what comes back is what was there, and no archive gets out of its directory.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
};

use arl_agent::message::{
    error::{Error, Kind},
    file::{Action, Success},
    live::{Id, Request},
};

use crate::{
    client::{Client, ask, call},
    pod::{Pod, Stream, own_uid},
    tar_entry::{entry, file, seal},
};

pub fn pack(stream: &mut Stream, directory: &Path, names: &[&str]) -> Vec<u8> {
    let names = names.iter().map(|name| name.as_bytes().to_vec().into()).collect();
    let directory = directory.as_os_str().as_bytes().to_vec();
    let (result, archive) = call(stream, Action::Pack { directory, names }, &[]);
    assert!(result.is_ok(), "{result:?}");
    archive
}

fn unpack(stream: &mut Stream, directory: &Path, archive: &[u8]) -> Result<Success, Error> {
    call(stream, Action::Unpack { directory: directory.as_os_str().as_bytes().to_vec() }, archive).0
}

/// A tree with everything that is kept.
fn tree(root: &Path) {
    let deep = root.join("x".repeat(90)).join("y".repeat(90)).join(OsStr::from_bytes(&[0xff, b'\n', b'z']));
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    fs::write(&deep, "deep").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("program"), vec![1; 70_000]).unwrap();
    fs::set_permissions(root.join("program"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("program"), root.join("same")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink("t".repeat(150), root.join("long-link")).unwrap();
    fs::create_dir(root.join("closed")).unwrap();
    fs::write(root.join("closed/in"), "").unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(root.join("empty")).unwrap().set_modified(old).unwrap();
}

#[test]
fn files_that_do_not_say_how_long_they_are_are_not_packed_as_empty_ones() {
    let pod = Pod::new("sizes");
    let mut stream = pod.stream();
    let (directory, names) = (b"/proc/sys/kernel".to_vec(), vec![b"ostype".to_vec().into()]);
    let (result, _) = call(&mut stream, Action::Pack { directory, names }, &[]);
    let error = result.unwrap_err();
    assert!(error.message.contains("ostype has more in it than its size says"), "{error:?}");
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let pod = Pod::new("archives");
    let mut stream = pod.stream();
    let (from, to) = (pod.path("from"), pod.path("to/here"));
    fs::create_dir(&from).unwrap();
    tree(&from);
    let archive = pack(&mut stream, &from, &[]);
    assert_eq!(unpack(&mut stream, &to, &archive), Ok(Success::Count(11)));
    assert_eq!(pack(&mut stream, &to, &[]), archive, "an equal tree is an equal archive");
    assert_eq!(unpack(&mut stream, &to, &archive), Ok(Success::Count(11)), "over what is there");
    assert_eq!(pack(&mut stream, &to, &[]), archive);
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("program"), inode("same"));
    assert_eq!(fs::metadata(to.join("program")).unwrap().mode() & 0o7777, 0o4751);
    assert_eq!(fs::metadata(to.join("empty")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    let (part, some) = (pod.path("part"), pack(&mut stream, &from, &["closed", "link"]));
    assert_eq!(unpack(&mut stream, &part, &some), Ok(Success::Count(3)));
    assert!(part.join("closed/in").exists() && !part.join("program").exists());
}

#[test]
fn other_programs_read_and_write_the_same_archives() {
    let pod = Pod::new("tar");
    let mut stream = pod.stream();
    if Command::new("tar").arg("--version").output().is_err() {
        eprintln!("not tried: there is no tar here");
        return;
    }
    let (from, to) = (pod.path("from"), pod.path("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    tree(&from);
    let archive = pack(&mut stream, &from, &[]);
    let file = pod.path("archive.tar");
    fs::write(&file, &archive).unwrap();
    let tar = |arguments: &[&str]| {
        assert!(Command::new("tar").args(arguments).arg("-f").arg(&file).status().unwrap().success());
    };
    tar(&["-x", "-p", "-C", to.to_str().unwrap()]);
    assert_eq!(pack(&mut stream, &to, &[]), archive);
    for format in ["gnu", "pax", "ustar"] {
        let names: &[&str] = if format == "ustar" { &["program", "same", "link", "empty"] } else { &["."] };
        tar(&[&["-c", "--format", format, "-C", from.to_str().unwrap()][..], names].concat());
        let other = pod.path(format);
        assert!(unpack(&mut stream, &other, &fs::read(&file).unwrap()).is_ok(), "{format}");
        if format != "ustar" {
            assert_eq!(pack(&mut stream, &other, &[]), archive, "{format}");
        }
        assert_eq!(fs::read(other.join("same")).unwrap().len(), 70_000);
    }
}

#[test]
fn times_before_1970_are_kept() {
    let pod = Pod::new("old-times");
    let mut stream = pod.stream();
    let (from, to) = (pod.path("from"), pod.path("to"));
    fs::create_dir_all(from.join("d")).unwrap();
    fs::write(from.join("f"), "x").unwrap();
    for name in ["d", "f"] {
        let old = std::time::UNIX_EPOCH - std::time::Duration::from_secs(3600);
        fs::File::open(from.join(name)).unwrap().set_modified(old).unwrap();
    }
    let archive = pack(&mut stream, &from, &[]);
    assert_eq!(unpack(&mut stream, &to, &archive), Ok(Success::Count(3)));
    for name in ["d", "f"] {
        assert_eq!(fs::metadata(to.join(name)).unwrap().mtime(), -3600, "{name}");
    }
    // As Python's tarfile writes it in the format of GNU.
    let mut archive = file("python");
    archive[136..148].fill(0xff);
    archive[147] = 0x9c;
    seal(&mut archive[..512]);
    assert_eq!(unpack(&mut stream, &to, &archive), Ok(Success::Count(1)));
    assert_eq!(fs::metadata(to.join("python")).unwrap().mtime(), -100);
}

#[test]
fn a_tree_too_deep_to_be_unpacked_is_not_packed() {
    let pod = Pod::new("deep");
    let mut stream = pod.stream();
    let (from, to) = (pod.path("from"), pod.path("to"));
    let deepest = from.join(vec!["d"; 256].join("/"));
    fs::create_dir_all(&deepest).unwrap();
    let archive = pack(&mut stream, &from, &[]);
    assert_eq!(unpack(&mut stream, &to, &archive), Ok(Success::Count(257)));
    fs::write(deepest.join("below"), "x").unwrap();
    let names = [vec![], vec![b"d".to_vec().into()], vec![b"./d/./d".to_vec().into()]];
    for names in names {
        let directory = from.as_os_str().as_bytes().to_vec();
        let error = call(&mut stream, Action::Pack { directory, names }, &[]).0.unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{error:?}");
        assert!(error.message.contains("d/d/below is deeper than 256 directories"), "{error:?}");
    }
}

#[test]
fn the_name_of_an_archive_is_passed_over() {
    let pod = Pod::new("label");
    let mut stream = pod.stream();
    let into = pod.path("into");
    let archive = [entry(b'V', "LABEL", "", 0, b""), file("f"), vec![0; 1024]].concat();
    assert_eq!(unpack(&mut stream, &into, &archive), Ok(Success::Count(1)));
    assert!(into.join("f").exists() && !into.join("LABEL").exists());
}

#[test]
fn a_compressed_archive_is_called_one() {
    let pod = Pod::new("compressed");
    let mut stream = pod.stream();
    let into = pod.path("into");
    for begin in [&b"\x1f\x8b\x08"[..], b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"] {
        for length in [20, 511, 512, 4000] {
            let mut archive = begin.to_vec();
            archive.resize(length, 0xa7);
            let error = unpack(&mut stream, &into, &archive).unwrap_err();
            let is_said = error.message == "the archive is compressed: decompress it first";
            assert!(is_said && error.kind == Kind::BadArchive, "{begin:x?}, {length}: {error:?}");
        }
    }
    // A name may begin so too.
    assert_eq!(unpack(&mut stream, &into, &file("BZh9")), Ok(Success::Count(1)));
    let mut cut = [file("a"), file("BZh9")].concat();
    cut.truncate(1200);
    let error = unpack(&mut stream, &into, &cut).unwrap_err();
    assert!(error.message.contains("in the middle of an entry"), "{error:?}");
}

/// Archives that want to get out, or want too much.
fn hostile(here: &str, target: &str) -> Vec<(&'static str, Vec<u8>)> {
    let link = |name: &str, to: &str| entry(b'2', name, to, 0, b"");
    vec![
        ("above", file("../outside/f")),
        ("above in the middle", file("a/../../outside/f")),
        ("absolute", file(&format!("{here}/f"))),
        ("through a link", [link("x", here), file("x/f")].concat()),
        ("through a relative link", [link("x", "../outside"), file("x/f")].concat()),
        ("through two links", [link("x", "."), link("x/y", "../outside"), file("x/y/f")].concat()),
        ("directory through a link", [link("x", here), entry(b'5', "x/d", "", 0, b"")].concat()),
        ("hard link to the outside", entry(b'1', "h", target, 0, b"")),
        ("hard link above", entry(b'1', "h", "../secret", 0, b"")),
        ("hard link through a link", [link("x", ".."), entry(b'1', "h", "x/secret", 0, b"")].concat()),
        ("character device", entry(b'3', "null", "", 0, b"")),
        ("block device", entry(b'4', "disk", "", 0, b"")),
        ("pipe", entry(b'6', "pipe", "", 0, b"")),
        ("sparse", entry(b'S', "sparse", "", 4, b"evil")),
        ("sparse as pax has it", [entry(b'x', "p", "", 25, b"25 GNU.sparse.major=1234\n"), file("f")].concat()),
        ("a name that never ends", entry(b'L', "l", "", 1 << 32, b"")),
        ("too deep", {
            let name = "d/".repeat(300);
            [entry(b'L', "l", "", name.len() as u64, name.as_bytes()), entry(b'5', "", "", 0, b"")].concat()
        }),
        ("no archive", vec![b'x'; 2048]),
        ("no number", {
            let mut bad = file("f");
            bad[124..136].fill(b'9');
            bad
        }),
        ("cut in a file", entry(b'0', "f", "", 4096, b"less")),
        ("ten gigabytes that do not come", entry(b'0', "f", "", 0o77_777_777_777, b"")),
    ]
}

#[test]
fn an_archive_never_gets_out_of_its_directory() {
    let pod = Pod::new("hostile");
    let mut stream = pod.stream();
    let secret = pod.path("secret");
    fs::write(&secret, "secret").unwrap();
    let outside = pod.path("outside");
    fs::create_dir(&outside).unwrap();
    let (here, target) = (outside.to_string_lossy().into_owned(), secret.to_string_lossy().into_owned());
    let cases = hostile(&here, &target);
    for (name, mut archive) in cases {
        archive.extend([0; 1024]);
        let into = pod.path("into");
        let error = unpack(&mut stream, &into, &archive).expect_err(name);
        assert_eq!(error.kind, Kind::BadArchive, "{name}: {error:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
        assert_eq!(
            (fs::read(&secret).unwrap(), fs::metadata(&secret).unwrap().nlink()),
            (b"secret".to_vec(), 1),
            "{name}"
        );
        assert!(!into.join("f").exists(), "{name}: no half file");
        let _ = fs::remove_dir_all(&into);
    }
    // A link that was there before is not followed either, and a file that it stands for is replaced, not written to.
    let into = pod.path("prepared");
    fs::create_dir(&into).unwrap();
    symlink(&outside, into.join("x")).unwrap();
    symlink(&secret, into.join("s")).unwrap();
    assert_eq!(unpack(&mut stream, &into, &file("x/f")).unwrap_err().kind, Kind::BadArchive);
    assert_eq!(unpack(&mut stream, &into, &file("s")), Ok(Success::Count(1)));
    assert_eq!((fs::read(&secret).unwrap(), fs::read(into.join("s")).unwrap()), (b"secret".to_vec(), b"evil".to_vec()));
    assert_eq!(
        unpack(&mut stream, &into, &entry(b'5', "x", "", 0, b"")),
        Ok(Success::Count(1)),
        "the link is replaced"
    );
    assert!(fs::symlink_metadata(into.join("x")).unwrap().is_dir() && outside.exists());
    // Programs of the sandbox may wait at a pipe.
    let pipe = into.join("p");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for archive in [file("p"), entry(b'5', "p", "", 0, b""), entry(b'2', "p", "s", 0, b"")] {
        let error = unpack(&mut stream, &into, &archive).unwrap_err();
        assert_eq!((error.kind, error.message.contains("p is a pipe")), (Kind::Exists, true), "{error:?}");
    }
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn hundreds_of_thousands_of_entries_need_no_memory() {
    let pod = Pod::new("many-entries");
    let mut stream = pod.stream();
    let into = pod.path("into");
    // The same few names again and again, so that the disk is not what is tried.
    let some: Vec<u8> = (0..100)
        .flat_map(|n| {
            [entry(b'5', &format!("d{}", n % 7), "", 0, b""), entry(b'2', &format!("d{}/l{n}", n % 7), "t", 0, b"")]
                .concat()
        })
        .collect();
    let archive = some.repeat(1000);
    let before = pod.memory();
    assert_eq!(unpack(&mut stream, &into, &archive), Ok(Success::Count(200_000)));
    assert!(pod.memory().saturating_sub(before) < 4 << 20);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 7);
}

#[test]
fn an_archive_whose_stream_breaks_is_given_up() {
    let pod = Pod::new("cut");
    let into = pod.path("into");
    let mut stream = pod.stream();
    let mut client = Client::default();
    let directory = into.as_os_str().as_bytes().to_vec();
    ask(&mut stream, Request::File { id: Id(1), action: Action::Unpack { directory }, user: None });
    client.until(&mut stream, 1, |taken| taken.room.is_some());
    let data = [entry(b'0', "whole", "", 4, b"good"), entry(b'0', "half", "", 1 << 20, &[7; 4096])].concat();
    ask(&mut stream, Request::Input { id: Id(1), offset: 0, data });
    crate::pod::eventually("it has begun", || into.join("half").exists());
    ask(&mut stream, Request::Kill { id: Id(1), grace_ms: 0 });
    let error = client.until_over(&mut stream, 1).end.take().unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Aborted);
    assert!(into.join("whole").exists() && !into.join("half").exists());
    if own_uid() == "0" {
        let directory = pod.path("").as_os_str().as_bytes().to_vec();
        ask(
            &mut stream,
            Request::File { id: Id(2), action: Action::Unpack { directory }, user: Some("nobody".into()) },
        );
        client.input(&mut stream, 2, &[file("f"), vec![0; 1024]].concat());
        let error = client.until_over(&mut stream, 2).end.take().unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "{error:?}");
    }
}
