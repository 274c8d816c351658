//! Just enough of Rust's grammar to tell code from comments and text.

/// Identifiers, `::` and single punctuation marks of `text`, without comments, strings and characters.
pub fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end > at {
            at = end;
            continue;
        }
        let end = word_end(&chars, at);
        let word: String = chars[at..end].iter().collect();
        if !word.trim().is_empty() {
            words.push(word);
        }
        at = end;
    }
    words
}

fn word_end(chars: &[char], at: usize) -> usize {
    let identifier = |c: &char| c.is_alphanumeric() || *c == '_';
    if identifier(&chars[at]) {
        return at + chars[at..].iter().take_while(|c| identifier(c)).count();
    }
    if chars[at..].starts_with(&[':', ':']) { at + 2 } else { at + 1 }
}

/// End of the comment, string or character that starts at `at`; `at` itself where none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => at + rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => at + comment_len(rest),
        ['"', ..] => at + 1 + quoted_len(&rest[1..], '"'),
        ['r', '"' | '#', ..] if at == 0 || !chars[at - 1].is_alphanumeric() => at + raw_len(rest),
        ['\'', '\\', ..] => at + 1 + quoted_len(&rest[1..], '\''),
        // A lifetime has no closing quote.
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
}

/// Length of a block comment; they nest.
fn comment_len(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length up to and with the closing quote.
fn quoted_len(rest: &[char], quote: char) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of a raw string `r##"..."##`; nothing where `r#` begins a raw identifier.
fn raw_len(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let len = body.windows(closing.len()).position(|w| w == closing).unwrap_or(body.len());
    (2 + hashes + len + closing.len()).min(rest.len())
}
