//! Ends the programs of this process when it is killed and cannot end them itself.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

/// Sleeps until its input ends: then there is nobody left to tell anything, and it kills the process
/// groups that the file in the place of its standard output lists.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r end
while read -r group; do
    [ -n "$group" ] && kill -s KILL -- "-$group" 2>/dev/null
done <&1
"#;

/// Bytes of a place in the list. No place lies on two pages, so that a process that is killed while it
/// writes one has written all of it or nothing.
const PLACE: usize = 16;

/// A process that outlives this one by a moment.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    /// Nothing is ever written there; it ends with this process.
    stdin: Option<ChildStdin>,
    groups: Mutex<Groups>,
}

/// The groups that are not to outlive this process, in a file that has no name. A guard that was told of
/// each by its input would wake up for each.
#[derive(Debug)]
struct Groups {
    file: File,
    /// Whose the places in the file are.
    places: Vec<Option<Pid>>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]);
        shell.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = shell.spawn()?;
        let stdin = child.stdin.take();
        let groups = Mutex::new(Groups { file, places: Vec::new() });
        Ok(Self { child, stdin, groups })
    }

    /// From now on, this group does not outlive this process.
    pub(super) fn watch(&self, group: Pid) {
        self.groups().replace(None, Some(group));
    }

    /// This group has ended.
    pub(super) fn forget(&self, group: Pid) {
        self.groups().replace(Some(group), None);
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    /// Writes into the first place that is one's, or into a new one, that it is another's.
    fn replace(&mut self, one: Option<Pid>, other: Option<Pid>) {
        let place = self.places.iter().position(|place| *place == one);
        let place = place.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = other;
        let mut line = [b' '; PLACE];
        line[PLACE - 1] = b'\n';
        if let Some(group) = other {
            let _ = write!(line.as_mut_slice(), "{}", group.as_raw_nonzero());
        }
        // Written at a place, so that the guard, which shares the file's position, begins at its start.
        // A group that cannot be written down is not guarded; nothing else is lost.
        let _ = self.file.write_all_at(&line, (place * PLACE) as u64);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn sleeper() -> Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        std::os::unix::process::CommandExt::process_group(&mut sleep, 0);
        sleep.spawn().unwrap()
    }

    #[test]
    fn when_the_guards_input_ends_the_groups_that_it_knows_end() {
        let guard = Guard::start().unwrap();
        let mut children = [sleeper(), sleeper(), sleeper()];
        let groups = children.each_ref().map(Pid::from_child);
        for group in groups {
            guard.watch(group);
        }
        guard.forget(groups[1]);
        drop(guard);
        let since = Instant::now();
        for index in [0, 2] {
            assert!(!children[index].wait().unwrap().success());
        }
        assert!(since.elapsed() < Duration::from_secs(30), "they did not end by themselves");
        assert!(children[1].try_wait().unwrap().is_none(), "the forgotten one goes on");
        children[1].kill().unwrap();
        children[1].wait().unwrap();
    }
}
