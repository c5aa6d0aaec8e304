//! The threads that decode and encode pictures: few, and always the same.
//!
//! The system's allocator keeps what a thread has freed for that thread, so pictures on whichever thread is idle would in the
//! end be memory of every thread there is. And a large picture takes the place of several small ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::limits::Limits;
use super::refusal::Refusal;
use crate::Error;

type Work = Box<dyn FnOnce() + Send>;

/// Pixels are counted by the thousand.
const THOUSAND: u64 = 1000;

pub struct Decoders {
    count: usize,
    threads: OnceLock<Sender<Work>>,
    /// Thousands of pixels that may be decoded at the same time.
    room: Semaphore,
    all: u32,
}

impl Decoders {
    /// Threads begin with the first work, and end with this.
    pub fn new(limits: &Limits) -> Decoders {
        let all = u32::try_from(limits.pixels_at_once / THOUSAND).unwrap_or(u32::MAX);
        Decoders {
            count: limits.decoders,
            threads: OnceLock::new(),
            room: Semaphore::new(all as usize),
            all,
        }
    }

    /// Waits for room for a picture of so many pixels. One that is larger than all the room has all of it.
    pub async fn room_for(&self, pixels: u64) -> Result<SemaphorePermit<'_>, Error> {
        let wanted = u32::try_from(pixels.div_ceil(THOUSAND)).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(wanted.min(self.all)).await;
        Ok(room.map_err(anyhow::Error::from)?)
    }

    /// Runs it on one of the threads.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            // Nobody waits for it any more: so be it.
            let _ = tell.send(outcome);
        };
        let threads = self.threads.get_or_init(|| start(self.count));
        let sent = threads.send(Box::new(work));
        sent.map_err(|_| anyhow::anyhow!("the decoders have ended"))?;
        match told.await.map_err(anyhow::Error::from)? {
            Ok(outcome) => Ok(outcome?),
            // A decoder that panics says as much about the file as one that fails.
            Err(_) => Err(Refusal::damaged("it cannot be read").into()),
        }
    }
}

fn start(count: usize) -> Sender<Work> {
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..count.max(1) {
        let receiver = Arc::clone(&receiver);
        std::thread::spawn(move || {
            while let Some(work) = next(&receiver) {
                work();
            }
        });
    }
    sender
}

/// None: nobody can send any more.
fn next(receiver: &Mutex<Receiver<Work>>) -> Option<Work> {
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    receiver.recv().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn decoders() -> Decoders {
        Decoders::new(&Limits {
            decoders: 2,
            pixels_at_once: 10_000,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn work_that_panics_is_a_damaged_file_and_the_thread_goes_on() {
        let decoders = decoders();
        for _ in 0..5 {
            let broken = decoders.run(|| -> Result<(), _> { panic!("a bug") }).await;
            assert_eq!(broken.unwrap_err().kind(), "media-damaged");
        }
        assert_eq!(decoders.run(|| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn large_pictures_wait_for_one_another() {
        let decoders = decoders();
        let first = decoders.room_for(6_000).await.unwrap();
        let second = decoders.room_for(4_000).await.unwrap();
        let wait = Duration::from_millis(20);
        let third = tokio::time::timeout(wait, decoders.room_for(1)).await;
        assert!(third.is_err(), "there is no room");
        drop((first, second));
        let huge = decoders.room_for(u64::MAX).await.unwrap();
        let other = tokio::time::timeout(wait, decoders.room_for(1)).await;
        assert!(other.is_err(), "it has all the room");
        drop(huge);
        drop(decoders.room_for(1).await.unwrap());
    }
}
