//! What is asked and what is answered, without any of the library that carries it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::text;

/// What is to be done with what the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read it.
    Get,
    /// Do it.
    Post,
    /// Anything else, which nothing here answers.
    Other,
}

/// The headers that decide something here; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// Name and port that the client believes to talk to.
    pub host: String,
    /// Where the page comes from that sent it.
    pub origin: Option<String>,
    /// How that relates to this server, as browsers say: `same-origin`, `cross-site`, ...
    pub fetch_site: Option<String>,
    /// `navigate` where a person goes to another page.
    pub fetch_mode: Option<String>,
    /// A token.
    pub authorization: Option<String>,
    /// Cookies.
    pub cookie: Option<String>,
}

/// Whether whoever asked has gone away: long work looks now and then.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether nobody waits any more.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Nobody waits any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request that was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// With what: the parts of the path between slashes, decoded. Empty for `/`.
    pub path: Vec<String>,
    /// The query's keys and values, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the client is still there.
    pub gone: Gone,
}

impl Request {
    /// A request without a body.
    ///
    /// # Errors
    /// The path or the query is no text.
    pub fn new(method: Method, path: &str, query: &str, headers: Headers) -> Result<Self, Fault> {
        let unreadable = || Fault::new(400, "the address cannot be read");
        let parts = path.split('/').filter(|part| !part.is_empty());
        let path = parts.map(|part| text::decoded(part, false)).collect::<Option<_>>().ok_or_else(unreadable)?;
        let query = text::query(query).ok_or_else(unreadable)?;
        Ok(Self { method, path, query, headers, body: Vec::new(), gone: Gone::default() })
    }

    /// The query's value of `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether the query switches `key` on; `usual` where it says nothing.
    ///
    /// # Errors
    /// It has another value than a switch has.
    pub fn is_on(&self, key: &str, usual: bool) -> Result<bool, Fault> {
        match self.value(key) {
            None => Ok(usual),
            Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(_) => Err(Fault::new(400, format!("{key} is true or false"))),
        }
    }

    /// The number that the query gives for `key`, if it does.
    ///
    /// # Errors
    /// It is none, or above `most`.
    pub fn number(&self, key: &str, most: usize) -> Result<Option<usize>, Fault> {
        let Some(text) = self.value(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|&number: &usize| number <= most);
        number.map(Some).ok_or_else(|| Fault::new(400, format!("{key} is a number up to {most}")))
    }
}

/// A request that gets no answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Status of HTTP.
    pub status: u16,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Fault {
    /// A fault.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// There is no such thing.
    pub fn missing(what: &str) -> Self {
        Self::new(404, format!("there is no such {what}"))
    }

    /// What was sent cannot be used.
    pub fn unusable(error: &anyhow::Error) -> Self {
        Self::new(422, format!("{error:#}"))
    }

    /// What was asked for cannot be done as things are.
    pub fn conflict(error: &anyhow::Error) -> Self {
        Self::new(409, format!("{error:#}"))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status of HTTP.
    pub status: u16,
    /// Type of its content.
    pub content_type: &'static str,
    /// Its content.
    pub body: Cow<'static, [u8]>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn new(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: 200, content_type, body: body.into(), headers: Vec::new() }
    }

    /// A JSON value.
    pub fn json(value: &Value) -> Self {
        Self::new("application/json", value.to_string().into_bytes())
    }

    /// A page.
    pub fn html(page: String) -> Self {
        Self::new("text/html; charset=utf-8", page.into_bytes())
    }

    /// A PNG file.
    pub fn png(bytes: Vec<u8>) -> Self {
        Self::new("image/png", bytes)
    }

    /// A file that is built in.
    pub fn asset(content_type: &'static str, text: &'static str) -> Self {
        Self::new(content_type, text.as_bytes())
    }

    /// Sends a browser to another page.
    pub fn redirect(to: &str) -> Self {
        let mut reply = Self::new("text/plain; charset=utf-8", &b""[..]);
        (reply.status, reply.headers) = (303, vec![("location", to.to_owned())]);
        reply
    }

    /// With a header more.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        let reply = Self::json(&json!({ "error": fault.message }));
        Self { status: fault.status, ..reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let request = Request::new(Method::Get, "/a%20b//c", "x=1&y=%C3%A9+z&on", Headers::default()).unwrap();
        assert_eq!(request.path, ["a b", "c"]);
        assert_eq!((request.value("x"), request.value("y"), request.value("on")), (Some("1"), Some("é z"), Some("")));
        assert_eq!((request.number("x", 5).unwrap(), request.number("z", 5).unwrap()), (Some(1), None));
        assert!(request.number("x", 0).is_err() && request.number("y", 9).is_err());
        assert!(
            request.is_on("x", false).unwrap()
                && request.is_on("z", true).unwrap()
                && request.is_on("y", true).is_err()
        );
        for bad in ["/%", "/%f", "/%zz", "/%ff"] {
            assert_eq!(Request::new(Method::Get, bad, "", Headers::default()).unwrap_err().status, 400, "{bad}");
        }
        assert!(Request::new(Method::Get, "/", "a=%ff", Headers::default()).is_err());
    }
}
