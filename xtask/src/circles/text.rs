//! The text of a source file: its tokens, without tests, and the paths among them.

/// The words and marks of a source text; comments are left out, texts in quotes are one mark.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, token) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), "")
        } else if let Some(length) = raw_string(rest).or_else(|| string(rest)) {
            (length, "\"")
        } else if first == '\'' {
            (character(rest), "")
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (end, rest.get(..end).unwrap_or_default())
        } else if rest.starts_with("::") {
            (2, "::")
        } else {
            let length = first.len_utf8();
            (
                length,
                if first.is_whitespace() { "" } else { rest.get(..length).unwrap_or_default() },
            )
        };
        if !token.is_empty() {
            tokens.push(token.to_owned());
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// Length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let marks = after.len() - after.trim_start_matches('#').len();
    let body = after.trim_start_matches('#').strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(marks));
    let end = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(text.len() - body.len() + end)
}

/// Length of a string that begins here.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix("b\"").or_else(|| text.strip_prefix('"'))?;
    let mut escaped = false;
    let end = body.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(text.len() - body.len() + end.map_or(body.len(), |end| end + 1))
}

/// Length of a character, or of the mark of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        // What is escaped may be a quote; none can follow for 10 characters (`\u{10ffff}`).
        (Some((_, '\\')), Some(_)) => {
            chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The tokens without items behind `#[cfg(test)]`, and the modules in files that are such items.
pub(super) fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some((first, others)) = rest.split_first() {
        let behind = rest.split_at_checked(MARK.len()).filter(|(mark, _)| mark.iter().eq(&MARK));
        if let Some((_, item)) = behind {
            let (item, after) = item.split_at(item_length(item));
            if let [.., keyword, name, end] = item
                && (keyword.as_str(), end.as_str()) == ("mod", ";")
            {
                modules.push(name.clone());
            }
            rest = after;
        } else {
            kept.push(first.clone());
            rest = others;
        }
    }
    (kept, modules)
}

/// How many tokens an item has: to the `;` or the brace that ends it.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0_usize;
    let mut is_use = false;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "use" if depth == 0 => is_use = true,
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The paths that stand in a file, those of a `use` with braces each for itself.
pub(super) fn paths_in(tokens: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    // Depth of braces, and those at which a module within the file began.
    let (mut depth, mut inside) = (0_usize, Vec::new());
    let mut before = "";
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        let known = paths.len();
        rest = after;
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inside.retain(|began| *began < depth);
            }
            "mod" if after.get(1).is_some_and(|token| token == "{") => inside.push(depth),
            "use" => rest = use_tree(after, &[], &mut paths),
            word if is_word(word) && before != "::" && before != "." => {
                let mut path = vec![token.clone()];
                while let [colons, word, after @ ..] = rest
                    && colons == "::"
                    && is_word(word)
                {
                    path.push(word.clone());
                    rest = after;
                }
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            _ => {}
        }
        before = token;
        paths.iter_mut().skip(known).for_each(|path| leave(path, inside.len()));
    }
    paths
}

/// Makes a path within that many modules of a file one of the file.
fn leave(path: &mut Vec<String>, inside: usize) {
    let out = path.iter().take(inside).take_while(|word| *word == "super").count();
    if out > 0 {
        path.splice(..out, ["self".to_owned()]);
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Adds the paths of a tree of a `use`; returns what is behind it.
fn use_tree<'a>(
    tokens: &'a [String],
    prefix: &[String],
    paths: &mut Vec<Vec<String>>,
) -> &'a [String] {
    let mut path = prefix.to_vec();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        match token.as_str() {
            "{" => {
                rest = after;
                while let Some((token, after)) = rest.split_first() {
                    match token.as_str() {
                        "}" => return after,
                        "," => rest = after,
                        // A mark that no tree begins with is passed over.
                        mark if !is_word(mark) && mark != "*" && mark != "{" => rest = after,
                        _ => rest = use_tree(rest, &path, paths),
                    }
                }
                return rest;
            }
            "::" | "*" => rest = after,
            "as" => rest = after.get(1..).unwrap_or_default(),
            word if is_word(word) => {
                path.push(token.clone());
                rest = after;
            }
            _ => break,
        }
    }
    paths.push(path);
    rest
}
