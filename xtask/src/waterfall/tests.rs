use std::env;

use testbed::otlp::{Node, Span, Status, Value};

use super::{rows::MAX_ROWS, *};

fn folder() -> PathBuf {
    paths::root().join("xtask/src/waterfall/testdata")
}

fn tree(name: &str) -> Tree {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let [tree] = otlp::trees(&otlp::from_lines(&text).unwrap()).unwrap().try_into().unwrap();
    tree
}

/// Texts and names of elements of a picture, if it is well-formed: all that is opened is closed, and
/// nothing else is markup.
fn well_formed(svg: &str) -> (Vec<String>, Vec<String>) {
    let (mut texts, mut elements, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = svg;
    while let Some((text, after)) = rest.split_once('<') {
        assert!(!text.contains('>'), "{text}");
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            assert!(known.iter().any(|it| entity.starts_with(it)), "{text}");
        }
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        if !text.trim().is_empty() {
            texts.push(text.to_owned());
        }
        let (tag, after) = after.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name = tag.split([' ', '/']).next().unwrap().to_owned();
            elements.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = after;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    (texts, elements)
}

#[test]
fn each_kind_of_trace_is_drawn_as_before() {
    for name in ["startup", "restart", "shutdown"] {
        let svg = draw(&tree(name));
        well_formed(&svg);
        let file = folder().join(format!("{name}.svg"));
        if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            fs::write(&file, &svg).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap();
        assert!(svg == golden, "UPDATE_GOLDEN=1 rewrites {}; then look at it", file.display());
    }
}

#[test]
fn a_picture_has_all_spans_and_events_and_what_went_wrong() {
    let tree = tree("shutdown");
    let (texts, elements) = well_formed(&draw(&tree));
    let has =
        |wanted: &str| assert!(texts.iter().any(|it| it.contains(wanted)), "{wanted}: {texts:?}");
    for (_, Node { span, .. }) in tree.nodes() {
        has(&span.name);
        span.events.iter().for_each(|event| has(&event.name));
    }
    has("shop/web-7d4b9c6f5-abcde");
    has("trace 0af7651916cd43dd8448eb211c80319c");
    has("container termination · sidecar");
    has("SIGKILL after the grace period of 30 s");
    has("SIGTERM, runtime, ignored true");
    let count = |name: &str| elements.iter().filter(|it| *it == name).count();
    let events: usize = tree.nodes().iter().map(|(_, node)| node.span.events.len()).sum();
    // The first rectangle is the background.
    assert_eq!((count("rect") - 1, count("path")), (tree.nodes().len(), events));
}

#[test]
fn no_text_of_a_trace_is_markup() {
    const EVIL: &str = "</text><script>alert(1)</script>&\"'\u{0}\u{1b}[31m\n\u{202e}";
    let mut tree = tree("shutdown");
    let spoil = |span: &mut Span| {
        span.name = EVIL.to_owned();
        span.trace_id = EVIL.to_owned();
        span.status = Status::Error(EVIL.to_owned());
        for values in [&mut span.attributes, &mut span.resource] {
            values.values_mut().for_each(|value| *value = Value::Text(EVIL.to_owned()));
        }
        for event in &mut span.events {
            event.name = EVIL.to_owned();
            event.attributes.values_mut().for_each(|it| *it = Value::Text(EVIL.to_owned()));
        }
    };
    spoil(&mut tree.root.span);
    tree.root.children.iter_mut().for_each(|node| spoil(&mut node.span));
    let (texts, elements) = well_formed(&draw(&tree));
    assert!(!elements.contains(&"script".to_owned()));
    assert!(texts.concat().contains("&lt;script&gt;"));
    assert!(!texts.concat().contains('\u{202e}'));
    let name = file_name(&tree);
    assert!(!name.contains(['/', '<', '\n']), "{name}");
}

#[test]
fn a_picture_is_bounded_whatever_the_trace_is() {
    let mut tree = tree("startup");
    let child = tree.root.children[0].clone();
    for n in 0..10_000_u64 {
        let mut child = child.clone();
        child.span.name = "x".repeat(10_000);
        // Anywhere, and backwards.
        child.span.start_unix_ns = n.wrapping_mul(u64::MAX / 7);
        child.span.end_unix_ns = u64::MAX - n;
        tree.root.children.push(child);
    }
    let svg = draw(&tree);
    let (texts, _) = well_formed(&svg);
    assert!(svg.len() < 64 << 10, "{}", svg.len());
    assert!(texts.iter().any(|text| text.starts_with("… ")), "{texts:?}");
    assert!(svg.matches("<rect").count() <= MAX_ROWS + 1);
}

#[test]
fn durations_have_three_digits() {
    for (ns, text) in [
        (0, "0.00 µs"),
        (999, "1.00 µs"),
        (11_000_000, "11.0 ms"),
        (850_000_000, "850 ms"),
        (32_500_000_000, "32.5 s"),
        (599_000_000_000, "599 s"),
        (900_000_000_000, "15 min 0 s"),
    ] {
        assert_eq!(rows::duration(ns), text);
    }
}
