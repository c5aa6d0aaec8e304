//! A store that speaks S3: a small server of this test's own, with paths in path style, asked by the application's client.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use social_app::media::open_store;
use tests::Cluster;
use tokio::net::TcpListener;

use crate::{Town, addresses, files, http};

const MOMENT: &str = "Thu, 26 Nov 2026 08:00:00 GMT";

/// The bucket `town`, in memory.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Parts of uploads under way, by the upload's id.
    parts: Mutex<BTreeMap<String, BTreeMap<u32, Bytes>>>,
    /// Methods with what was asked of them, in their order.
    asked: Mutex<Vec<String>>,
}

impl Bucket {
    async fn serve(self: Arc<Bucket>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bucket = Arc::clone(&self);
                let service = service_fn(move |request| {
                    let bucket = Arc::clone(&bucket);
                    async move { Ok::<_, Infallible>(bucket.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move {
                    drop(http.serve_connection(TokioIo::new(stream), service).await)
                });
            }
        });
        port
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let signed = head
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        if !signed.is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=mayor/")) {
            return status(StatusCode::FORBIDDEN);
        }
        let Some(key) = head.uri.path().strip_prefix("/town") else {
            return status(StatusCode::NOT_FOUND);
        };
        let key = key.trim_start_matches('/').to_owned();
        let query = head.uri.query().unwrap_or("").to_owned();
        self.asked.lock().unwrap().push(format!(
            "{} {}",
            head.method,
            query.split('=').next().unwrap_or("")
        ));
        let body = body.collect().await.unwrap().to_bytes();
        let range = head
            .headers
            .get(RANGE)
            .map(|range| range.to_str().unwrap().to_owned());
        match head.method {
            Method::GET if key.is_empty() => self.list(&query),
            Method::GET | Method::HEAD => {
                self.get(&key, range.as_deref(), head.method == Method::HEAD)
            }
            Method::PUT => self.put(key, &query, body),
            Method::POST => self.upload(key, &query),
            Method::DELETE => {
                self.objects.lock().unwrap().remove(&key);
                status(StatusCode::NO_CONTENT)
            }
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let prefix = parameter(query, "prefix").replace("%2F", "/");
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
        let contents: String = found
            .map(|(key, bytes)| {
                let size = bytes.len();
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-26T08:00:00.000Z</LastModified>\
                    <ETag>\"e\"</ETag><Size>{size}</Size></Contents>"
                )
            })
            .collect();
        xml(&format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        ))
    }

    fn get(&self, key: &str, range: Option<&str>, is_head: bool) -> Response<Full<Bytes>> {
        let Some(bytes) = self.objects.lock().unwrap().get(key).cloned() else {
            return status(StatusCode::NOT_FOUND);
        };
        let answer = Response::builder()
            .header(ETAG, "\"e\"")
            .header(LAST_MODIFIED, MOMENT);
        if is_head {
            let answer = answer.header(CONTENT_LENGTH, bytes.len());
            return answer.body(Full::default()).unwrap();
        }
        let Some(range) = range else {
            return answer.body(bytes.into()).unwrap();
        };
        let (from, to) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let said = format!("bytes {from}-{to}/{}", bytes.len());
        let answer = answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(CONTENT_RANGE, said);
        answer.body(bytes.slice(from..=to).into()).unwrap()
    }

    fn put(&self, key: String, query: &str, body: Bytes) -> Response<Full<Bytes>> {
        let upload = parameter(query, "uploadId");
        if upload.is_empty() {
            self.objects.lock().unwrap().insert(key, body);
        } else {
            let number = parameter(query, "partNumber").parse().unwrap();
            let mut parts = self.parts.lock().unwrap();
            parts.entry(upload).or_default().insert(number, body);
        }
        Response::builder()
            .header(ETAG, "\"e\"")
            .body(Full::default())
            .unwrap()
    }

    /// Begins a file that comes in parts, or puts it together.
    fn upload(&self, key: String, query: &str) -> Response<Full<Bytes>> {
        let upload = parameter(query, "uploadId");
        if upload.is_empty() {
            let id = self.parts.lock().unwrap().len();
            return xml(&format!(
                "<InitiateMultipartUploadResult><UploadId>upload{id}</UploadId></InitiateMultipartUploadResult>"
            ));
        }
        let parts = self.parts.lock().unwrap().remove(&upload).unwrap();
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        self.objects.lock().unwrap().insert(key, whole.into());
        xml("<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>")
    }

    fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

fn parameter(query: &str, name: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map_or(String::new(), |(_, value)| value.to_owned())
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::default())
        .unwrap()
}

fn xml(text: &str) -> Response<Full<Bytes>> {
    Response::new(Bytes::from(text.to_owned()).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_kept_in_a_store_that_speaks_s3() {
    let _turn = super::TURNS.read().await;
    let bucket = Arc::new(Bucket::default());
    let port = Arc::clone(&bucket).serve().await;
    let environment = [
        ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "nowhere".to_owned()),
        ("AWS_ACCESS_KEY_ID", "mayor".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "of the town".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let store = open_store("s3://town/pictures/new", environment).unwrap();
    let database = Cluster::shared().database("media_s3");
    let town = Town::start_with(&database.url(), Some(store)).await;
    let (id, who) = town.join("grace").await;

    // A picture in one piece, and a film that comes and goes in parts.
    let sent = town.send(&who, files::good(3).remove(2)).await;
    assert_eq!(sent.status, StatusCode::CREATED, "{:?}", sent.body);
    let picture = town.ready(&who, sent.json()["id"].as_i64().unwrap()).await;
    assert_eq!(picture["state"], "ready", "{picture}");
    let film = files::long_film(20 << 20);
    let sent = town.send(&who, film.clone().into()).await;
    assert_eq!(sent.status, StatusCode::CREATED, "{:?}", sent.body);
    let video = town.ready(&who, sent.json()["id"].as_i64().unwrap()).await;
    assert_eq!(video["state"], "ready", "{video}");
    let keys = bucket.keys();
    let below = format!("pictures/new/public/{id}/");
    assert!(
        keys.len() == 4 && keys.iter().all(|key| key.starts_with(&below)),
        "{keys:?}"
    );

    for (width, address) in addresses(&picture) {
        let answer = http::get(town.port, &address, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{width}");
        assert_eq!(&answer.body[8..12], b"WEBP");
    }
    let hash = video["hash"].as_str().unwrap();
    let address = format!("/media/{id}/{}/{hash}.mp4", video["id"]);
    let whole = http::get(town.port, &address, &[]).await;
    assert!(whole.body == film, "{} bytes", whole.body.len());
    let part = http::get(town.port, &address, &[("range", "bytes=9000000-9000099")]).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert!(part.body == film[9_000_000..9_000_100]);
    let known = [("if-none-match", whole.header("etag"))];
    assert_eq!(
        http::get(town.port, &address, &known).await.status,
        StatusCode::NOT_MODIFIED
    );

    for medium in [&picture, &video] {
        let path = format!("/api/v1/media/{}", medium["id"]);
        let headers = [("authorization", who.as_str())];
        let answer = http::request(town.port, Method::DELETE, &path, &headers, Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(bucket.keys(), Vec::<String>::new());
    assert_eq!(
        http::get(town.port, &address, &[]).await.status,
        StatusCode::NOT_FOUND
    );
    let asked = bucket.asked.lock().unwrap().clone();
    for way in [
        "PUT ",
        "PUT partNumber",
        "POST uploads",
        "POST uploadId",
        "GET list-type",
        "HEAD ",
        "DELETE ",
    ] {
        assert!(
            asked.iter().any(|one| one == way),
            "{way:?} is not in {asked:?}"
        );
    }
    town.end().await;
}
