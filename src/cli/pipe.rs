//! What happens when nobody reads on: `graftwork query … | head`.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use super::Outcome;

/// Runs a command. One whose reader has gone has said what that one wanted to know, and ends well.
///
/// The print macros panic then, and only then do they speak of a broken pipe. To let the system end the
/// process instead, as it does by default, would let an engine that died end it too.
pub(super) fn until_closed(
    command: impl FnOnce() -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_closed_pipe(info.payload()) {
            hook(info);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(outcome) => outcome,
        Err(payload) if is_closed_pipe(payload.as_ref()) => Ok(Outcome::Fine),
        Err(payload) => panic::resume_unwind(payload),
    }
}

fn is_closed_pipe(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref::<String>().is_some_and(|message| {
        message.starts_with("failed printing to std") && message.contains("Broken pipe")
    })
}
