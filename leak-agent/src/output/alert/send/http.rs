//! A POST over HTTP/1.1, plain or with TLS: one connection per attempt, a limit on its time, a limit on what is read of the
//! answer. Nothing is followed: no redirect, no proxy.

mod tls;

use super::secret::Secret;
use super::{Outcome, signature};
use crate::config::notify::{HttpTarget, UrlSource, check_url};
use crate::output::alert::AlertError;
use crate::output::text::visible;
use crate::sys::clock;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes that are read of an answer: enough for what a person may want to know of an error.
const ANSWER_BYTES: usize = 2 << 10;
/// Bytes of an answer in memory at any time, its head among them.
const BUFFER_BYTES: usize = 16 << 10;
/// The header that says which notification it is.
const ID_HEADER: &str = "x-leak-agent-notification";

/// How one receiver is reached.
#[derive(Debug)]
pub(in crate::output::alert) struct HttpClient {
    url: UrlSource,
    /// Is put behind the URL's path.
    below: Option<&'static str>,
    secret_file: Option<PathBuf>,
    authorization_file: Option<PathBuf>,
    tls: Tls,
    connect_timeout: Duration,
    timeout: Duration,
}

/// Where a request goes.
struct Destination {
    https: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// Why an attempt failed, for the log: nothing of the URL but its host is in it.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("the URL {0}")]
    Url(&'static str),
    #[error("{0}")]
    Secret(#[from] AlertError),
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no TLS connection: {0}")]
    Tls(std::io::Error),
    #[error("cannot be asked: {0}")]
    Request(hyper::http::Error),
    #[error("the connection failed: {0}")]
    Connection(hyper::Error),
}

impl HttpClient {
    /// Checks the URL and reads all files once; secrets are read anew for each attempt, for they may be renewed.
    pub(in crate::output::alert) fn prepare(
        target: &HttpTarget,
        below: Option<&'static str>,
    ) -> Result<Self, AlertError> {
        let client = Self {
            url: target.url.clone(),
            below,
            secret_file: target.secret_file.clone(),
            authorization_file: target.authorization_file.clone(),
            tls: Tls::prepare(target.ca_file.as_deref())?,
            connect_timeout: target.connect_timeout,
            timeout: target.timeout,
        };
        let destination = client.destination().map_err(|error| match error {
            HttpError::Secret(error) => error,
            other => AlertError::Url(other.to_string()),
        })?;
        if destination.https {
            client.tls.check()?;
        }
        for file in [&client.secret_file, &client.authorization_file]
            .into_iter()
            .flatten()
        {
            Secret::read(file)?;
        }
        Ok(client)
    }

    /// One attempt.
    pub(in crate::output::alert) async fn post(&self, id: &str, body: Vec<u8>) -> Outcome {
        let attempt = tokio::time::timeout(self.timeout, self.exchange(id, body)).await;
        match attempt {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Again {
                why: error.to_string(),
                after: None,
            },
            Err(_) => Outcome::Again {
                why: format!("no answer within {} ms", self.timeout.as_millis()),
                after: None,
            },
        }
    }

    async fn exchange(&self, id: &str, body: Vec<u8>) -> Result<Outcome, HttpError> {
        let to = self.destination()?;
        let request = self.request(&to, id, body)?;
        let connect = async {
            let tcp = TcpStream::connect((to.host.as_str(), to.port))
                .await
                .map_err(HttpError::Connect)?;
            if to.https {
                let tls = self.tls.connect(&to.host, tcp).await.map_err(HttpError::Tls)?;
                Ok::<Box<dyn Stream>, HttpError>(Box::new(tls))
            } else {
                Ok::<Box<dyn Stream>, HttpError>(Box::new(tcp))
            }
        };
        let stream = tokio::time::timeout(self.connect_timeout, connect)
            .await
            .map_err(|_| HttpError::ConnectTimeout(self.connect_timeout))??;
        let (mut requests, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Connection)?;
        let answered = async {
            let answer = requests
                .send_request(request)
                .await
                .map_err(HttpError::Connection)?;
            Ok(judge(answer).await)
        };
        // The connection has to be driven; it ends, and is closed, with this function.
        tokio::pin!(answered, connection);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                outcome = &mut answered => return outcome,
                ended = &mut connection, if open => {
                    open = false;
                    if let Err(error) = ended {
                        tracing::debug!(%error, "the connection to a receiver failed");
                    }
                }
            }
        }
    }

    fn destination(&self) -> Result<Destination, HttpError> {
        let url = match &self.url {
            UrlSource::Plain(url) => Secret::new(url.as_str()),
            UrlSource::File(path) => Secret::read(path)?,
        };
        check_url(url.reveal()).map_err(HttpError::Url)?;
        let uri: Uri = url
            .reveal()
            .parse()
            .map_err(|_| HttpError::Url("is not one that can be asked for"))?;
        let https = uri.scheme_str() == Some("https");
        let authority = uri.authority().ok_or(HttpError::Url("has no host"))?;
        let mut path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if let Some(below) = self.below
            && !path.ends_with(below)
        {
            path.truncate(path.trim_end_matches('/').len());
            path.push_str(below);
        }
        Ok(Destination {
            https,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path,
        })
    }

    fn request(&self, to: &Destination, id: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&to.path)
            .header(header::HOST, &to.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("leak-agent/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .header(HeaderName::from_static(ID_HEADER), id);
        if let Some(file) = &self.authorization_file {
            let mut value = HeaderValue::try_from(Secret::read(file)?.reveal())
                .map_err(|error| HttpError::Request(error.into()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(file) = &self.secret_file {
            let key = Secret::read(file)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a Unix time"
            )]
            let value = signature::sign(key.reveal().as_bytes(), clock::unix() as u64, &body);
            request = request.header(HeaderName::from_static(signature::HEADER), value);
        }
        request.body(Full::from(body)).map_err(HttpError::Request)
    }
}

/// A connection, plain or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What an answer means. Of its body no more is read than a person may want to see.
async fn judge(answer: Response<Incoming>) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    let after = answer.headers().get(header::RETRY_AFTER).and_then(retry_after);
    let said = beginning(answer.into_body()).await;
    let said = visible(&said);
    let why = if said.trim().is_empty() {
        format!("status {}", status.as_u16())
    } else {
        format!("status {}: {}", status.as_u16(), said.trim())
    };
    if status.is_redirection() {
        return Outcome::Refused {
            why: format!("{why} (a redirect, which is not followed: give the URL it leads to)"),
        };
    }
    let passes = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    if passes {
        Outcome::Again { why, after }
    } else {
        Outcome::Refused { why }
    }
}

/// The first bytes of a body, as text.
async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                let room = ANSWER_BYTES - bytes.len();
                bytes.extend(data.iter().take(room));
            }
            Some(Err(_)) | None => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Retry-After`: seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Duration::try_from_secs_f64(at.as_secs_f64() - clock::unix()).ok()
}

#[cfg(test)]
mod tests;
