//! The files that pages load, built into the program.

use super::message::Reply;

/// Name, type and text of each.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", CSS, include_str!("assets/style.css")),
    ("common.js", JS, include_str!("assets/common.js")),
    ("board.js", JS, include_str!("assets/board.js")),
    ("capture.js", JS, include_str!("assets/capture.js")),
    ("chart.js", JS, include_str!("assets/chart.js")),
    ("device.js", JS, include_str!("assets/device.js")),
    ("data.js", JS, include_str!("assets/data.js")),
    ("errors.js", JS, include_str!("assets/errors.js")),
    ("runs.js", JS, include_str!("assets/runs.js")),
    ("try.js", JS, include_str!("assets/try.js")),
    ("welcome.js", JS, include_str!("assets/welcome.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The file called `name`.
pub fn find(name: &str) -> Option<Reply> {
    let (_, content_type, text) = ASSETS.iter().find(|(known, ..)| *known == name)?;
    Some(Reply::asset(content_type, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_load_nothing_from_elsewhere() {
        for (name, _, text) in ASSETS {
            let addresses: Vec<&str> = text
                .match_indices("//")
                .filter_map(|(at, _)| text[..at].rsplit([' ', '"', '\'', '(', '`']).next())
                .collect();
            let others: Vec<&&str> = addresses.iter().filter(|scheme| ["http:", "https:"].contains(scheme)).collect();
            // The name of SVG's namespace is no address that anything loads.
            let allowed = text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(others.len(), allowed, "{name}");
            assert!(!text.contains("innerHTML"), "{name}: text that is not escaped");
        }
        assert!(find("style.css").is_some() && find("../serve.rs").is_none());
    }
}
