//! Where files are received and decoded: a bounded number at a time, so that memory is bounded whatever comes in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use image::RgbImage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::container;
use super::limits::Limits;
use super::picture::{self, Picture, Size};
use super::receive::{Received, receive};
use super::refusal::Refusal;
use crate::Error;

pub struct Desk {
    pub limits: Limits,
    uploads: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
    /// Where temporary files are.
    directory: PathBuf,
}

/// A file that is what it says, and what a page needs to know of it.
#[derive(Debug)]
pub struct Checked {
    pub received: Received,
    pub dimensions: Option<(u32, u32)>,
    pub placeholder: Option<String>,
    /// Held until the file is stored.
    _place: OwnedSemaphorePermit,
}

/// A picture of our own.
pub struct Drawn {
    pub placeholder: String,
    pub sizes: Vec<Size>,
}

impl Desk {
    /// Temporary files go to the system's directory for them (TMPDIR).
    pub fn new(limits: Limits) -> Desk {
        Desk {
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            decoders: Arc::new(Semaphore::new(limits.decoders)),
            directory: std::env::temp_dir(),
            limits,
        }
    }

    /// Receives a file and looks whether all of it is what it begins as.
    pub async fn check<E>(
        &self,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Checked, Error> {
        let turn = Arc::clone(&self.uploads).acquire_owned();
        let place = match tokio::time::timeout(self.limits.queue, turn).await {
            Ok(Ok(place)) => place,
            _ => return Err(Refusal::Busy.into()),
        };
        let received = receive(pieces, &self.limits, &self.directory).await?;
        let (dimensions, placeholder) = if received.kind.is_video() {
            (self.check_video(&received).await?, None)
        } else {
            let (dimensions, placeholder) = self.check_picture(&received).await?;
            (Some(dimensions), Some(placeholder))
        };
        Ok(Checked {
            received,
            dimensions,
            placeholder,
            _place: place,
        })
    }

    async fn check_video(&self, received: &Received) -> Result<Option<(u32, u32)>, Error> {
        let (path, kind, length) = (received.path.to_path_buf(), received.kind, received.length);
        let check = move || {
            let mut file =
                std::io::BufReader::new(std::fs::File::open(path).map_err(Refusal::damaged)?);
            container::check(kind, &mut file, length)
        };
        Ok(self.blocking(check).await?.dimensions)
    }

    async fn check_picture(&self, received: &Received) -> Result<((u32, u32), String), Error> {
        let (path, kind, limits) = (
            received.path.to_path_buf(),
            received.kind,
            self.limits.clone(),
        );
        self.blocking(move || {
            let picture = picture::open(&path, kind, &limits)?;
            Ok((picture.dimensions(), picture.placeholder()?))
        })
        .await
    }

    /// All sizes of a received picture.
    pub async fn sizes(&self, received: &Received) -> Result<Vec<Size>, Error> {
        let (path, kind, limits) = (
            received.path.to_path_buf(),
            received.kind,
            self.limits.clone(),
        );
        self.blocking(move || picture::open(&path, kind, &limits).and_then(Picture::sizes))
            .await
    }

    /// A picture that this program draws itself.
    pub async fn draw(
        &self,
        picture: impl FnOnce() -> RgbImage + Send + 'static,
    ) -> Result<Drawn, Error> {
        self.blocking(|| {
            let picture = Picture::from(picture());
            let placeholder = picture.placeholder()?;
            Ok(Drawn {
                placeholder,
                sizes: picture.sizes()?,
            })
        })
        .await
    }

    /// Receives a file of our own store again.
    pub async fn receive_again<E>(
        &self,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, Error> {
        receive(pieces, &self.limits, &self.directory).await
    }

    /// On a thread that may block, as many at a time as there are decoders.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.decoders)
            .acquire_owned()
            .await
            .map_err(anyhow::Error::from)?;
        let work = tokio::task::spawn_blocking(move || {
            // Kept until the end of the work, also where nobody waits for it any more.
            let _place = place;
            work()
        });
        match work.await {
            Ok(outcome) => Ok(outcome?),
            // A decoder that panics says as much about the file as one that fails.
            Err(error) if error.is_panic() => Err(Refusal::damaged("it cannot be read").into()),
            Err(error) => Err(anyhow::Error::from(error).into()),
        }
    }
}
