//! How much of what Tasks carry into pods may be in memory at a time: contents of files, and large commands. It is there from when it
//! is read until the pod has it, and code in a pod can see to it that the pod never does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::object::Key;

/// Some of the largest Tasks. A pod takes one in milliseconds.
const ALL: usize = 24 * 1024 * 1024;
const OF_A_NAMESPACE: usize = 8 * 1024 * 1024;
/// So many that wait are woken when there is room again: all of a thousand would find it taken.
const WOKEN: usize = 8;

/// Wakes a Task.
pub(super) type Wake = Arc<dyn Fn(Key) + Send + Sync>;

/// What is in memory of the contents of each namespace, and who waits for room.
#[derive(Default)]
pub struct Contents(Mutex<BTreeMap<String, Namespace>>);

#[derive(Default)]
struct Namespace {
    bytes: usize,
    waiting: BTreeMap<Key, Wake>,
}

impl Contents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Namespace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for what a Task carries; where there is none, the Task is woken when there may be. A namespace that has nothing in
    /// memory waits for no other.
    pub(super) fn room(self: &Arc<Self>, task: &Key, bytes: usize, wake: &Wake) -> Option<Room> {
        let mut namespaces = self.lock();
        let all: usize = namespaces.values().map(|namespace| namespace.bytes).sum();
        let namespace = namespaces.entry(task.namespace.clone()).or_default();
        if namespace.bytes > 0 && (namespace.bytes + bytes > OF_A_NAMESPACE || all + bytes > ALL) {
            namespace.waiting.insert(task.clone(), Arc::clone(wake));
            return None;
        }
        namespace.waiting.remove(task);
        namespace.bytes += bytes;
        Some(Room { contents: Arc::clone(self), namespace: task.namespace.clone(), bytes })
    }

    /// The Task has ended, or is gone: others get its turn.
    pub(super) fn waits_no_more(&self, task: &Key) {
        if let Some(namespace) = self.lock().get_mut(&task.namespace) {
            namespace.waiting.remove(task);
        }
    }

    fn give_back(&self, name: &str, bytes: usize) {
        let mut namespaces = self.lock();
        let Some(namespace) = namespaces.get_mut(name) else { return };
        namespace.bytes = namespace.bytes.saturating_sub(bytes);
        let is_empty = namespace.bytes == 0;
        // Those that are woken may be gone. Where nobody is left to give anything back, nobody waits.
        let count = if is_empty { usize::MAX } else { WOKEN };
        let woken: Vec<_> = std::iter::from_fn(|| namespace.waiting.pop_first()).take(count).collect();
        if is_empty {
            namespaces.remove(name);
        }
        drop(namespaces);
        for (task, wake) in woken {
            wake(task);
        }
    }
}

/// Room that is given back when this is dropped.
pub struct Room {
    contents: Arc<Contents>,
    namespace: String,
    bytes: usize,
}

impl Room {
    /// No more than this is needed any longer.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            self.contents.give_back(&self.namespace, less);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "room for {} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1024 * 1024;

    /// Names of Tasks that are woken.
    fn woken() -> (Wake, Arc<Mutex<Vec<String>>>) {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&woken);
        (Arc::new(move |key: Key| names.lock().unwrap().push(key.name)), woken)
    }

    fn key(namespace: &str, number: usize) -> Key {
        Key { namespace: namespace.into(), name: format!("{number:04}") }
    }

    #[test]
    fn however_many_tasks_there_are_little_of_what_they_carry_is_in_memory() {
        let (contents, (wake, _)) = (Arc::new(Contents::default()), woken());
        let namespaces: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
        let all = || namespaces.iter().flat_map(|n| (0..1000).map(|number| key(n, number)));
        let rooms: Vec<Room> = all().filter_map(|task| contents.room(&task, LARGE, &wake)).collect();
        let held = |name: &str| rooms.iter().filter(|room| room.namespace == name).count() * LARGE;
        assert_eq!((held("n0"), held("n9")), (OF_A_NAMESPACE, LARGE), "the last of all has room for one");
        assert!(rooms.len() * LARGE <= ALL + namespaces.len() * LARGE);
        drop(rooms);
        assert!(contents.lock().is_empty(), "nothing is kept of namespaces that have nothing");
    }

    #[test]
    fn whoever_waits_is_woken_when_there_is_room_and_all_are_when_nobody_is_left() {
        let (contents, (wake, woken)) = (Arc::new(Contents::default()), woken());
        let mut rooms: Vec<Room> =
            (0..100).filter_map(|number| contents.room(&key("a", number), LARGE, &wake)).collect();
        assert_eq!(rooms.len(), 8);
        rooms.pop();
        assert_eq!(std::mem::take(&mut *woken.lock().unwrap()).len(), WOKEN);
        assert!(contents.room(&key("a", 8), LARGE, &wake).is_some());
        assert!(contents.room(&key("b", 0), LARGE, &wake).is_some(), "another namespace waits for nobody");
        woken.lock().unwrap().clear();
        // Those that were woken before have gone meanwhile.
        rooms.clear();
        let woken = woken.lock().unwrap().len();
        assert_eq!(woken, 100 - 8 - WOKEN - WOKEN);
    }

    #[test]
    fn whoever_is_gone_does_not_wait() {
        let (contents, (wake, woken)) = (Arc::new(Contents::default()), woken());
        let room = contents.room(&key("a", 0), OF_A_NAMESPACE, &wake).unwrap();
        for number in 1..1000 {
            assert!(contents.room(&key("a", number), LARGE, &wake).is_none());
            contents.waits_no_more(&key("a", number));
        }
        assert_eq!(contents.lock()["a"].waiting.len(), 0);
        contents.waits_no_more(&key("b", 0));
        drop(room);
        assert!(woken.lock().unwrap().is_empty() && contents.lock().is_empty());
    }

    #[test]
    fn what_is_needed_no_longer_is_given_back() {
        let (contents, (wake, woken)) = (Arc::new(Contents::default()), woken());
        let mut room = contents.room(&key("a", 0), OF_A_NAMESPACE, &wake).unwrap();
        assert!(contents.room(&key("a", 1), LARGE, &wake).is_none());
        room.shrink(LARGE);
        assert_eq!(*woken.lock().unwrap(), ["0001"]);
        assert!(contents.room(&key("a", 1), LARGE, &wake).is_some());
        room.shrink(2 * LARGE);
        assert_eq!(contents.lock()["a"].bytes, LARGE, "it never grows");
    }
}
