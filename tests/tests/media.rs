//! Pictures and videos of the social network: a hundred at once, a fifth of them hostile, on a cluster of four shards.

#[path = "media/files.rs"]
mod files;
#[path = "media/http.rs"]
mod http;
#[path = "media/s3.rs"]
mod s3;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser as _;
use futures_util::future::join_all;
use hyper::{Method, StatusCode};
use object_store::ObjectStore;
use serde_json::Value;
use social_app::config::{Cli, Command, Config};
use social_app::db::{self, migrate};
use social_app::models::tokens;
use social_app::{App, server};
use tests::Cluster;
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

struct Town {
    app: App,
    port: u16,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    media: tempfile::TempDir,
}

impl Town {
    async fn start(url: &str) -> Town {
        Town::start_with(url, None).await
    }

    /// With a store other than a directory.
    async fn start_with(url: &str, store: Option<Arc<dyn ObjectStore>>) -> Town {
        let mut client = db::connect(url).await.unwrap();
        migrate::migrate(&mut client).await.unwrap();
        let media = tempfile::tempdir().unwrap();
        let mut app = App::open(config(url, media.path())).unwrap();
        app.media = store.unwrap_or(app.media);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let running = app.clone();
        let served = tokio::spawn(async move {
            server::run(running, listener, stopped).await.unwrap();
        });
        Town {
            app,
            port,
            stop,
            served,
            media,
        }
    }

    /// A person, with the header that proves it.
    async fn join(&self, name: &str) -> (i64, String) {
        let client = self.app.pool.get().await.unwrap();
        let sql = "INSERT INTO users (user_name, email, name, password_hash) VALUES ($1, $2, $1, '-') RETURNING id";
        let email = format!("{name}@example.com");
        let id = client
            .query_one(sql, &[&name, &email])
            .await
            .unwrap()
            .get(0);
        let (_, token) = tokens::create(&self.app, id, "test").await.unwrap();
        (id, format!("Bearer {}", token.text()))
    }

    async fn send(&self, who: &str, file: Bytes) -> http::Answer {
        let headers = [("authorization", who), ("content-type", "image/jpeg")];
        http::request(self.port, Method::POST, "/api/v1/media", &headers, file).await
    }

    /// What became of it, once its sizes are made.
    async fn ready(&self, who: &str, id: i64) -> Value {
        let path = format!("/api/v1/media/{id}");
        let mut found = Value::Null;
        tests::eventually("the picture's sizes are made", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            found = http::get(self.port, &path, &[("authorization", who)])
                .await
                .json();
            found["state"] != "waiting"
        })
        .await;
        found
    }

    /// Of everybody's files; slow machines take their time.
    async fn all_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(240);
        let client = self.app.pool.get().await.unwrap();
        let sql = "SELECT count(*) FROM media WHERE state = 'waiting'";
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(Instant::now() < deadline, "sizes are not made");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap();
    }
}

/// As from the command line, without limits of rates.
fn config(url: &str, media: &std::path::Path) -> Config {
    let media = media.to_str().unwrap();
    let cli = Cli::parse_from(["social-app", "serve", url, "--unlimited", "--media", media]);
    match cli.command {
        Command::Serve(config) => config,
        _ => unreachable!("it says serve"),
    }
}

fn addresses(medium: &Value) -> Vec<(u64, String)> {
    let (owner, id) = (&medium["owner_id"], &medium["id"]);
    let variants = medium["variants"].as_array().unwrap();
    let address = |variant: &Value| {
        let hash = variant["hash"].as_str().unwrap();
        (
            variant["width"].as_u64().unwrap(),
            format!("/media/{owner}/{id}/{hash}.webp"),
        )
    };
    variants.iter().map(address).collect()
}

/// All run in one process; the one that measures its memory runs alone.
static TURNS: RwLock<()> = RwLock::const_new(());

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_files_at_once_are_served_in_all_sizes_or_refused() {
    let _alone = TURNS.write().await;
    let database = Cluster::shared().database("media_hundred");
    let town = Town::start(&database.url()).await;
    let mut people = Vec::new();
    for number in 0..10 {
        people.push(town.join(&format!("person_{number}")).await);
    }
    let (good, hostile) = (files::good(80), files::hostile());
    assert_eq!(hostile.len(), 20);

    let (before, peak) = (resident(), Arc::new(AtomicU64::new(0)));
    let watching = Arc::new(AtomicBool::new(true));
    let watcher = std::thread::spawn({
        let (peak, watching) = (Arc::clone(&peak), Arc::clone(&watching));
        move || {
            while watching.load(Ordering::Relaxed) {
                peak.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let who = |number: usize| people[number % people.len()].1.as_str();
    let right = join_all(good.iter().enumerate().map(async |(number, file)| {
        let answer = town.send(who(number), file.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let sent = answer.json();
        assert_eq!(sent["placeholder"].as_str().unwrap().len(), 28);
        sent["id"].as_i64().unwrap()
    }));
    let wrong = join_all(hostile.iter().enumerate().map(async |(number, case)| {
        let (what, file, status, kind) = case;
        let answer = town.send(who(number), file.clone()).await;
        let problem = answer.json();
        assert_eq!(answer.status, *status, "{what}: {problem}");
        assert_eq!(
            problem["type"],
            format!("/problems/{kind}"),
            "{what}: {problem}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(
            problem["detail"].as_str().unwrap().len() > 10,
            "{what}: {problem}"
        );
    }));
    let (sent, _) = tokio::join!(right, wrong);
    town.all_ready().await;
    watching.store(false, Ordering::Relaxed);
    watcher.join().unwrap();
    let (peak, mebibyte) = (peak.load(Ordering::Relaxed), 1 << 20);
    println!(
        "VmRSS: {} MiB before, {} MiB at most",
        before / mebibyte,
        peak / mebibyte
    );
    // 100 decoded pictures at once would be a gigabyte and more. The files themselves, as they are sent, are among it.
    assert!(peak < before + 250 * mebibyte, "{} MiB", peak / mebibyte);

    for (number, id) in sent.into_iter().enumerate() {
        let medium = town.ready(who(number), id).await;
        assert_eq!(medium["state"], "ready", "{medium}");
        let sizes = addresses(&medium);
        let widths: Vec<u64> = sizes.iter().map(|(width, _)| *width).collect();
        let expected: &[u64] = match number % 8 {
            0 => &[320, 640, 700],
            1 => &[320, 600],
            _ => &[320, 640, 1280],
        };
        assert_eq!(widths, expected, "{medium}");
        for (width, address) in sizes {
            let answer = http::get(town.port, &address, &[]).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (StatusCode::OK, "image/webp")
            );
            assert_eq!(&answer.body[8..12], b"WEBP");
            assert!(
                answer.body.len() < 600 * usize::try_from(width).unwrap(),
                "{width}: {}",
                answer.body.len()
            );
        }
    }
    let left = "SELECT count(*) FROM jobs WHERE kind = 'media-publish'";
    let client = town.app.pool.get().await.unwrap();
    tests::eventually("all jobs are done", async || {
        client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    drop(client);
    let incoming = town.media.path().join("incoming");
    let kept = walk(&incoming);
    assert_eq!(
        kept,
        Vec::<std::path::PathBuf>::new(),
        "files as they were sent are not kept"
    );
    let rows = database.rows_by_shard("media").await;
    assert_eq!(rows.iter().sum::<i64>(), 80);
    assert!(
        rows.iter().filter(|rows| **rows > 0).count() > 1,
        "{rows:?}"
    );
    town.end().await;
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_served_as_by_a_cdn_and_go_when_they_are_deleted() {
    let _turn = TURNS.read().await;
    let database = Cluster::shared().database("media_cdn");
    let town = Town::start(&database.url()).await;
    let (_, who) = town.join("camille").await;
    let film = files::film();
    let headers = [
        ("authorization", who.as_str()),
        ("content-type", "video/mp4"),
    ];
    let sent = http::request(
        town.port,
        Method::POST,
        "/api/v1/media",
        &headers,
        film.clone().into(),
    )
    .await
    .json();
    assert_eq!(
        (
            sent["kind"].as_str(),
            sent["width"].as_i64(),
            sent["height"].as_i64()
        ),
        (Some("video"), Some(640), Some(360))
    );
    let medium = town.ready(&who, sent["id"].as_i64().unwrap()).await;
    let address = format!(
        "/media/{}/{}/{}.mp4",
        medium["owner_id"],
        medium["id"],
        medium["hash"].as_str().unwrap()
    );

    let whole = http::get(town.port, &address, &[]).await;
    assert_eq!(
        (whole.status, whole.header("content-type")),
        (StatusCode::OK, "video/mp4")
    );
    assert_eq!(
        whole.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(
        (
            whole.header("accept-ranges"),
            whole.header("x-content-type-options")
        ),
        ("bytes", "nosniff")
    );
    assert!(whole.body == film);
    let (etag, modified) = (
        whole.header("etag").to_owned(),
        whole.header("last-modified").to_owned(),
    );

    let length = film.len();
    for (headers, status, part) in [
        (vec![("range", "bytes=0-99")], 206, Some((0, 100))),
        (
            vec![("range", "bytes=-50")],
            206,
            Some((length - 50, length)),
        ),
        (
            vec![("range", "bytes=100-"), ("if-range", etag.as_str())],
            206,
            Some((100, length)),
        ),
        (
            vec![("range", "bytes=100-"), ("if-range", "\"other\"")],
            200,
            None,
        ),
        (vec![("range", "bytes=99999999-")], 416, None),
        (vec![("range", "bytes=5-1")], 200, None),
        (vec![("if-none-match", etag.as_str())], 304, None),
        (vec![("if-none-match", "\"other\"")], 200, None),
        (vec![("if-modified-since", modified.as_str())], 304, None),
        (
            vec![("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")],
            200,
            None,
        ),
    ] {
        let answer = http::get(town.port, &address, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("etag"), etag, "{headers:?}");
        match (part, status) {
            (Some((from, to)), _) => {
                assert!(answer.body == film[from..to], "{headers:?}");
                let said = format!("bytes {from}-{}/{length}", to - 1);
                assert_eq!(answer.header("content-range"), said, "{headers:?}");
            }
            (None, 200) => assert!(answer.body == film, "{headers:?}"),
            (None, 416) => assert_eq!(answer.header("content-range"), format!("bytes */{length}")),
            (None, _) => assert!(answer.body.is_empty(), "{headers:?}"),
        }
    }
    let head = http::request(town.port, Method::HEAD, &address, &[], Bytes::new()).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (StatusCode::OK, length.to_string().as_str())
    );

    for wrong in [
        "/media/1/1/x.mp4",
        "/media/../../etc/passwd",
        "/media/a/b/c",
        &address.replace(".mp4", ".html"),
    ] {
        assert_eq!(
            http::get(town.port, wrong, &[]).await.status,
            StatusCode::NOT_FOUND,
            "{wrong}"
        );
    }
    let (_, other) = town.join("denise").await;
    let of_one = format!("/api/v1/media/{}", medium["id"]);
    let mut removed = Vec::new();
    for (who, expected) in [
        (&other, StatusCode::NOT_FOUND),
        (&who, StatusCode::NO_CONTENT),
        (&who, StatusCode::NOT_FOUND),
    ] {
        let headers = [("authorization", who.as_str())];
        let answer =
            http::request(town.port, Method::DELETE, &of_one, &headers, Bytes::new()).await;
        removed.push((answer.status, expected));
    }
    assert!(
        removed.iter().all(|(status, expected)| status == expected),
        "{removed:?}"
    );
    assert_eq!(
        http::get(town.port, &address, &[]).await.status,
        StatusCode::NOT_FOUND
    );
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_describes_its_file_and_mistakes_are_told() {
    let _turn = TURNS.read().await;
    let database = Cluster::shared().database("media_form");
    let town = Town::start(&database.url()).await;
    let (_, who) = town.join("edith").await;
    let form = |parts: &[(&str, &[u8])]| {
        let mut body = Vec::new();
        for (head, content) in parts {
            let head = format!("--x\r\ncontent-disposition: form-data; {head}\r\n\r\n");
            body.extend_from_slice(&[head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend_from_slice(b"--x--\r\n");
        Bytes::from(body)
    };
    let file = files::good(1).remove(0);
    let (alt, named) = ("name=\"alt\"", "name=\"file\"; filename=\"../../a.html\"");
    let long = "ä".repeat(501);
    let wrong = "multipart/form-data";
    let right = "multipart/form-data; boundary=x";
    for (body, kind, status) in [
        (
            form(&[(alt, b" a quiet lake "), (named, &file)]),
            right,
            201,
        ),
        (form(&[(named, &file)]), right, 201),
        (form(&[(alt, b"only words")]), right, 400),
        (form(&[(alt, long.as_bytes()), (named, &file)]), right, 422),
        (form(&[(alt, b"\xff\xfe"), (named, &file)]), right, 422),
        (form(&[(named, b"<html></html>")]), right, 415),
        (Bytes::from_static(b"no form at all"), wrong, 400),
        (file.slice(..file.len() / 2), right, 400),
    ] {
        let headers = [("authorization", who.as_str()), ("content-type", kind)];
        let answer = http::request(town.port, Method::POST, "/api/v1/media", &headers, body).await;
        assert_eq!(answer.status, status, "{:?}", answer.body);
    }
    let sql = "SELECT alt FROM media ORDER BY alt DESC";
    let rows = database.client().await.query(sql, &[]).await.unwrap();
    let told: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(told, ["a quiet lake", ""]);
    let nobody = http::request(town.port, Method::POST, "/api/v1/media", &[], file).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    town.end().await;
}
