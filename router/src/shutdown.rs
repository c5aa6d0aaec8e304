//! The wish to stop, as a value that is passed down: whoever holds a [`Shutdown`] can wait for it, in any runtime and
//! thread; only the holder of [`Stopper`] can utter it. Knows nothing of signals: those are for `main`.

use tokio::sync::watch;

/// Makes the pair.
pub fn shutdown() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Shutdown(receiver))
}

/// Utters the wish; so does its drop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Waits for the wish. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Returns once it is time to stop; at once, ever after.
    pub async fn requested(&mut self) {
        // An error means that nobody is left to utter the wish.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::shutdown;

    #[tokio::test]
    async fn the_wish_reaches_every_holder_and_stays() {
        let (stopper, mut one) = shutdown();
        let mut other = one.clone();
        assert!(!one.is_requested());
        stopper.stop();
        one.requested().await;
        one.requested().await;
        other.requested().await;
        assert!(other.is_requested());
    }

    #[tokio::test]
    async fn a_stopper_dropped_is_a_wish_uttered() {
        let (stopper, mut shutdown) = shutdown();
        drop(stopper);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
