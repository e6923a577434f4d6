//! Users of the container: looked up in its own files, since the binary is static and there may be no other way.

use std::{fs, io::Read};

use arl_agent::message::error::{Error, Kind};
use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid},
};

/// More than such files have.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A user with its groups.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    name: Option<String>,
    home: String,
}

impl Identity {
    /// The user that `wanted` names: a name or a number, and behind a colon a group.
    pub fn find(wanted: &str) -> Result<Self, Error> {
        Self::look_up(wanted, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn look_up(wanted: &str, passwd: &str, group: &str) -> Result<Self, Error> {
        let none = |what: &str, name: &str| {
            Error::new(Kind::NoSuchUser, format!("there is no {what} {name} in the container's own files"))
        };
        let (user, wanted_group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
        let number = user.parse::<u32>().ok();
        // name:password:uid:gid:comment:home:shell
        let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
            fields.len() >= 6 && (fields[0] == user || number.is_some_and(|number| fields[2].parse() == Ok(number)))
        });
        let (uid, own_gid, name, home) = match (&entry, number) {
            (Some(fields), _) => {
                let numbers = fields[2].parse().ok().zip(fields[3].parse().ok());
                let (uid, gid) = numbers.ok_or_else(|| none("user", user))?;
                (uid, gid, Some(fields[0].to_owned()), fields[5].to_owned())
            }
            (None, Some(number)) => (number, 0, None, "/".to_owned()),
            (None, None) => return Err(none("user", user)),
        };
        // name:password:gid:members
        let groups: Vec<Vec<&str>> = group.lines().map(|line| line.split(':').collect()).collect();
        let gid_of = |fields: &Vec<&str>| fields.get(2)?.parse::<u32>().ok();
        let gid = match wanted_group {
            None => own_gid,
            Some(named) => match groups.iter().find(|fields| fields[0] == named).and_then(gid_of) {
                Some(gid) => gid,
                None => named.parse().map_err(|_| none("group", named))?,
            },
        };
        let is_member = |fields: &&Vec<&str>| {
            let members = fields.get(3).copied().unwrap_or_default();
            name.as_deref().is_some_and(|name| members.split(',').any(|member| member == name))
        };
        let mut all: Vec<u32> = groups.iter().filter(is_member).filter_map(gid_of).chain([gid]).collect();
        all.sort_unstable();
        all.dedup();
        Ok(Self { uid, gid, groups: all, name, home })
    }

    /// Becomes this user, for ever.
    pub fn assume(&self) -> Result<(), Error> {
        if (geteuid().as_raw(), getegid().as_raw()) == (self.uid, self.gid) {
            return Ok(());
        }
        let refused = |errno: Errno| Error {
            kind: Kind::CannotSwitchUser,
            message: format!(
                "uid {} cannot become uid {}: the container's user has to be root, with the capabilities SETUID and SETGID",
                geteuid(),
                self.uid
            ),
            errno: Some(errno as i32),
        };
        if !geteuid().is_root() {
            return Err(refused(Errno::EPERM));
        }
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        setgroups(&groups)
            .and_then(|()| setgid(Gid::from_raw(self.gid)))
            .and_then(|()| setuid(Uid::from_raw(self.uid)))
            .map_err(refused)
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The variables that say who it is.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let names = self.name.iter().flat_map(|name| [("USER", name.as_str()), ("LOGNAME", name.as_str())]);
        names.chain([("HOME", self.home.as_str())]).collect()
    }
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let _ = fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\nbad:x:y:z::/:\n";
    const GROUP: &str = "root:x:0:\nann:x:1001:\nwheel:x:10:root,ann\ndocker:x:99:ann\nbad\n";

    #[test]
    fn names_and_numbers_are_found() {
        let find = |wanted: &str| Identity::look_up(wanted, PASSWD, GROUP);
        let ann = find("ann").unwrap();
        assert_eq!((ann.uid, ann.gid, &ann.groups[..]), (1000, 1001, &[10, 99, 1001][..]));
        assert_eq!(ann.variables(), [("USER", "ann"), ("LOGNAME", "ann"), ("HOME", "/home/ann")]);
        assert_eq!(find("1000").unwrap(), ann);
        let other = find("ann:docker").unwrap();
        assert_eq!((other.uid, other.gid), (1000, 99));
        let unknown = find("4242:7").unwrap();
        assert_eq!((unknown.uid, unknown.gid, &unknown.groups[..], unknown.home.as_str()), (4242, 7, &[7][..], "/"));
        for nobody in ["eve", "ann:nogroup", "", "bad", "-1"] {
            assert_eq!(find(nobody).unwrap_err().kind, Kind::NoSuchUser, "{nobody}");
        }
    }

    proptest! {
        #[test]
        fn fuzz_whatever_is_in_the_files(wanted in "[a-c0-9:]{0,4}", passwd in "([a-c0-9:,]{0,12}\n){0,4}", group in "([a-c0-9:,]{0,9}\n){0,4}") {
            if let Ok(found) = Identity::look_up(&wanted, &passwd, &group) {
                prop_assert!(found.groups.contains(&found.gid));
            }
        }
    }
}
