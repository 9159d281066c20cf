//! Ctrl-C, and the other signals by which a program is asked to end.
//!
//! As long as no model is trained there is nothing to keep, and the program ends at once. From then
//! on the first signal lets it end after its step, with a checkpoint, and the next one at once. While a
//! model writes, Ctrl-C ends what it writes, and the next one the program. Either way its exit status is
//! that of shells: 128 and the signal's number.
//!
//! Two signals are for schedulers of jobs. SIGUSR1 asks for a checkpoint now, and training goes on.
//! SIGUSR2 means that the time is up: training ends after its step as for SIGTERM, but with a status
//! that asks to be started again.

use super::program::Result;
use super::show;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CHECKPOINT: AtomicBool = AtomicBool::new(false);
static NOW: AtomicU8 = AtomicU8::new(BEFORE_TRAINING);
/// The number of the first signal, once there was one.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// What a signal finds the program at.
const BEFORE_TRAINING: u8 = 0;
const TRAINING: u8 = 1;
const BEFORE_WRITING: u8 = 2;
const WRITING: u8 = 3;
const FOLLOWING: u8 = 4;

/// A flag that becomes true when the program is asked to end.
///
/// # Errors
/// If the system does not let us know.
pub fn catch() -> Result<&'static AtomicBool> {
    listen().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    Ok(&INTERRUPTED)
}

/// The flag of [`catch`].
pub fn interrupted() -> &'static AtomicBool {
    &INTERRUPTED
}

/// Leaves signals to another process, which trains together with this one, gets them too and says what to
/// do. Where the system does not let us, they end this one.
pub fn leave_to_others() {
    NOW.store(FOLLOWING, Ordering::SeqCst);
    let _ = listen();
}

/// A flag that becomes true when the program is asked for a checkpoint; whoever writes it makes the flag
/// false again.
pub fn checkpoint_wanted() -> &'static AtomicBool {
    &CHECKPOINT
}

/// Says that from now on there is something to keep.
pub fn training_begins() {
    NOW.store(TRAINING, Ordering::SeqCst);
}

/// Says that this program trains nothing: until a model writes, it ends at once.
pub fn nothing_is_trained() {
    NOW.store(BEFORE_WRITING, Ordering::SeqCst);
}

/// Whether a signal came since a model last began to write.
pub fn came() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Lets Ctrl-C end what a model writes meanwhile, and not the program. The flag is false at first.
pub fn while_writing<R>(work: impl FnOnce(&AtomicBool) -> R) -> R {
    INTERRUPTED.store(false, Ordering::SeqCst);
    NOW.store(WRITING, Ordering::SeqCst);
    let result = work(&INTERRUPTED);
    NOW.store(BEFORE_WRITING, Ordering::SeqCst);
    result
}

/// The exit status of a program whose time was up, EX_TEMPFAIL of `sysexits.h`: starting it again goes
/// on.
const START_AGAIN: u8 = 75;

/// The exit status of a program that was asked to end.
pub fn exit_status() -> u8 {
    // Where nobody asked, it was Ctrl-C for all we know.
    let signal = match SIGNAL.load(Ordering::SeqCst) {
        0 => 2,
        signal if is_time_up(signal) => return START_AGAIN,
        signal => signal,
    };
    u8::try_from(128 + signal).unwrap_or(1)
}

/// What a signal does that asks for the end. One that a closing terminal or a scheduler sends again does
/// not mean more than the first; nor does the SIGTERM that follows once the time is up.
fn handle(signal: i32, again_means_at_once: bool) {
    if NOW.load(Ordering::SeqCst) == FOLLOWING {
        return;
    }
    const CTRL_C: i32 = 2;
    let first = SIGNAL.load(Ordering::SeqCst);
    let again_means_at_once = again_means_at_once && !is_time_up(first);
    let _ = SIGNAL.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    let again = INTERRUPTED.swap(true, Ordering::SeqCst);
    let end = || std::process::exit(exit_status().into());
    match NOW.load(Ordering::SeqCst) {
        BEFORE_TRAINING => {
            show::note("\ninterrupted before any training: nothing is lost");
            end();
        }
        TRAINING if !again && is_time_up(signal) => {
            show::note("\nthe time is up: stopping after this step, with a checkpoint");
        }
        TRAINING if !again => {
            show::note("\nstopping after this step, with a checkpoint; once more to stop at once");
        }
        TRAINING if again_means_at_once => end(),
        TRAINING => {}
        WRITING if !again && signal == CTRL_C => {}
        _ => end(),
    }
}

/// Whether a scheduler says with a signal that the time is up.
fn is_time_up(signal: i32) -> bool {
    #[cfg(unix)]
    return signal == signal_hook::consts::SIGUSR2;
    #[cfg(not(unix))]
    return false;
}

/// A checkpoint is asked for. Where no model is trained there is nothing to keep.
#[cfg(unix)]
fn ask_for_checkpoint() {
    match NOW.load(Ordering::SeqCst) {
        TRAINING => CHECKPOINT.store(true, Ordering::SeqCst),
        FOLLOWING => {}
        _ => show::note("no model is trained yet: there is nothing to write a checkpoint of"),
    }
}

#[cfg(unix)]
fn listen() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    let mut signals = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
    // Under nohup a hang-up means nothing. (Shells let what they start with & ignore Ctrl-C too; but
    // who then sends that signal by hand means it.)
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let wait = move || {
        signals.forever().for_each(|signal| match signal {
            SIGUSR1 => ask_for_checkpoint(),
            signal => handle(signal, [SIGINT, SIGTERM].contains(&signal)),
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// Whether whoever started this program wants a signal to be ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, sigaction changes nothing and writes what holds now; zeros are
    // a valid action too.
    let (status, action) = unsafe {
        (libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()), action.assume_init())
    };
    status == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(not(unix))]
fn listen() -> std::result::Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| handle(2, true))
}
