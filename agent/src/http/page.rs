//! Landing page: plain HTML without scripts.

use std::fmt::Write as _;

/// Contents of the landing page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Reason why the agent is not ready, if it is not.
    pub not_ready: Option<String>,
    /// Facts about the node and the parts of the agent that work on it, as name and value, in the
    /// order of display.
    pub facts: Vec<(String, String)>,
}

/// Renders the page. Nothing in `status` is trusted.
pub(super) fn render(status: &Status) -> String {
    let mut page = String::with_capacity(2048);
    page.push_str(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Podvitals</title>\n\
         <style>\nbody { font: 1rem/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; \
         padding: 0 1rem; color-scheme: light dark }\n\
         th { text-align: left; font-weight: normal; padding-right: 2rem; vertical-align: top }\n\
         td { overflow-wrap: anywhere }\n</style>\n</head>\n<body>\n<h1>Podvitals ",
    );
    escape(&mut page, &status.version);
    page.push_str("</h1>\n<p>How every Pod on this node lives and dies.</p>\n");
    if let Some(why) = &status.not_ready {
        page.push_str("<p><strong>Not ready: ");
        escape(&mut page, why);
        page.push_str("</strong></p>\n");
    }
    page.push_str("<ul>\n");
    let links =
        [("metrics", "metrics for Prometheus"), ("livez", "liveness"), ("readyz", "readiness")];
    for (path, what) in links {
        let _never_fails =
            writeln!(page, "<li><a href=\"/{path}\"><code>/{path}</code></a> {what}</li>");
    }
    page.push_str("</ul>\n<table>\n");
    for (name, value) in &status.facts {
        page.push_str("<tr><th>");
        escape(&mut page, name);
        page.push_str("</th><td>");
        escape(&mut page, value);
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

fn escape(page: &mut String, text: &str) {
    for c in crate::escape::lines(text).chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, render};

    #[test]
    fn hostile_text_is_escaped() {
        let hostile = "</td><script>alert(\"1\")</script>&'\0\u{202e}".to_owned();
        let page = render(&Status {
            version: hostile.clone(),
            not_ready: Some(hostile.clone()),
            facts: vec![(hostile.clone(), hostile)],
        });
        assert!(!page.contains("<script") && !page.contains(['\0', '\u{202e}']));
        let escaped =
            "&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\\u{0}\\u{202e}";
        assert_eq!(page.matches(escaped).count(), 4);
    }
}
