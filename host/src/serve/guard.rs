//! Who may ask: programs of this machine, and pages that this server sent itself; from elsewhere, whoever has the token.
//!
//! A page of another site can have a browser send requests here. Its `Host` is then that site's name, where that name was made to
//! point to this machine (DNS rebinding), or its `Origin` and `Sec-Fetch-Site` are those of the site (cross-site request
//! forgery; W3C, *Fetch Metadata Request Headers*). Programs send neither of the two.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

use super::message::{Fault, Method, Reply, Request};

/// The cookie that holds the token.
const COOKIE: &str = "ocellus";

/// Where the server is, and what it takes to ask it.
#[derive(Clone, Debug)]
pub struct Access {
    address: SocketAddr,
    /// 256 random bits; nothing where only this machine can ask.
    token: Option<String>,
}

impl Access {
    /// Of a server that listens on `address`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(address: SocketAddr) -> Result<Self> {
        if address.ip().is_loopback() {
            return Ok(Self { address, token: None });
        }
        let mut bits = [0; 32];
        SysRng.try_fill_bytes(&mut bits).context("the system gives no random numbers for a token")?;
        Ok(Self { address, token: Some(BASE64_URL_SAFE_NO_PAD.encode(bits)) })
    }

    /// The address to open, with the token if there is one.
    pub fn url(&self) -> String {
        match &self.token {
            None => format!("http://{}/", self.address),
            Some(token) => format!("http://{}/?token={token}", self.address),
        }
    }

    /// Decides about a request: nothing where it may be answered, a reply where that is all there is to say.
    ///
    /// # Errors
    /// It is not for this server, comes from another site's page, or lacks the token.
    pub fn check(&self, request: &Request) -> Result<Option<Reply>, Fault> {
        if !self.is_ours(&request.headers.host) {
            return Err(Fault::new(403, "the request is for another host (header Host)"));
        }
        if !is_from_here(request) {
            return Err(Fault::new(403, "the request comes from another site's page (headers Origin, Sec-Fetch-Site)"));
        }
        let Some(token) = &self.token else { return Ok(None) };
        if let Some(given) = request.value("token").filter(|_| request.method == Method::Get && request.path.is_empty())
        {
            if !is_same(given, token) {
                return Err(Fault::new(401, "the token is not the one that `ocellus serve` printed"));
            }
            let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
            return Ok(Some(Reply::redirect("/").with("set-cookie", cookie)));
        }
        let bearer = request.headers.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        if bearer.or(cookie(request)).is_some_and(|given| is_same(given, token)) {
            return Ok(None);
        }
        Err(Fault::new(
            401,
            "open the address with the token that `ocellus serve` printed; programs send it as `Authorization: Bearer TOKEN`",
        ))
    }

    /// Whether `host` means this server: an address and its port, not a name that anyone could point here.
    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        if port != Some(self.address.port()) {
            return false;
        }
        let ip: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        match ip {
            Some(ip) if self.address.ip().is_loopback() => ip.is_loopback(),
            Some(_) => true,
            None => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Whether a program sent it, or a page of this server; a link on another site may lead to a page.
fn is_from_here(request: &Request) -> bool {
    let headers = &request.headers;
    let own = format!("http://{}", headers.host);
    let is_visit = request.method == Method::Get
        && headers.fetch_mode.as_deref() == Some("navigate")
        && request.path.first().is_none_or(|first| first != "api");
    let is_own_origin = headers.origin.as_ref().is_none_or(|origin| origin.eq_ignore_ascii_case(&own));
    let site = headers.fetch_site.as_deref();
    is_own_origin && (is_visit || matches!(site, None | Some("same-origin" | "none")))
}

/// The token in the cookie.
fn cookie(request: &Request) -> Option<&str> {
    let cookies = request.headers.cookie.as_deref()?.split(';');
    cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Compares in a time that says nothing about where the two differ.
fn is_same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::message::Headers;

    fn access(address: &str) -> Access {
        Access::new(address.parse().unwrap()).unwrap()
    }

    fn ask(access: &Access, method: Method, path: &str, headers: Headers) -> Result<Option<Reply>, u16> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        access.check(&Request::new(method, path, query, headers).unwrap()).map_err(|fault| fault.status)
    }

    fn host(host: &str) -> Headers {
        Headers { host: host.to_owned(), ..Headers::default() }
    }

    #[test]
    fn only_this_machines_names_are_answered() {
        let access = access("127.0.0.1:8080");
        assert_eq!(access.url(), "http://127.0.0.1:8080/");
        for name in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(ask(&access, Method::Get, "/", host(name)).unwrap().is_none(), "{name}");
        }
        let others = [
            "",
            "evil.example:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost",
            "10.0.0.1:8080",
            "127.0.0.1.evil.example:8080",
        ];
        for name in others.into_iter().chain(["localhost:8080:8080", "[::1]", "127.0.0.1:", "user@127.0.0.1:8080"]) {
            assert_eq!(ask(&access, Method::Get, "/", host(name)).unwrap_err(), 403, "{name}");
        }
    }

    #[test]
    fn pages_of_other_sites_may_only_link_here() {
        let access = access("127.0.0.1:8080");
        let from = |origin: Option<&str>, site: Option<&str>, mode: Option<&str>| Headers {
            origin: origin.map(str::to_owned),
            fetch_site: site.map(str::to_owned),
            fetch_mode: mode.map(str::to_owned),
            ..host("127.0.0.1:8080")
        };
        let own = Some("http://127.0.0.1:8080");
        for headers in [
            from(None, None, None),
            from(own, Some("same-origin"), Some("cors")),
            from(None, Some("none"), Some("navigate")),
        ] {
            assert!(ask(&access, Method::Post, "/api/v1/jobs", headers).is_ok());
        }
        for headers in [
            from(Some("http://evil.example"), None, None),
            from(Some("http://localhost:8080"), None, None),
            from(Some("null"), Some("cross-site"), Some("navigate")),
            from(None, Some("cross-site"), Some("no-cors")),
            from(None, Some("same-site"), Some("cors")),
        ] {
            for (method, path) in [(Method::Post, "/api/v1/jobs"), (Method::Get, "/api/v1/models")] {
                assert_eq!(ask(&access, method, path, headers.clone()).unwrap_err(), 403, "{headers:?}");
            }
        }
        let link = || from(None, Some("cross-site"), Some("navigate"));
        assert!(ask(&access, Method::Get, "/runs", link()).is_ok());
        assert_eq!(ask(&access, Method::Post, "/runs", link()).unwrap_err(), 403);
    }

    #[test]
    fn from_elsewhere_it_takes_the_token() {
        let access = access("0.0.0.0:8080");
        let url = access.url();
        let (_, token) = url.split_once("?token=").unwrap();
        assert!(token.len() == 43 && url != self::access("0.0.0.0:8080").url());
        let with = |authorization: Option<String>, cookie: Option<String>| Headers {
            authorization,
            cookie,
            ..host("10.0.0.7:8080")
        };
        for headers in [
            with(None, None),
            with(Some(token.to_owned()), None),
            with(Some(format!("Bearer {token}x")), None),
            with(None, Some("ocellus=".into())),
            with(None, Some(format!("other={token}"))),
        ] {
            assert_eq!(ask(&access, Method::Get, "/", headers.clone()).unwrap_err(), 401, "{headers:?}");
        }
        assert!(ask(&access, Method::Get, "/", with(Some(format!("Bearer {token}")), None)).unwrap().is_none());
        assert!(ask(&access, Method::Get, "/", with(None, Some(format!("a=b; ocellus={token}")))).unwrap().is_none());
        let reply = ask(&access, Method::Get, &format!("/?token={token}"), with(None, None)).unwrap().unwrap();
        assert_eq!(reply.status, 303);
        let cookie = &reply.headers.iter().find(|(name, _)| *name == "set-cookie").unwrap().1;
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert_eq!(ask(&access, Method::Get, "/?token=guess", with(None, None)).unwrap_err(), 401);
        assert_eq!(ask(&access, Method::Get, &format!("/runs?token={token}"), with(None, None)).unwrap_err(), 401);
    }
}
