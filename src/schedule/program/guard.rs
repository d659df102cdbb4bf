//! Ends the programs of this process when it is killed and cannot end them itself.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

/// Told of a process group with `+ 12`, and with `- 12` that it has ended. When its input ends, there is
/// nobody left to tell it anything: it kills the groups that it knows.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group" 2>/dev/null
done
"#;

/// A process that outlives this one by a moment.
#[derive(Debug)]
pub(super) struct Guard {
    process: Mutex<(Child, Option<ChildStdin>)>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = shell.spawn()?;
        let stdin = child.stdin.take();
        Ok(Self { process: Mutex::new((child, stdin)) })
    }

    /// From now on, this group does not outlive this process.
    pub(super) fn watch(&self, group: Pid) {
        self.tell('+', group);
    }

    /// This group has ended.
    pub(super) fn forget(&self, group: Pid) {
        self.tell('-', group);
    }

    fn tell(&self, sign: char, group: Pid) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stdin) = &mut process.1 {
            let line = format!("{sign} {}\n", group.as_raw_nonzero());
            // A guard that someone killed guards no more; nothing else is lost.
            let _ = stdin.write_all(line.as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        process.1 = None;
        let _ = process.0.wait();
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
