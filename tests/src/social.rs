//! The social network as a running server, and programs and browsers that use it.

pub mod browser;
mod http;

use std::net::SocketAddr;

use clap::Parser as _;
use serde_json::{Value, json};
use social_app::config::{Cli, Command, Config};
use social_app::{App, db, server};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub use http::{Answer, request, send};

/// A server in this process; gone when dropped.
pub struct Town {
    pub address: SocketAddr,
    pub app: App,
    stop: Option<oneshot::Sender<()>>,
    media: TempDir,
}

/// Somebody who uses the API.
#[derive(Debug, Clone)]
pub struct Citizen {
    pub id: i64,
    pub name: String,
    pub token: String,
    address: SocketAddr,
}

fn config(url: &str, media: &str, options: &[&str]) -> Config {
    let mut arguments = vec![
        "social-app",
        "serve",
        url,
        "--media",
        media,
        "--live-interval",
        "100",
    ];
    arguments.extend([
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--pool-size",
        "12",
    ]);
    arguments.extend(options);
    match Cli::parse_from(arguments).command {
        Command::Serve(config) => config,
        other => unreachable!("{other:?}"),
    }
}

impl Town {
    /// On a database of any kind, which gets the tables.
    pub async fn start(url: &str, options: &[&str]) -> Town {
        if let Ok(filter) = std::env::var("TEST_APP_LOG") {
            // An error: another test has begun already.
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .try_init();
        }
        let media = TempDir::new().expect("a directory for media");
        let path = media.path().to_string_lossy().into_owned();
        let app = App::open(config(url, &path, options)).expect("the application opens");
        let mut client = db::connect(url).await.expect("the database is there");
        db::migrate::migrate(&mut client).await.expect("migrations");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let running = server::run(app.clone(), listener, async {
            // Dropped without a word is a word, too.
            let _ = stopped.await;
        });
        tokio::spawn(async move { running.await.expect("the server ends well") });
        Town {
            address,
            app,
            stop: Some(stop),
            media,
        }
    }

    /// The directory of the media store.
    pub fn media(&self) -> &std::path::Path {
        self.media.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Joins by the API.
    pub async fn join(&self, name: &str) -> Citizen {
        let wish = json!({
            "user_name": name, "email": format!("{name}@town.example"), "name": format!("The {name}"), "password": "a long password",
        });
        let answer = request(self.address, "POST", "/api/v1/people", &[], Some(&wish)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let told = answer.json();
        Citizen {
            id: told["user_id"].as_i64().expect("an id"),
            name: name.to_owned(),
            token: told["token"].as_str().expect("a token").to_owned(),
            address: self.address,
        }
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        // An error: it has stopped already.
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Citizen {
    /// Calls the API; any answer.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/api/v1{path}");
        request(self.address, method, &path, &headers, body.as_ref()).await
    }

    async fn well(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(method, path, body).await;
        let status = answer.status;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {}",
            answer.text()
        );
        if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.well("GET", path, None).await
    }

    pub async fn put(&self, path: &str) -> Value {
        self.well("PUT", path, None).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.well("DELETE", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.well("POST", path, Some(body)).await
    }

    /// Posts a text; gives the post's address within the API.
    pub async fn write(&self, text: &str) -> String {
        let post = self.post("/posts", json!({ "body": text })).await;
        format!("/posts/{}/{}", self.id, post["id"])
    }

    /// Texts of the home feed's first page, the newest first.
    pub async fn feed(&self) -> Vec<String> {
        texts(&self.get("/feed").await, "body")
    }
}

/// One field of all items of a page.
pub fn texts(page: &Value, field: &str) -> Vec<String> {
    let items = page["items"].as_array().expect("a page has items");
    let texts = items
        .iter()
        .map(|item| item[field].as_str().unwrap_or_default());
    texts.map(str::to_owned).collect()
}
