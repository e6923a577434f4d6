//! Who may ask: only the page itself, on this machine, opened by the address that we printed.
//!
//! A page of another site can send requests to a loopback address: it does not know the token. One whose name is made to resolve to
//! 127.0.0.1 shares our origin in the browser's eyes: its Host is not ours.

use std::{fmt::Write as _, io};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

/// What the page sends the token in. No form and no image can send it.
pub const TOKEN: &str = "x-arl-token";

/// Of each response.
pub const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// What a request must have.
#[derive(Debug)]
pub struct Guard {
    token: String,
    port: u16,
}

impl Guard {
    /// For this port, with a token that nobody knows yet.
    pub fn new(port: u16) -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut token = String::new();
        for byte in bytes {
            let _ = write!(token, "{byte:02x}");
        }
        Ok(Self { token, port })
    }

    /// What a browser opens. What is behind the # is sent to nobody.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/#{}", self.port, self.token)
    }

    /// Why a request is refused. The page itself is no secret, what it asks for is.
    pub fn refuses(&self, path: &str, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        // Browsers leave out the port that http has anyway.
        let port = if self.port == 80 { String::new() } else { format!(":{}", self.port) };
        let ours = ["127.0.0.1", "localhost"].map(|host| format!("{host}{port}"));
        let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if !text(header::HOST).is_some_and(|host| ours.iter().any(|own| own == host)) {
            return Some((StatusCode::MISDIRECTED_REQUEST, "this is not the name of kubectl arl ui\n"));
        }
        let is_foreign =
            |origin: &str| !origin.strip_prefix("http://").is_some_and(|host| ours.iter().any(|own| own == host));
        if text(header::ORIGIN).is_some_and(is_foreign) {
            return Some((StatusCode::FORBIDDEN, "another site may not ask\n"));
        }
        if path.starts_with("/api/") && !headers.get(TOKEN).is_some_and(|token| self.is_token(token)) {
            return Some((StatusCode::UNAUTHORIZED, "open the address that kubectl arl ui printed\n"));
        }
        None
    }

    /// Takes as long for each wrong one.
    fn is_token(&self, token: &HeaderValue) -> bool {
        let (given, own) = (token.as_bytes(), self.token.as_bytes());
        given.len() == own.len() && given.iter().zip(own).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_that_was_opened_by_us_is_answered() {
        let guard = Guard::new(4000).unwrap();
        let token = guard.address().rsplit('#').next().unwrap().to_owned();
        assert_eq!(token.len(), 64);
        assert_ne!(guard.address(), Guard::new(4000).unwrap().address(), "each has its own");
        let wrong = "0".repeat(64);
        for (path, host, origin, given, expected) in [
            ("/", "127.0.0.1:4000", None, None, None),
            ("/page.js", "localhost:4000", Some("http://localhost:4000"), None, None),
            ("/api/state", "127.0.0.1:4000", None, Some(&token), None),
            ("/api/state", "127.0.0.1:4000", Some("http://127.0.0.1:4000"), Some(&token), None),
            ("/api/state", "127.0.0.1:4000", None, None, Some(401)),
            ("/api/state", "127.0.0.1:4000", None, Some(&wrong), Some(401)),
            ("/api/state", "127.0.0.1:4000", Some("http://evil.example"), Some(&token), Some(403)),
            ("/api/state", "127.0.0.1:4000", Some("null"), Some(&token), Some(403)),
            ("/api/state", "127.0.0.1:4000", Some("https://127.0.0.1:4000"), Some(&token), Some(403)),
            ("/api/state", "evil.example:4000", None, Some(&token), Some(421)),
            ("/", "evil.example:4000", None, None, Some(421)),
            ("/", "127.0.0.1", None, None, Some(421)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            if let Some(given) = given {
                headers.insert(TOKEN, given.parse().unwrap());
            }
            let refused = guard.refuses(path, &headers).map(|(code, _)| code.as_u16());
            assert_eq!(refused, expected, "{path} {host} {origin:?}");
        }
    }
    #[test]
    fn browsers_leave_out_port_80() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "127.0.0.1".parse().unwrap());
        headers.insert(header::ORIGIN, "http://127.0.0.1".parse().unwrap());
        assert_eq!(Guard::new(80).unwrap().refuses("/", &headers), None);
        assert!(Guard::new(81).unwrap().refuses("/", &headers).is_some());
    }
}
