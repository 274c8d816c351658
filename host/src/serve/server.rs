//! HTTP: reads requests within bounds, has a thread answer them, and writes the answers. The only file that knows hyper and tokio.
//!
//! Bounds hold whatever clients do: connections, the time to send a header and a body, the bytes of each, and the bytes of
//! all bodies together. Who sends more waits, and is told so where that takes too long.

use std::convert::Infallible;
use std::error::Error;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::message::{Fault, Gone, Headers, Method, Reply, Request};
use super::routes;
use super::site::Site;

/// Connections at a time; the next wait to be accepted.
const MOST_CONNECTIONS: usize = 128;
/// Bytes of a request's first line and headers.
const MOST_HEADER_BYTES: usize = 16 << 10;
/// Time for a header, also for the next one on a connection that is kept.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Time for a body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Time in which a request gets memory for its body, or a thread.
const WAIT: Duration = Duration::from_secs(60);
/// How long a connection may be used, and how long the answer to its last request may take after that.
const CONNECTION_TIME: Duration = Duration::from_secs(15 * 60);
const LAST_ANSWER: Duration = Duration::from_secs(60);
/// Kibibytes of all bodies that are being read or answered.
const BODY_KIB: usize = 64 << 10;
/// Threads that answer requests at all.
const MOST_THREADS: usize = 32;
/// How often it is looked whether the server is to end.
const TURN: Duration = Duration::from_millis(100);

/// What pages of this server may load: what it sends itself, and pictures that they made.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
                      media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Headers of every answer (OWASP, *HTTP Headers Cheat Sheet*).
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// What requests share.
#[derive(Clone)]
struct Shared {
    site: Arc<Site>,
    /// Kibibytes of bodies that are free.
    memory: Arc<Semaphore>,
    /// Requests with a body, most of which are pictures to decode, that may be answered at a time.
    workers: Arc<Semaphore>,
}

/// Serves what comes to `listener` until `stop` is set.
///
/// # Errors
/// The system gives no threads, or no events of the listener.
pub fn serve(listener: TcpListener, site: &Arc<Site>, stop: &AtomicBool) -> Result<()> {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(2).max_blocking_threads(MOST_THREADS).enable_io().enable_time();
    let runtime = runtime.build().context("cannot start threads")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Shared {
        site: Arc::clone(site),
        memory: Arc::new(Semaphore::new(BODY_KIB)),
        workers: Arc::new(Semaphore::new(cores.clamp(2, 4))),
    };
    listener.set_nonblocking(true).context("cannot listen")?;
    let outcome = runtime.block_on(accept(listener, shared, stop));
    // What still runs waits for nobody.
    runtime.shutdown_background();
    outcome
}

async fn accept(listener: TcpListener, shared: Shared, stop: &AtomicBool) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while !stop.load(Ordering::Relaxed) {
        let Ok(Ok(place)) = timeout(TURN, Arc::clone(&connections).acquire_owned()).await else { continue };
        match timeout(TURN, listener.accept()).await {
            Ok(Ok((stream, _))) => {
                tokio::spawn(connection(stream, shared.clone(), place));
            }
            // Out of files, perhaps: others are closed in time.
            Ok(Err(_)) => sleep(TURN).await,
            Err(_) => {}
        }
    }
    Ok(())
}

/// Answers what comes over `stream`, which takes one of the `_place`s.
async fn connection(stream: TcpStream, shared: Shared, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MOST_HEADER_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // Errors are the client's, who knows them: it went away, or sent what is no HTTP.
    if timeout(CONNECTION_TIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

async fn answer(shared: &Shared, request: hyper::Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = try_answer(shared, request).await.unwrap_or_else(Reply::from);
    let mut response = Response::new(Full::new(match reply.body {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    }));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in HEADERS.into_iter().chain([("content-type", reply.content_type)]) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn try_answer(shared: &Shared, request: hyper::Request<Incoming>) -> Result<Reply, Fault> {
    let (head, body) = request.into_parts();
    let method = match head.method {
        hyper::Method::GET | hyper::Method::HEAD => Method::Get,
        hyper::Method::POST => Method::Post,
        _ => Method::Other,
    };
    let query = head.uri.query().unwrap_or_default();
    let mut request = Request::new(method, head.uri.path(), query, headers(&head.headers))?;
    if let Some(reply) = shared.site.access.check(&request)? {
        return Ok(reply);
    }
    let most = routes::most_bytes(&request)?;
    let (memory, worker);
    if method == Method::Post {
        (request.body, memory) = read(body, most, &shared.memory).await?;
        worker = Some((memory, permit(&shared.workers, 1).await?));
    } else {
        worker = None;
    }
    // Dropped with this future, when the client goes away.
    let watch = Watch(request.gone.clone());
    let site = Arc::clone(&shared.site);
    let work = spawn_blocking(move || {
        let _held = worker;
        routes::answer(&site, &request)
    });
    let reply = work.await.unwrap_or_else(|_| Err(Fault::new(500, "the request could not be answered")));
    drop(watch);
    reply
}

/// Tells work that nobody waits for it any more.
struct Watch(Gone);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn headers(map: &HeaderMap) -> Headers {
    let text = |name: &str| map.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Headers {
        // Two of them are of somebody who tries something.
        host: text("host").filter(|_| map.get_all("host").iter().count() == 1).unwrap_or_default(),
        // One that is no text is no origin of ours.
        origin: map.get("origin").map(|value| value.to_str().unwrap_or("null").to_owned()),
        fetch_site: text("sec-fetch-site"),
        fetch_mode: text("sec-fetch-mode"),
        authorization: text("authorization"),
        cookie: text("cookie"),
    }
}

/// The whole `body` of at most `most` bytes, for which memory is reserved first.
async fn read(body: Incoming, most: usize, memory: &Arc<Semaphore>) -> Result<(Vec<u8>, OwnedSemaphorePermit), Fault> {
    let too_long = || Fault::new(413, format!("the body is longer than {most} bytes"));
    let declared = body.size_hint().exact().map(usize::try_from).transpose().map_err(|_| too_long())?;
    // What does not say its length may have any.
    let length = declared.unwrap_or(most);
    if length > most {
        return Err(too_long());
    }
    let permit = permit(memory, (length >> 10) as u32 + 1).await?;
    match timeout(BODY_TIME, gather(Limited::new(body, most), declared.unwrap_or_default())).await {
        Ok(Ok(bytes)) => Ok((bytes, permit)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Fault::new(400, "the body was cut off")),
        Err(_) => Err(Fault::new(408, format!("the body took longer than {} s", BODY_TIME.as_secs()))),
    }
}

/// All bytes of a body, which says that it has `length`, in one place from the first on.
async fn gather(body: Limited<Incoming>, length: usize) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let (mut body, mut bytes) = (pin!(body), Vec::with_capacity(length));
    while let Some(frame) = body.frame().await {
        frame?.into_data().into_iter().for_each(|data| bytes.extend_from_slice(&data));
    }
    Ok(bytes)
}

async fn permit(of: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Fault> {
    let permit = timeout(WAIT, Arc::clone(of).acquire_many_owned(count)).await;
    permit.ok().and_then(Result::ok).ok_or_else(|| Fault::new(503, "too many requests are waiting: try again later"))
}
