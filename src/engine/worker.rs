//! The process that speaks the protocol: one request a line in, events out.
//!
//! Standard input is read by a thread of its own, so that a stop is seen while a stage runs. When
//! standard input ends, the orchestrator is gone: the worker saves its progress and ends, too.

use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use graftwork::protocol::{Event, Job, Ready, Request};
use tch::Device;

use crate::stage::{self, Context, Ended, Recorder, StageError};

/// Answers requests until standard input ends.
///
/// # Errors
/// When standard output is closed or a request is no request: the orchestrator is gone or of
/// another version.
pub fn serve(device: Device, threads: u32) -> io::Result<()> {
    tch::set_num_threads(threads as i32);
    let stop = Arc::new(AtomicBool::new(false));
    let jobs = listen(Arc::clone(&stop));
    send(&Event::Ready(ready(device)))?;
    for job in jobs {
        let job = job?;
        tch::set_num_threads(job.threads.unwrap_or(threads) as i32);
        let mut lost = None;
        let event = {
            let mut forward = |event: Event| {
                if let Err(error) = send(&event) {
                    lost = Some(error);
                    stop.store(true, Ordering::Relaxed);
                }
            };
            run(&job, device, &stop, &mut forward)
        };
        if let Some(error) = lost {
            return Err(error);
        }
        send(&event)?;
    }
    Ok(())
}

fn ready(device: Device) -> Ready {
    Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: crate::LIBTORCH.to_owned(),
        device: device_name(device),
        threads: tch::get_num_threads() as u32,
    }
}

/// The device as the command line writes it.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Reads requests in the background; jobs come out, a stop raises the flag.
fn listen(stop: Arc<AtomicBool>) -> Receiver<io::Result<Job>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let request =
                line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::from));
            let sent = match request {
                Ok(Request::Run(job)) => {
                    stop.store(false, Ordering::Relaxed);
                    sender.send(Ok(*job))
                }
                Ok(Request::Stop {}) => {
                    stop.store(true, Ordering::Relaxed);
                    Ok(())
                }
                Err(error) => sender.send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    receiver
}

fn send(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_string(event).expect("an event is plain JSON");
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// Runs a job; whatever goes wrong becomes an event.
fn run(job: &Job, device: Device, stop: &AtomicBool, forward: &mut dyn FnMut(Event)) -> Event {
    let result = catch_unwind(AssertUnwindSafe(|| -> Result<Ended, StageError> {
        let mut recorder = Recorder::new(&job.draft, forward)?;
        let mut context = Context { job, device, recorder: &mut recorder, stop };
        stage::run(&mut context)
    }));
    match result {
        Ok(Ok(Ended::Done)) => Event::Done {},
        Ok(Ok(Ended::Stopped)) => Event::Stopped {},
        Ok(Err(error)) => Event::Failed { error: error.to_string() },
        Err(panic) => Event::Failed { error: panic_message(panic.as_ref()) },
    }
}

/// The first line that a person can use: LibTorch's C++ stack is left out.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("the engine panicked without a message");
    let first = text.split("\\n").next().unwrap_or(text).lines().next().unwrap_or(text);
    match first.split_once("Torch(\"") {
        Some((_, message)) => format!("LibTorch: {}", message.trim_end_matches("\")")),
        None => format!("the engine panicked: {first}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_libtorch_error_is_told_without_its_stack() {
        let panic =
            catch_unwind(|| tch::Tensor::from_slice(&[1.0f32, 2.0]).reshape([3])).unwrap_err();
        assert_eq!(
            panic_message(panic.as_ref()),
            "LibTorch: shape '[3]' is invalid for input of size 2"
        );
    }
}
