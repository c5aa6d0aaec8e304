//! Where files are received and decoded: a bounded number at a time, so that memory is bounded whatever comes in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use image::RgbImage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::container;
use super::decoders::Decoders;
use super::limits::Limits;
use super::picture::{self, Picture, Size};
use super::receive::{Received, receive};
use super::refusal::Refusal;
use crate::Error;

pub struct Desk {
    pub limits: Limits,
    uploads: Arc<Semaphore>,
    decoders: Decoders,
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
            decoders: Decoders::new(&limits),
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
        Ok(self.decoders.run(check).await?.dimensions)
    }

    async fn check_picture(&self, received: &Received) -> Result<((u32, u32), String), Error> {
        self.decoded(received, |picture| {
            Ok((picture.dimensions(), picture.placeholder()?))
        })
        .await
    }

    /// All sizes of a received picture.
    pub async fn sizes(&self, received: &Received) -> Result<Vec<Size>, Error> {
        self.decoded(received, Picture::sizes).await
    }

    /// Looks at the picture, waits until there is room for it, and decodes it for `work`.
    async fn decoded<T: Send + 'static>(
        &self,
        received: &Received,
        work: impl FnOnce(Picture) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Error> {
        let file = || {
            let path = received.path.to_path_buf();
            (path, received.kind, self.limits.clone())
        };
        let (path, kind, limits) = file();
        let looked = move || picture::pixels(&path, kind, &limits);
        let pixels = self.decoders.run(looked).await?;
        let _room = self.decoders.room_for(pixels).await?;
        let (path, kind, limits) = file();
        self.decoders
            .run(move || picture::open(&path, kind, &limits).and_then(work))
            .await
    }

    /// A picture that this program draws itself.
    pub async fn draw(
        &self,
        picture: impl FnOnce() -> RgbImage + Send + 'static,
    ) -> Result<Drawn, Error> {
        let work = || {
            let picture = Picture::from(picture());
            let placeholder = picture.placeholder()?;
            Ok(Drawn {
                placeholder,
                sizes: picture.sizes()?,
            })
        };
        self.decoders.run(work).await
    }

    /// Receives a file of our own store again.
    pub async fn receive_again<E>(
        &self,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, Error> {
        receive(pieces, &self.limits, &self.directory).await
    }
}
