//! One HTTP request to one address, bounded in time and in the size of the answer.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Of an answer.
const LARGEST_ANSWER: usize = 64 << 10;

/// `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`, as in a Host header.
    pub authority: String,
}

impl FromStr for Endpoint {
    type Err = String;

    /// No TLS: the admin port is on a network of the cluster's own.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        let wrong = || format!("{text:?} is not an address like http://router:6433");
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let authority = rest.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || authority.contains('/') || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Endpoint {
            authority: authority.to_owned(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        source: std::io::Error,
    },
    #[error("{address} gave no answer within {} s", .limit.as_secs())]
    TooSlow { address: String, limit: Duration },
    #[error("{address} did not answer as HTTP: {why}")]
    Protocol { address: String, why: String },
}

/// What is asked for.
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    /// Sent as `Authorization: Bearer`; never logged.
    pub token: Option<&'a str>,
    pub body: Option<&'a serde_json::Value>,
    /// From the connection to the end of the answer.
    pub limit: Duration,
}

impl Endpoint {
    /// The answer's status and body, whatever the status is.
    pub async fn call(&self, call: &Call<'_>) -> Result<(StatusCode, Bytes), CallError> {
        tokio::time::timeout(call.limit, self.send(call))
            .await
            .unwrap_or_else(|_| {
                Err(CallError::TooSlow {
                    address: self.authority.clone(),
                    limit: call.limit,
                })
            })
    }

    async fn send(&self, call: &Call<'_>) -> Result<(StatusCode, Bytes), CallError> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .map_err(|source| CallError::Connect {
                address: self.authority.clone(),
                source,
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.protocol(error))?;
        // Ends with this function, whatever its end is.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(self.request(call)?).await;
        let response = response.map_err(|error| self.protocol(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER);
        let body = body.collect().await.map_err(|error| self.protocol(error))?;
        Ok((status, body.to_bytes()))
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, CallError> {
        let body = call
            .body
            .map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut request = Request::builder()
            .method(&call.method)
            .uri(call.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = call.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| self.protocol("the token has characters that no header may have"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request
            .body(Full::new(body))
            .map_err(|error| self.protocol(error))
    }

    fn protocol(&self, why: impl ToString) -> CallError {
        CallError::Protocol {
            address: self.authority.clone(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn an_endpoint_has_a_scheme_a_host_and_a_port() {
        let authority = |text: &str| text.parse::<Endpoint>().map(|found| found.authority);
        assert_eq!(
            authority("http://router:6433"),
            Ok("router:6433".to_owned())
        );
        assert_eq!(authority("http://[::1]:6433/"), Ok("[::1]:6433".to_owned()));
        for wrong in [
            "router:6433",
            "http://router",
            "https://router:1",
            "http://:1",
            "http://a:1/b",
        ] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }
}
