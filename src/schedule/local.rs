//! Engine processes on this machine, one a slot, kept alive between stages; and programs.
//!
//! A `command` stage is a process of its own ([`Programs`]) and needs no engine: where all stages are
//! commands, no engine is started.
//!
//! Each worker has two threads that read what it writes and forward it; none decides anything. The
//! thread of standard output sees the end of the process and reports it, so every start ends with
//! `done`, `stopped`, `failed` or a death.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::death::{LastWords, death};
use super::program::Programs;
use super::{Executor, Signal, Token};
use crate::experiment::spec::Stage;
use crate::protocol::{Event, Job, Request};

/// How long a worker that closed its output may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// How an engine process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Launch {
    /// The arguments of `graftwork-engine` for a device and a number of CPU threads.
    pub fn worker(program: PathBuf, device: &str, threads: usize) -> Self {
        let threads = threads.to_string();
        let args = ["worker", "--device", device, "--threads", &threads];
        Self { program, args: args.map(OsString::from).to_vec() }
    }
}

/// Runs stages in engine processes on this machine.
pub struct Local {
    launch: Option<Launch>,
    signals: Sender<Signal>,
    workers: Vec<Option<Worker>>,
    programs: Programs,
}

struct Worker {
    stdin: ChildStdin,
    child: Arc<Mutex<Child>>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    last_words: Mutex<LastWords>,
}

struct State {
    /// The start that the worker is on, or was on last.
    token: Token,
    dead: bool,
}

impl Local {
    /// An executor with this many slots. An engine starts with the first stage of its slot that needs
    /// one; without `launch`, there are programs alone.
    pub fn new(launch: impl Into<Option<Launch>>, slots: usize, signals: Sender<Signal>) -> Self {
        let workers = (0..slots).map(|_| None).collect();
        let programs = Programs::new(signals.clone());
        Self { launch: launch.into(), signals, workers, programs }
    }

    /// Gives a stage to the slot's worker, or to a new one where there is none alive.
    fn give(&mut self, slot: usize, token: Token, job: Job) -> io::Result<()> {
        let mut line =
            serde_json::to_string(&Request::Run(Box::new(job))).map_err(io::Error::from)?;
        line.push('\n');
        if let Some(worker) = &mut self.workers[slot] {
            let alive = {
                let mut state = held(&worker.shared.state);
                state.token = token;
                !state.dead
            };
            if alive && worker.stdin.write_all(line.as_bytes()).is_ok() {
                return Ok(());
            }
            // It died between two stages. If it only closed its input, it shall not speak for the new one.
            let mut state = held(&worker.shared.state);
            state.token = Token(0);
            drop(state);
            end(&worker.child);
        }
        let missing = || io::Error::other("the run was prepared for programs alone");
        let launch = self.launch.as_ref().ok_or_else(missing)?;
        let mut worker = Worker::spawn(launch, token, &self.signals)?;
        // A worker that dies at once is reported by its reader, not by this failing write.
        let _ = worker.stdin.write_all(line.as_bytes());
        self.workers[slot] = Some(worker);
        Ok(())
    }
}

impl Executor for Local {
    fn slots(&self) -> usize {
        self.workers.len()
    }

    fn start(&mut self, slot: usize, token: Token, job: Job) {
        if let Stage::Command(command) = &job.stage {
            return self.programs.start(token, command.clone(), job);
        }
        if let Err(error) = self.give(slot, token, job) {
            let program = self.launch.as_ref().map(|launch| launch.program.display().to_string());
            let program = program.unwrap_or_default();
            let how = format!("the engine `{program}` cannot be started: {error}");
            let _ = self.signals.send(Signal::Died(token, how));
        }
    }

    fn stop(&mut self) {
        self.programs.stop();
        let mut line =
            serde_json::to_vec(&Request::Stop {}).expect("a request without content is plain JSON");
        line.push(b'\n');
        for worker in self.workers.iter_mut().flatten() {
            // A worker that cannot hear it is dead, and its reader says so.
            let _ = worker.stdin.write_all(&line);
        }
    }

    fn kill(&mut self) {
        self.programs.kill();
        for worker in self.workers.iter().flatten() {
            end(&worker.child);
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // No stage runs any more, or its progress is given up: there is nothing to wait for.
        self.kill();
        for worker in self.workers.iter().flatten() {
            let _ = held(&worker.child).wait();
        }
    }
}

impl Worker {
    fn spawn(launch: &Launch, token: Token, signals: &Sender<Signal>) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C goes to all processes of a group: the worker must hear of it from us alone.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("it has no standard streams");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let child = Arc::new(Mutex::new(child));
        let shared = Arc::new(Shared {
            state: Mutex::new(State { token, dead: false }),
            last_words: Mutex::default(),
        });
        let (said, silent) = mpsc::channel::<()>();
        let speaker = Reader { shared: Arc::clone(&shared), signals: signals.clone() };
        thread::spawn(move || {
            speaker.listen(stderr);
            drop(said);
        });
        let reader = Reader { shared: Arc::clone(&shared), signals: signals.clone() };
        let watched = Arc::clone(&child);
        thread::spawn(move || {
            reader.forward(stdout);
            // Its last words are part of the report; a process that it left behind may hold the stream.
            let _ = silent.recv_timeout(GRACE);
            reader.report(&watched);
        });
        Ok(Self { stdin, child, shared })
    }
}

/// What the threads of a worker have.
struct Reader {
    shared: Arc<Shared>,
    signals: Sender<Signal>,
}

impl Reader {
    /// Forwards events; what is no event is something that a library printed.
    fn forward(&self, stdout: impl Read) {
        for line in lines(stdout) {
            let token = held(&self.shared.state).token;
            let signal = match serde_json::from_str::<Event>(&line) {
                Ok(event) => Signal::Event(token, event),
                Err(_) => Signal::Said(token, line),
            };
            // If nobody listens, the run is over.
            let _ = self.signals.send(signal);
        }
    }

    fn listen(&self, stderr: impl Read) {
        for line in lines(stderr) {
            let token = held(&self.shared.state).token;
            held(&self.shared.last_words).hear(format!("{line}\n").as_bytes());
            let _ = self.signals.send(Signal::Said(token, line));
        }
    }

    fn report(&self, child: &Mutex<Child>) {
        let status = wait(child);
        let token = {
            let mut state = held(&self.shared.state);
            state.dead = true;
            state.token
        };
        let how = death("the engine", status, &held(&self.shared.last_words));
        let _ = self.signals.send(Signal::Died(token, how));
    }
}

/// The lines of a stream; bytes that are no text are replaced, and a broken stream has ended.
fn lines(stream: impl Read) -> impl Iterator<Item = String> {
    let mut stream = BufReader::new(stream);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = stream.read_until(b'\n', &mut line).ok().filter(|&read| read > 0)?;
        line.truncate(read - usize::from(line.ends_with(b"\n")));
        Some(String::from_utf8_lossy(&line).into_owned())
    })
}

/// Waits for a process that has closed its output, without keeping others from killing it.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    let since = Instant::now();
    loop {
        if let Ok(Some(status)) = held(child).try_wait() {
            return Some(status);
        }
        if since.elapsed() > GRACE {
            end(child);
            return held(child).wait().ok();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn end(child: &Mutex<Child>) {
    // It fails when the process has ended already.
    let _ = held(child).kill();
}

/// A lock whose other holders cannot have left it in the middle of a change.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
