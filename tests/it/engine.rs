//! A fake engine: this test binary, started again by a shell script, speaks the protocol without LibTorch.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use graftwork::protocol::{Event, Job, Point, Progress, Ready, Request};
use tempfile::TempDir;

const BEHAVIOUR: &str = "GRAFTWORK_FAKE_ENGINE";

/// A program in that folder that behaves as an engine: `well`, `slow`, or `fail-thin` and the like.
pub(crate) fn program(folder: &Path, behaviour: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("engine-{behaviour}"));
    let own = std::env::current_exe().unwrap();
    // With one thread the test harness would write the test's name into the first message.
    let text = format!(
        "#!/bin/sh\n{BEHAVIOUR}={behaviour} exec '{}' engine::the_fake_engine --exact --nocapture --test-threads=2\n",
        own.display()
    );
    // Written elsewhere and renamed, so that no one runs a file that is open for writing.
    let draft = folder.join(format!("engine-{behaviour}.{:?}", std::thread::current().id()));
    std::fs::write(&draft, text).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&draft, &path).unwrap();
    path
}

/// Not a test: the engine process, when the variable says so.
#[test]
#[expect(clippy::disallowed_methods, reason = "the shell script tells the behaviour so")]
fn the_fake_engine() {
    if let Ok(behaviour) = std::env::var(BEHAVIOUR) {
        serve(&behaviour);
    }
}

fn send(event: &Event) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(event).unwrap()).unwrap();
}

fn serve(behaviour: &str) {
    if behaviour == "no-libtorch" {
        end("libtorch.so: cannot open shared object file", 127);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (jobs, inbox) = mpsc::channel();
    let seen = Arc::clone(&stop);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match serde_json::from_str(&line.unwrap()).unwrap() {
                Request::Run(job) => jobs.send(job).unwrap(),
                Request::Stop {} => seen.store(true, Ordering::Relaxed),
            }
        }
        seen.store(true, Ordering::Relaxed);
    });
    let text = |text: &str| text.to_owned();
    let ready =
        Ready { version: text("0"), libtorch: text("fake"), device: text("cpu"), threads: 1 };
    send(&Event::Ready(ready));
    for job in inbox {
        send(&run(&job, behaviour, &stop));
    }
}

fn run(job: &Job, behaviour: &str, stop: &AtomicBool) -> Event {
    let log = |line: &str| eprintln!("{line}");
    // As the engine does itself: a line of standard error may come after the message that the stage is done.
    let path = job.draft.join("log.txt");
    let mut own = std::fs::File::options().create(true).append(true).open(path).unwrap();
    writeln!(own, "process {}", std::process::id()).unwrap();
    match behaviour.strip_suffix("-thin").filter(|_| job.name == "thin") {
        Some("abort") => {
            log("terminate called after c10::Error");
            std::process::abort();
        }
        Some("exit") => end("no more", 7),
        Some("fail") => return Event::Failed { error: "loss became NaN".to_owned() },
        _ => {}
    }
    let pause = Duration::from_millis(if behaviour == "slow" { 40 } else { 0 });
    for done in 1..=5 {
        std::fs::write(job.draft.join("progress.json"), done.to_string()).unwrap();
        send(&Event::Progress(Progress { done, total: 5, note: format!("epoch {done}/5") }));
        std::thread::sleep(pause);
        if stop.load(Ordering::Relaxed) {
            return Event::Stopped {};
        }
    }
    // In two halves, so that a kill has something to tear apart.
    let mut model = std::fs::File::create(job.draft.join("model.safetensors")).unwrap();
    model.write_all(b"first half, ").unwrap();
    std::thread::sleep(pause);
    model.write_all(b"second half").unwrap();
    let point = Point { name: "train/loss".to_owned(), step: 5, value: 0.5 };
    let line = serde_json::to_string(&point).unwrap();
    std::fs::write(job.draft.join("metrics.jsonl"), format!("{line}\n")).unwrap();
    send(&Event::Metrics(vec![point]));
    Event::Done {}
}

#[expect(clippy::exit, reason = "an engine that dies is what this is for")]
fn end(words: &str, code: i32) -> ! {
    eprintln!("{words}");
    std::process::exit(code)
}

/// A folder with an experiment `house.toml`, a dataset `mnist` and results.
pub(crate) struct Place {
    folder: TempDir,
}

pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("house.toml"), text).unwrap();
        std::fs::create_dir_all(folder.path().join("data/mnist")).unwrap();
        // Planning looks at the digest of a dataset, and only the engine inside.
        std::fs::write(folder.path().join("data/mnist/mnist_5k.csv"), "not looked at").unwrap();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, args: &[&str], engine: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graftwork"));
        command.args(args).current_dir(self.folder()).env("GRAFTWORK_ENGINE", engine);
        command.env("HOME", self.folder());
        command.env_remove("XDG_DATA_HOME").env_remove("XDG_CACHE_HOME");
        command.env("GRAFTWORK_DATA", "data").env_remove("GRAFTWORK_RESULTS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn graftwork(&self, args: &[&str], behaviour: &str) -> Output {
        self.output(self.start(args, behaviour))
    }

    pub(crate) fn graftwork_without_engine(&self, args: &[&str]) -> Output {
        self.output(self.command(args, Path::new("/nowhere/engine")).spawn().unwrap())
    }

    pub(crate) fn start(&self, args: &[&str], behaviour: &str) -> Child {
        self.command(args, &program(self.folder(), behaviour)).spawn().unwrap()
    }

    #[expect(clippy::unused_self, reason = "reads like the others")]
    fn output(&self, child: Child) -> Output {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        Output { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Waits until a draft has a file of this name.
    pub(crate) fn wait_for(&self, name: &str) {
        let since = Instant::now();
        let drafts = self.folder().join("results/store/drafts");
        while !contains(&drafts, name) {
            assert!(since.elapsed() < Duration::from_secs(30), "no draft has `{name}`");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn contains(folder: &Path, name: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        entry.file_name() == name || entry.path().is_dir() && contains(&entry.path(), name)
    })
}

/// Sends a signal to a process: `INT`.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}
