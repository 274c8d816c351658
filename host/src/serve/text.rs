//! Texts as addresses write them.

/// What percent signs stand for in a part of an address, in a query also what pluses do (RFC 3986, 2.1, and the URL
/// Standard's `application/x-www-form-urlencoded`); nothing where that is no text.
pub fn decoded(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                // `from_str_radix` takes signs.
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
                rest = &rest[2..];
            }
            b'+' if is_query => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The keys and values of a query.
pub fn query(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(key, true)?, decoded(value, true)?))
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_and_pluses_are_read() {
        assert_eq!(decoded("sea%20lion%2Fgr%C3%B6%C3%9Fer%3f", false).unwrap(), "sea lion/größer?");
        assert_eq!((decoded("a+b", false).unwrap(), decoded("a+b", true).unwrap()), ("a+b".into(), "a b".into()));
        assert_eq!(
            query("a=1&&b&c=d=e").unwrap(),
            [("a", "1"), ("b", ""), ("c", "d=e")].map(|(k, v)| (k.into(), v.into()))
        );
        for bad in ["%", "%2", "%+1", "%-1", "%c3", "%\u{e9}"] {
            assert_eq!(decoded(bad, false), None, "{bad}");
        }
    }
}
