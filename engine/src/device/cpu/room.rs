//! Whether there is memory for threads before they are started.

use std::collections::TryReserveError;
use std::num::NonZero;

/// What a thread takes of a process's addresses: a stack, and what is allocated as it starts.
const BYTES_OF_A_THREAD: usize = 3 << 20;

/// Finds out whether there is memory for so many more threads; 0 means one for every core. Where the
/// system lacks it, threads that start anyway may end the program, as Rust does where one of them cannot
/// allocate.
///
/// ```
/// use neutreno_engine::device::room_for_threads;
/// assert!(room_for_threads(2).is_ok());
/// ```
///
/// # Errors
/// If there is not.
pub fn room_for_threads(threads: usize) -> Result<(), TryReserveError> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    // Nothing is written to it, so the system gives no more than its addresses.
    Vec::<u8>::new().try_reserve_exact(threads.saturating_mul(BYTES_OF_A_THREAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_any_memory_holds_are_refused() {
        assert!(room_for_threads(0).is_ok());
        assert!(room_for_threads(1 << 40).is_err());
    }
}
