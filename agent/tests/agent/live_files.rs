//! File calls: reading, writing, listing, and what is refused.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
};

use arl_agent::{
    frame::Frames,
    message::{
        error::{Error, Kind},
        file::{self, Action, Entry, Success},
        live::{CALL_WINDOW, CHUNK, Id, Request, WINDOW},
    },
};

use crate::{
    cases::no_chmod,
    client::{Client, ask, call, call_id},
    pod::{Pod, Stream, eventually, own_uid},
    tar_entry,
};

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn done(stream: &mut Stream, action: Action) -> Result<Success, Error> {
    call(stream, action, &[]).0
}

fn write(stream: &mut Stream, path: &Path, content: &[u8]) -> Result<Success, Error> {
    call(stream, Action::Write { path: bytes(path), mode: None }, content).0
}

fn read(stream: &mut Stream, path: &Path, offset: u64, length: Option<u64>) -> Vec<u8> {
    let (result, output) = call(stream, Action::Read { path: bytes(path), offset, length }, &[]);
    assert_eq!(result, Ok(Success::Count(output.len() as u64)));
    output
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn content_goes_both_ways_and_files_are_replaced_whole() {
    let pod = Pod::new("live-files");
    let mut stream = pod.stream();
    let path = pod.path("a/b/new");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(write(&mut stream, &path, &content), Ok(Success::Count(content.len() as u64)));
    assert!(read(&mut stream, &path, 0, None) == content && mode(&path) == 0o644);
    assert_eq!(read(&mut stream, &path, 1001, Some(7)), content[1001..1008]);
    assert_eq!(read(&mut stream, &path, u64::MAX / 4, Some(7)), []);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    assert_eq!(write(&mut stream, &path, b"short"), Ok(Success::Count(5)));
    assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"short"[..], 0o751));
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "a reader has the old content or the new");
    assert_eq!(write(&mut stream, &path, b""), Ok(Success::Count(0)), "empty files are files");
    let with_mode = Action::Write { path: bytes(&path), mode: Some(0o600) };
    assert_eq!(call(&mut stream, with_mode, b"x").0, Ok(Success::Count(1)));
    assert_eq!(mode(&path), 0o600);
    let append = Action::Append { path: bytes(&path) };
    assert_eq!(call(&mut stream, append, b"yz").0, Ok(Success::Count(2)));
    assert_eq!(fs::read(&path).unwrap(), b"xyz");
    assert!(!read(&mut stream, Path::new("/proc/version"), 0, None).is_empty(), "a file that shows no size");
    fs::rename(pod.path("work"), pod.path("moved")).unwrap();
    assert_eq!(read(&mut stream, &path, 0, None), b"xyz", "a whole path needs no working directory");
    assert_eq!(write(&mut stream, Path::new("relative"), b"x").unwrap_err().kind, Kind::NoWorkingDirectory);
    fs::rename(pod.path("moved"), pod.path("work")).unwrap();
    let relative = Path::new("relative");
    write(&mut stream, relative, b"here").unwrap();
    assert_eq!(fs::read(pod.path("work/relative")).unwrap(), b"here");
}

#[test]
fn files_and_trees_are_written_where_chmod_is_refused() {
    let pod = Pod::new("live-no-chmod");
    let (old, new, directory, tree) = (pod.path("old"), pod.path("new"), pod.path("d"), pod.path("tree"));
    let others = pod.path("others");
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o664)).unwrap();
    no_chmod::run(|| {
        let mut stream = pod.stream();
        for path in [&old, &new] {
            let written = call(&mut stream, Action::Write { path: bytes(path), mode: Some(0o600) }, b"x").0;
            assert_eq!((written, fs::read(path).unwrap().as_slice()), (Ok(Success::Count(1)), &b"x"[..]), "{path:?}");
        }
        let made = done(&mut stream, Action::MakeDirectory { path: bytes(&directory), mode: Some(0o700) });
        assert_eq!(made, Ok(Success::Count(0)));
        let archive =
            [with_mode(tar_entry::entry(b'5', "d", "", 0, b""), 0o510), with_mode(tar_entry::file("d/f"), 0o551)];
        let unpacked = call(&mut stream, Action::Unpack { directory: bytes(&tree) }, &archive.concat()).0;
        assert_eq!(unpacked, Ok(Success::Count(2)));
        let of_another = |entry: Vec<u8>, mode| owned_by(with_mode(entry, mode), 12345);
        let archive = [
            of_another(tar_entry::entry(b'5', "d", "", 0, b""), 0o775),
            of_another(tar_entry::file("d/f"), 0o640),
            of_another(tar_entry::file("d/g"), 0o755),
        ];
        let unpacked = call(&mut stream, Action::Unpack { directory: bytes(&others) }, &archive.concat()).0;
        assert_eq!(unpacked, Ok(Success::Count(3)));
        let changed = done(&mut stream, Action::ChangeMode { path: bytes(&old), mode: 0o600 });
        assert_eq!(changed.unwrap_err().kind, Kind::PermissionDenied, "who asks for nothing else is told");
    });
    assert_eq!((mode(&old), mode(&new)), (0o664, 0o600), "a new file has its mode from the start");
    assert_eq!((fs::read(tree.join("d/f")).unwrap().as_slice(), mode(&tree.join("d/f"))), (&b"evil"[..], 0o551));
    assert_eq!(mode(&tree.join("d")), 0o710, "one that could not be written to could not be filled");
    if own_uid() == "0" {
        let modes = ["d", "d/f", "d/g"].map(|name| mode(&others.join(name)));
        assert_eq!(
            modes,
            [0o755, 0o600, 0o755],
            "root's group has no more than everybody, before they have their owner"
        );
        assert!(["d", "d/f", "d/g"].iter().all(|name| fs::metadata(others.join(name)).unwrap().uid() == 12345));
    }
}

/// An entry of an archive with this mode.
fn with_mode(entry: Vec<u8>, mode: u32) -> Vec<u8> {
    with_field(entry, 100, mode)
}

/// The same with this owner and group.
fn owned_by(entry: Vec<u8>, id: u32) -> Vec<u8> {
    with_field(with_field(entry, 108, id), 116, id)
}

fn with_field(mut entry: Vec<u8>, at: usize, number: u32) -> Vec<u8> {
    entry[at..at + 8].copy_from_slice(format!("{number:07o}\0").as_bytes());
    tar_entry::seal(&mut entry[..512]);
    entry
}

#[test]
fn a_large_file_gets_more_room_than_a_small_one_or_a_process() {
    let pod = Pod::new("live-room");
    let (mut stream, id) = (pod.stream(), call_id());
    let mut client = Client::default();
    ask(
        &mut stream,
        Request::File { id: Id(id), action: Action::Write { path: bytes(&pod.path("large")), mode: None }, user: None },
    );
    let room = client.until(&mut stream, id, |taken| taken.room.is_some()).room;
    assert_eq!(room, Some((0, WINDOW as u64)), "most files are small");
    let content = vec![7; 4 * CALL_WINDOW];
    let mut most = 0;
    for (number, piece) in content.chunks(CHUNK).enumerate() {
        let offset = (number * CHUNK) as u64;
        let end = offset + piece.len() as u64;
        let (received, until) =
            client.until(&mut stream, id, |taken| taken.room.is_some_and(|(_, until)| until >= end)).room.unwrap();
        most = most.max(until - received);
        ask(&mut stream, Request::Input { id: Id(id), offset, data: piece.to_vec() });
    }
    ask(&mut stream, Request::CloseInput { id: Id(id), offset: content.len() as u64 });
    let taken = client.until_over(&mut stream, id);
    assert_eq!(taken.success, Some(Success::Count(content.len() as u64)));
    // Less what waits for the disk.
    assert!((2 * WINDOW as u64..=CALL_WINDOW as u64).contains(&most), "{most}");
}

/// Clients of before, and all whose pod has many calls, wait to hear how much has arrived.
#[test]
fn an_upload_with_little_on_its_way_is_told_what_has_arrived() {
    const PIECE: usize = 40_000;
    let pod = Pod::new("live-little");
    let (mut stream, id) = (pod.stream(), call_id());
    let mut client = Client::default();
    let action = Action::Write { path: bytes(&pod.path("large")), mode: None };
    ask(&mut stream, Request::File { id: Id(id), action, user: None });
    let content = vec![7; 5 * CALL_WINDOW];
    for (number, piece) in content.chunks(PIECE).enumerate() {
        let offset = (number * PIECE) as u64;
        let may_go =
            |room: (u64, u64)| offset - room.0 <= (WINDOW - WINDOW / 4) as u64 && room.1 >= offset + PIECE as u64;
        client.until(&mut stream, id, |taken| taken.room.is_some_and(may_go));
        for (part, data) in piece.chunks(CHUNK).enumerate() {
            ask(
                &mut stream,
                Request::Input { id: Id(id), offset: offset + (part * CHUNK) as u64, data: data.to_vec() },
            );
        }
    }
    ask(&mut stream, Request::CloseInput { id: Id(id), offset: content.len() as u64 });
    assert_eq!(client.until_over(&mut stream, id).success, Some(Success::Count(content.len() as u64)));
}

#[test]
fn entries_are_shown_made_renamed_and_removed() {
    let pod = Pod::new("live-entries");
    let mut stream = pod.stream();
    let root = pod.path("tree");
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n odd");
    assert_eq!(
        done(&mut stream, Action::MakeDirectory { path: bytes(&root.join("d/e")), mode: Some(0o700) }),
        Ok(Success::Count(0))
    );
    assert_eq!((mode(&root.join("d/e")), mode(&root.join("d"))), (0o700, 0o755));
    assert_eq!(
        done(&mut stream, Action::MakeDirectory { path: bytes(&root.join("d")), mode: None }),
        Ok(Success::Count(0))
    );
    write(&mut stream, &root.join(odd), b"12345").unwrap();
    symlink("nowhere", root.join("d/link")).unwrap();
    let mut list = |depth| {
        let (result, output) = call(&mut stream, Action::List { path: bytes(&root), depth }, &[]);
        let mut frames = Frames::new(64 * 1024);
        frames.push(&output);
        let mut entries: Vec<Entry> = std::iter::from_fn(|| frames.take().unwrap()).collect();
        assert_eq!(result, Ok(Success::Count(entries.len() as u64)));
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    };
    let names = |entries: &[Entry]| entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&list(Some(1))), [b"d".to_vec(), odd.as_bytes().to_vec()]);
    let all = list(None);
    assert_eq!(names(&all), [&b"d"[..], b"d/e", b"d/link", odd.as_bytes()]);
    assert_eq!(
        (all[2].kind, all[2].target.clone().map(|target| target.to_vec())),
        (file::Kind::Link, Some(b"nowhere".to_vec()))
    );
    assert_eq!((all[3].kind, all[3].size, all[3].mode), (file::Kind::File, 5, 0o644));
    assert_eq!(list(Some(0)), []);

    let stat = |stream: &mut Stream, path: &Path, follow| done(stream, Action::Stat { path: bytes(path), follow });
    let Ok(Success::Entry(found)) = stat(&mut stream, &root.join("d/link"), false) else { panic!() };
    assert_eq!((found.kind, found.path), (file::Kind::Link, bytes(&root.join("d/link"))));
    assert_eq!(stat(&mut stream, &root.join("d/link"), true).unwrap_err().kind, Kind::NotFound);
    let (from, to) = (bytes(&root.join(odd)), bytes(&root.join("d/plain")));
    assert_eq!(done(&mut stream, Action::Rename { from, to: to.clone() }), Ok(Success::Count(0)));
    assert_eq!(done(&mut stream, Action::ChangeMode { path: to, mode: 0o4711 }), Ok(Success::Count(0)));
    assert_eq!(mode(&root.join("d/plain")), 0o4711);
    let remove =
        |stream: &mut Stream, path: &Path, recursive| done(stream, Action::Remove { path: bytes(path), recursive });
    assert_eq!(remove(&mut stream, &root.join("d"), false).unwrap_err().kind, Kind::NotEmpty);
    assert_eq!(remove(&mut stream, &root.join("d/link"), true), Ok(Success::Count(0)));
    assert_eq!(remove(&mut stream, &root, true), Ok(Success::Count(0)));
    assert!(!root.exists());
}

/// As `rm` refuses them: what such a path means is not called by the name that would be removed, so all in it would go first.
#[test]
fn nothing_is_removed_by_a_path_that_does_not_end_in_a_name() {
    let pod = Pod::new("live-dots");
    let mut stream = pod.stream();
    let inner = pod.path("d/e/f");
    fs::create_dir_all(inner.parent().unwrap()).unwrap();
    fs::write(&inner, "x").unwrap();
    fs::write(pod.path("work/f"), "x").unwrap();
    symlink("d", pod.path("link")).unwrap();
    let mut remove = |path: Vec<u8>, recursive| done(&mut stream, Action::Remove { path, recursive });
    let below = |name: &str| [&bytes(&pod.directory)[..], b"/", name.as_bytes()].concat();
    for path in ["d/.", "d/./", "d/.//", "d/e/..", "d/e/../", "d/e/./..", "d/e/f/.."].map(below) {
        for recursive in [true, false] {
            let error = remove(path.clone(), recursive).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid, "{path:?}: {error:?}");
            assert!(error.message.contains("d/") && inner.exists(), "{path:?}: {error:?}");
        }
    }
    for path in [&b"."[..], b"./", b"..", b"e/.."] {
        assert_eq!(remove(path.to_vec(), true).unwrap_err().kind, Kind::Invalid, "{path:?}");
    }
    // Not with all that is in it: that would be tried.
    assert_eq!(remove(b"//".to_vec(), false).unwrap_err().kind, Kind::Invalid);
    assert_eq!(remove(below("link/"), true).unwrap_err().kind, Kind::NotDirectory);
    assert!(inner.exists() && pod.path("work/f").exists() && pod.path("link").exists());
    assert_eq!(remove(below("link"), true), Ok(Success::Count(0)));
    assert_eq!(remove(below("d/e/f/"), true).unwrap_err().kind, Kind::NotDirectory);
    assert_eq!(remove(below("d/./e//"), true), Ok(Success::Count(0)));
    assert_eq!(remove(below("d/"), false), Ok(Success::Count(0)));
    assert!(!pod.path("d").exists());
}

#[test]
fn directories_are_made_by_paths_with_dots() {
    let pod = Pod::new("live-made");
    let mut stream = pod.stream();
    let below = |name: &str| [&bytes(&pod.directory)[..], b"/", name.as_bytes()].concat();
    for (path, made) in [
        (below("a/b/."), "a/b"),
        (below("c/./d/.//"), "c/d"),
        (b"./r/./s/.".to_vec(), "work/r/s"),
        (b".".to_vec(), "work"),
        (below("a/b/../e"), "a/e"),
    ] {
        let result = done(&mut stream, Action::MakeDirectory { path: path.clone(), mode: Some(0o700) });
        assert_eq!(result, Ok(Success::Count(0)), "{path:?}");
        let found = mode(&pod.path(made));
        assert!(made == "work" || found == 0o700, "{path:?}: {found:o}");
    }
    let unpacked = call(&mut stream, Action::Unpack { directory: below("new/x/.") }, &tar_entry::file("f")).0;
    assert_eq!((unpacked, fs::read(pod.path("new/x/f")).unwrap()), (Ok(Success::Count(1)), b"evil".to_vec()));
}

#[test]
fn what_cannot_be_renamed_is_named_with_where_it_should_have_gone() {
    let pod = Pod::new("live-renames");
    let mut stream = pod.stream();
    fs::write(pod.path("work/file"), "x").unwrap();
    fs::create_dir(pod.path("work/folder")).unwrap();
    for (from, to, kind, message) in [
        ("file", "none/x", Kind::NotFound, "file cannot be renamed to none/x: No such file or directory"),
        ("none", "x", Kind::NotFound, "none cannot be renamed to x: No such file or directory"),
        ("file", "folder", Kind::IsDirectory, "file cannot be renamed to folder: Is a directory"),
    ] {
        let error = done(&mut stream, Action::Rename { from: from.into(), to: to.into() }).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
    }
}

/// Not after gigabytes have been received.
#[test]
fn an_append_that_cannot_be_is_refused_before_its_content_comes() {
    let pod = Pod::new("live-append");
    let (folder, pipe, closed) = (pod.path("folder"), pod.path("pipe"), pod.path("closed"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut stream = pod.stream();
    let user = (own_uid() == "0").then(|| "nobody".to_owned());
    for (path, kind, user) in [
        (folder, Kind::IsDirectory, None),
        (pipe, Kind::Invalid, None),
        (closed.join("new"), Kind::PermissionDenied, user),
    ] {
        let (mut client, id) = (Client::default(), call_id());
        ask(&mut stream, Request::File { id: Id(id), action: Action::Append { path: bytes(&path) }, user });
        let error = client.until_over(&mut stream, id).end.take().unwrap().unwrap_err();
        assert_eq!(error.kind, kind, "{path:?}: {error:?}");
    }
}

#[test]
fn errors_have_their_kind() {
    let pod = Pod::new("live-kinds");
    let mut stream = pod.stream();
    let (plain, folder, pipe, socket) = (pod.path("plain"), pod.path("folder"), pod.path("pipe"), pod.path("socket"));
    fs::write(&plain, "x").unwrap();
    fs::create_dir(&folder).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    let at = |path: &Path| bytes(path);
    let reads = |path: &Path| Action::Read { path: at(path), offset: 0, length: None };
    let writes = |path: &Path| Action::Write { path: at(path), mode: None };
    let cases = [
        (reads(&pod.path("none")), Kind::NotFound),
        (reads(&folder), Kind::IsDirectory),
        (reads(&plain.join("x")), Kind::NotDirectory),
        (reads(&pipe), Kind::Invalid),
        (reads(Path::new("/dev/null")), Kind::Invalid),
        (reads(Path::new("")), Kind::Invalid),
        (reads(Path::new("a\0b")), Kind::Invalid),
        (writes(&folder), Kind::IsDirectory),
        (writes(&plain.join("x")), Kind::NotDirectory),
        (writes(&pipe), Kind::Invalid),
        (writes(&socket), Kind::Invalid),
        (writes(Path::new("/proc/none")), Kind::NotFound),
        (Action::Append { path: at(&folder) }, Kind::IsDirectory),
        (Action::List { path: at(&plain), depth: None }, Kind::NotDirectory),
        (Action::List { path: at(&pod.path("none")), depth: None }, Kind::NotFound),
        (Action::MakeDirectory { path: at(&plain), mode: None }, Kind::Exists),
        (Action::MakeDirectory { path: b"~/x".to_vec(), mode: None }, Kind::Invalid),
        (Action::Unpack { directory: b"~".to_vec() }, Kind::Invalid),
        (Action::MakeDirectory { path: at(&plain.join("x")), mode: None }, Kind::NotDirectory),
        (Action::Remove { path: at(&pod.path("none")), recursive: true }, Kind::NotFound),
        (Action::Rename { from: at(&pod.path("none")), to: at(&plain) }, Kind::NotFound),
        (Action::ChangeMode { path: at(&plain), mode: 0o10000 }, Kind::Invalid),
        (Action::Pack { directory: at(&pod.path("none")), names: vec![] }, Kind::NotFound),
        (Action::Pack { directory: at(&folder), names: vec![b"../plain".to_vec().into()] }, Kind::Invalid),
        (Action::Pack { directory: at(&folder), names: vec![b"/etc".to_vec().into()] }, Kind::Invalid),
        (Action::Unpack { directory: at(&plain) }, Kind::Exists),
    ];
    for (action, kind) in cases {
        let error = done(&mut stream, action.clone()).unwrap_err();
        assert_eq!(error.kind, kind, "{action:?}: {error:?}");
    }
    assert_eq!(fs::read(&plain).unwrap(), b"x");
    if own_uid() == "0" {
        ask(&mut stream, Request::File { id: Id(2), action: writes(&plain), user: Some("nobody".into()) });
        let mut client = Client::default();
        let error = client.until_over(&mut stream, 2).end.take().unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "with the rights of the user: {error:?}");
    }
}

#[test]
fn a_write_whose_stream_breaks_leaves_what_was_there() {
    let pod = Pod::new("live-broken");
    let (old, new, log, added) = (pod.path("old"), pod.path("new"), pod.path("log"), pod.path("added"));
    fs::write(&old, "old").unwrap();
    fs::write(&log, "log").unwrap();
    for (id, action) in [
        (1, Action::Write { path: bytes(&old), mode: None }),
        (2, Action::Write { path: bytes(&new), mode: None }),
        (3, Action::Append { path: bytes(&log) }),
        (4, Action::Append { path: bytes(&added) }),
    ] {
        let mut stream = pod.stream();
        let mut client = Client::default();
        ask(&mut stream, Request::File { id: Id(id), action, user: None });
        client.until(&mut stream, id, |taken| taken.room.is_some());
        for offset in (0..96 * 1024).step_by(32 * 1024) {
            ask(&mut stream, Request::Input { id: Id(id), offset, data: vec![b'x'; 32 * 1024] });
        }
        ask(&mut stream, Request::CloseInput { id: Id(id), offset: 96 * 1024 + 1 });
        client.until(&mut stream, id, |taken| !taken.rejected.is_empty());
    }
    let left = || {
        fs::read_dir(&pod.directory)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(".arl-"))
            .count()
    };
    eventually("nothing is left over", || left() == 0 && !new.exists() && fs::read(&log).unwrap() == b"log");
    assert_eq!(fs::read(&old).unwrap(), b"old");
    eventually("nothing is made for what was to be added", || !added.exists());
    let mut stream = pod.stream();
    assert_eq!(call(&mut stream, Action::Append { path: bytes(&added) }, b"all").0, Ok(Success::Count(3)));
    assert_eq!((fs::read(&added).unwrap().as_slice(), mode(&added)), (&b"all"[..], 0o644));
    assert_eq!(write(&mut stream, &old, b"new"), Ok(Success::Count(3)));
}

#[test]
fn half_a_gigabyte_needs_no_memory_either_way() {
    let pod = Pod::new("live-large");
    let mut stream = pod.stream();
    let (path, size) = (pod.path("large"), 512 << 20);
    write(&mut stream, &path, b"warm").unwrap();
    let before = pod.memory();
    assert_eq!(write(&mut stream, &path, &vec![7; size]), Ok(Success::Count(size as u64)));
    let grown = pod.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown}");
    let (mut client, id) = (Client { counts: true, ..Client::default() }, call_id());
    ask(
        &mut stream,
        Request::File { id: Id(id), action: Action::Read { path: bytes(&path), offset: 0, length: None }, user: None },
    );
    let taken = client.until_over(&mut stream, id);
    assert_eq!((taken.offsets[0], taken.success.clone()), (size as u64, Some(Success::Count(size as u64))));
    let grown = pod.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown}");
}
