//! `command` stages: programs run as child processes of this one, without the engine.
//!
//! A program is the leader of a process group of its own. When it ends, is stopped or is killed, the
//! whole group ends; when this process is killed itself, the [`Guard`] sees to that.

mod arguments;
mod guard;
mod leavings;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal as Posix, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::death::{LastWords, death};
use super::{Signal, Token};
use crate::digest;
use crate::experiment::spec::Command;
use crate::protocol::{Event, Job};
use arguments::Places;
use guard::Guard;

/// How long a program may take to end after it was asked to, or a process that it left behind to let
/// go of its standard error.
const GRACE: Duration = Duration::from_secs(5);

/// The programs that run, and that no process of theirs is left.
pub(super) struct Programs {
    signals: Sender<Signal>,
    running: Vec<Arc<Program>>,
    guard: Option<Arc<Guard>>,
}

impl Programs {
    pub(super) fn new(signals: Sender<Signal>) -> Self {
        Self { signals, running: Vec::new(), guard: None }
    }

    /// Runs a command in a thread of its own, which says what becomes of it.
    pub(super) fn start(&mut self, token: Token, command: Command, job: Job) {
        let guard = match &self.guard {
            Some(guard) => Ok(Arc::clone(guard)),
            None => Guard::start().map(Arc::new),
        };
        let guard = match guard {
            Ok(guard) => guard,
            Err(error) => {
                let error = format!("the guard of programs, `/bin/sh`, cannot be started: {error}");
                drop(self.signals.send(Signal::Event(token, Event::Failed { error })));
                return;
            }
        };
        self.guard = Some(Arc::clone(&guard));
        let program = Arc::new(Program::default());
        self.running.retain(|program| !matches!(program.state().phase, Phase::Over));
        self.running.push(Arc::clone(&program));
        let signals = self.signals.clone();
        thread::spawn(move || {
            let run = Run { token, command, job, program: &program, guard: &guard, signals };
            let result = run.conduct();
            program.end();
            // If nobody listens, the run is over.
            let _ = run.signals.send(run.report(result));
        });
    }

    /// Asks every program to end, and kills those that have not ended after a while.
    pub(super) fn stop(&self) {
        let running = self.running.clone();
        for program in &running {
            program.ask(Asked::Stop);
        }
        if running.is_empty() {
            return;
        }
        thread::spawn(move || {
            for program in running {
                if !program.ends_within(GRACE) {
                    program.signal(Posix::KILL);
                }
            }
        });
    }

    /// Ends every program now.
    pub(super) fn kill(&self) {
        for program in &self.running {
            program.ask(Asked::Kill);
        }
    }
}

/// A program, from before it starts until after it ended.
#[derive(Debug, Default)]
struct Program {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    asked: Asked,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Waiting,
    /// The process group exists.
    Running(Pid),
    Over,
}

/// What was asked of a program.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    #[default]
    Nothing,
    Stop,
    Kill,
}

impl Program {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, what: Asked) {
        {
            let mut state = self.state();
            state.asked = state.asked.max(what);
        }
        self.signal(if what == Asked::Kill { Posix::KILL } else { Posix::TERM });
    }

    /// Sends a signal to the whole group, while the number surely is the group's.
    fn signal(&self, signal: Posix) {
        let state = self.state();
        if let Phase::Running(group) = state.phase {
            // It fails when all processes of the group have ended.
            let _ = kill_process_group(group, signal);
        }
    }

    fn end(&self) {
        self.state().phase = Phase::Over;
        self.over.notify_all();
    }

    fn ends_within(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| state.phase != Phase::Over;
        let waited = self.over.wait_timeout_while(self.state(), time, going_on);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.phase == Phase::Over
    }
}

/// How a program ended, where it did not fail.
enum Ended {
    Done,
    Stopped,
    Killed,
}

/// One command while it runs.
struct Run<'a> {
    token: Token,
    command: Command,
    job: Job,
    program: &'a Program,
    guard: &'a Guard,
    signals: Sender<Signal>,
}

impl Run<'_> {
    fn report(&self, result: Result<Ended, String>) -> Signal {
        Signal::Event(
            self.token,
            match result {
                Ok(Ended::Done) => Event::Done {},
                Ok(Ended::Stopped) => Event::Stopped {},
                Ok(Ended::Killed) => return Signal::Died(self.token, "killed".to_owned()),
                Err(error) => Event::Failed { error },
            },
        )
    }

    fn conduct(&self) -> Result<Ended, String> {
        self.check_files()?;
        let places = Places::of(&self.command, &self.job)?;
        leavings::clear(&self.job.draft)?;
        places.write_params(&self.command)?;
        let process = self.process(&places)?;
        let Some(mut child) = self.spawn(process)? else { return Ok(Ended::Stopped) };
        let words = self.listen(&mut child);
        let status = self.wait(&mut child).map_err(|error| format!("the program is lost: {error}"));
        let words = words.recv_timeout(GRACE).unwrap_or_default();
        let status = status?;
        match self.program.state().asked {
            _ if status.success() => {}
            Asked::Kill => return Ok(Ended::Killed),
            Asked::Stop => return Ok(Ended::Stopped),
            Asked::Nothing => return Err(death("the program", Some(status), &words)),
        }
        let points = leavings::take(&self.command, &self.job.draft)?;
        if !points.is_empty() {
            let _ = self.signals.send(Signal::Event(self.token, Event::Metrics(points)));
        }
        Ok(Ended::Done)
    }

    fn check_files(&self) -> Result<(), String> {
        self.command.files.iter().try_for_each(|(name, path)| {
            digest::is_as_planned(&self.job.folder.join(path), path, self.job.files.get(name))
        })
    }

    fn process(&self, places: &Places) -> Result<Process, String> {
        let mut arguments = places.arguments(&self.command)?.into_iter();
        let program = arguments.next().ok_or("the command has no program")?;
        let log =
            log(&self.job.draft).map_err(|error| format!("cannot write `log.txt`: {error}"))?;
        let mut process = Process::new(program);
        process.args(arguments).envs(places.environment()).current_dir(&self.job.folder);
        process.stdin(Stdio::null()).stdout(log).stderr(Stdio::piped());
        // A group of its own, which can be ended as a whole, and which Ctrl-C on the terminal does not reach.
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        Ok(process)
    }

    /// Starts the process, unless it is not wanted any more.
    fn spawn(&self, mut process: Process) -> Result<Option<Child>, String> {
        let mut state = self.program.state();
        if state.asked != Asked::Nothing {
            return Ok(None);
        }
        let child = process.spawn().map_err(|error| {
            let program = process.get_program().to_string_lossy();
            format!("the program `{program}` cannot be started: {error}")
        })?;
        let group = Pid::from_child(&child);
        state.phase = Phase::Running(group);
        self.guard.watch(group);
        Ok(Some(child))
    }

    /// Copies standard error into the log; gives its last lines when it ends.
    fn listen(&self, child: &mut Child) -> mpsc::Receiver<LastWords> {
        let (sender, receiver) = mpsc::channel();
        let stderr = child.stderr.take();
        let log = log(&self.job.draft).ok();
        thread::spawn(move || {
            let mut words = LastWords::default();
            if let (Some(stderr), Some(log)) = (stderr, log) {
                copy(stderr, log, &mut words);
            }
            let _ = sender.send(words);
        });
        receiver
    }

    /// Waits for the program and ends whatever processes it leaves behind.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let group = Pid::from_child(child);
        // Until it is waited for in earnest, its number cannot become another's.
        let ended = loop {
            match waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        let _ = kill_process_group(group, Posix::KILL);
        self.program.end();
        self.guard.forget(group);
        ended?;
        child.wait()
    }
}

/// The stage's log, to write at its end.
fn log(draft: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(draft.join("log.txt"))
}

fn copy(mut from: impl Read, mut to: impl Write, words: &mut LastWords) {
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                words.hear(&buffer[..read]);
                // A log that cannot be written is no reason to lose the program's work.
                let _ = to.write_all(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
