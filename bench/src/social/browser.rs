//! One connection that is kept, as a browser's, with a person's cookie and token.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use social_app::App;
use social_app::models::{sessions, tokens};

pub struct Browser {
    sender: SendRequest<Full<Bytes>>,
    cookie: String,
    bearer: String,
}

impl Browser {
    /// Signs in without a password, which would measure Argon2.
    pub async fn open(app: &App, port: u16, person: i64) -> anyhow::Result<Browser> {
        let session = sessions::start(app, person, "bench").await?;
        let (_, token) = tokens::create(app, person, "bench").await?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its error is the next request's error.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Browser {
            sender,
            cookie: format!("session={}", session.text()),
            bearer: format!("Bearer {}", token.text()),
        })
    }

    /// A page.
    pub async fn page(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header("cookie", &self.cookie);
        self.send(request.body(Full::default())?).await
    }

    /// A call of the interface for programs.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", &self.bearer)
            .header("content-type", "application/json");
        self.send(request.body(Full::from(body))?).await
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        request.headers_mut().insert("host", "bench".parse()?);
        let path = request.uri().path().to_owned();
        // The connection reads the last of an answer after it was handed out.
        self.sender.ready().await.context("no connection")?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .context("no answer")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "{path}: {status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(300)])
            );
        }
        Ok(body)
    }
}
