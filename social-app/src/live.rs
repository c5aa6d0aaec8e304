//! News for open pages: who is looking, and when to look for them.
//!
//! Each person with open pages has one watcher, however many the pages; it asks the person's own shard, at once when this
//! process has made news, and otherwise every [`crate::config::Config::live_interval`] for what other processes made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::models::sessions::{self, Unread};
use crate::{App, Error};

/// Open pages of one person that are told.
const MOST_OF_ONE: usize = 6;
/// And of all.
const MOST: usize = 20_000;

/// What a watcher has seen, and how often news came: a page asks for them when this changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    pub unread: Unread,
    pub number: u64,
}

#[derive(Default)]
pub struct Hub {
    people: Mutex<HashMap<i64, Watched>>,
    closing: CancellationToken,
}

struct Watched {
    news: watch::Sender<Option<News>>,
    wake: Arc<Notify>,
}

impl Hub {
    /// Something happened to this person; nothing if nobody looks.
    pub fn wake(&self, person: i64) {
        if let Some(watched) = self.lock().get(&person) {
            watched.wake.notify_one();
        }
    }

    /// Pages that are told of news just now.
    pub fn streams(&self) -> usize {
        self.lock()
            .values()
            .map(|watched| watched.news.receiver_count())
            .sum()
    }

    /// Open streams end, as the process does.
    pub fn close(&self) {
        self.closing.cancel();
    }

    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Watched>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes a page of this person. The watcher ends with the last page.
pub fn subscribe(app: &App, person: i64) -> Result<watch::Receiver<Option<News>>, Error> {
    if app.live.streams() >= MOST {
        return Err(too_many());
    }
    let mut people = app.live.lock();
    if let Some(watched) = people.get(&person) {
        if watched.news.receiver_count() >= MOST_OF_ONE {
            return Err(too_many());
        }
        let mut receiver = watched.news.subscribe();
        // What is known already is told at once.
        receiver.mark_changed();
        return Ok(receiver);
    }
    let (news, receiver) = watch::channel(None);
    let wake = Arc::new(Notify::new());
    people.insert(
        person,
        Watched {
            news: news.clone(),
            wake: wake.clone(),
        },
    );
    tokio::spawn(look(app.clone(), person, news, wake));
    Ok(receiver)
}

fn too_many() -> Error {
    Error::TooMany {
        retry_after: Duration::from_secs(30),
    }
}

async fn look(app: App, person: i64, news: watch::Sender<Option<News>>, wake: Arc<Notify>) {
    let interval = Duration::from_millis(app.config.live_interval);
    let mut woken = 0;
    loop {
        // A shard that is down is asked again at the next turn; the page stays open meanwhile.
        if let Ok(unread) = sessions::unread(&app, person).await {
            let now = News {
                unread,
                number: woken,
            };
            news.send_if_modified(|old| {
                let changed = *old != Some(now);
                *old = Some(now);
                changed
            });
        }
        if tokio::time::timeout(interval, wake.notified())
            .await
            .is_ok()
        {
            woken += 1;
        }
        let mut people = app.live.lock();
        if news.receiver_count() == 0 {
            people.remove(&person);
            return;
        }
    }
}
