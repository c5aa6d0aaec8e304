//! Asks the shards' Patroni who leads, once a second where one is configured: `GET /cluster` of whichever member answers.
//! Bounded in time and in bytes; without an answer all goes on as if there were no Patroni.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::patroni::{Cluster, Patroni};

const PERIOD: Duration = Duration::from_secs(1);
/// From the connection to the end of the answer.
const LIMIT: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 256 << 10;

/// Until the control thread ends. Shards that join later name no Patroni.
pub(super) async fn watch(config: Arc<Config>) {
    let mut tasks = JoinSet::new();
    for shard in config.cluster.shards.all().iter() {
        if let Some(patroni) = &shard.patroni {
            let (id, patroni) = (shard.id, Arc::clone(patroni));
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(PERIOD);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let mut was_heard = true;
                loop {
                    ticks.tick().await;
                    let heard = ask_all(&patroni).await;
                    match &heard {
                        Ok(_) if was_heard => {}
                        Ok(_) => tracing::info!(shard = %id, "Patroni answers again"),
                        Err(why) if was_heard => {
                            tracing::warn!(shard = %id, why, "Patroni does not answer; the shard's hosts are asked themselves");
                        }
                        Err(_) => {}
                    }
                    was_heard = heard.is_ok();
                    if let Ok(cluster) = heard {
                        patroni.say(cluster);
                    }
                }
            });
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// All at once: the first answer that names a leader counts, else the first of all. A member that is cut off from the
/// consensus answers late or with an error.
async fn ask_all(patroni: &Patroni) -> Result<Cluster, String> {
    let endpoints = patroni.endpoints.iter();
    let mut asked: FuturesUnordered<_> = endpoints.map(|endpoint| ask_in_time(endpoint)).collect();
    let mut best = Err("no endpoint".to_owned());
    while let Some(said) = asked.next().await {
        match said {
            Ok(cluster) if cluster.leader.is_some() => return Ok(cluster),
            Ok(cluster) => best = best.or(Ok(cluster)),
            Err(why) => best = best.or(Err(why)),
        }
    }
    best
}

async fn ask_in_time(endpoint: &str) -> Result<Cluster, String> {
    match tokio::time::timeout(LIMIT, ask(endpoint)).await {
        Ok(said) => said.map_err(|why| format!("{endpoint}: {why}")),
        Err(_) => Err(format!(
            "{endpoint}: no answer within {} s",
            LIMIT.as_secs()
        )),
    }
}

async fn ask(endpoint: &str) -> Result<Cluster, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(endpoint)
        .await
        .map_err(|error| told(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| told(&error))?;
    // Ends with this function, whatever its end is.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::builder()
        .method(Method::GET)
        .uri("/cluster")
        .header(HOST, endpoint);
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| told(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| told(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("GET /cluster gives {status}"));
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await;
    Cluster::parse(&body.map_err(|error| error.to_string())?.to_bytes())
}
