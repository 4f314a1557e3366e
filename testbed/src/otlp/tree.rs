//! Traces as trees of their spans.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::span::Span;

/// A whole trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Id of the trace.
    pub trace_id: String,
    /// The root, with everything below it.
    pub root: Node,
}

/// A span and those below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The span.
    pub span: Span,
    /// The spans directly below it, by their starts; those that start at once by their names and ids.
    pub children: Vec<Self>,
}

/// Puts the spans of each trace together, the traces by the starts of their roots.
///
/// # Errors
/// A span that came twice, a trace without a root or with more than one, a span whose parent is not
/// there or is below it.
pub fn trees(spans: &[Span]) -> Result<Vec<Tree>> {
    let mut traces: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span);
    }
    let mut trees = traces.iter().map(|(id, spans)| tree(id, spans)).collect::<Result<Vec<_>>>()?;
    trees.sort_by_key(|tree| tree.root.span.start_unix_ns);
    Ok(trees)
}

fn tree(trace_id: &str, spans: &[&Span]) -> Result<Tree> {
    let mut seen = BTreeSet::new();
    let mut below: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let mut roots = Vec::new();
    for span in spans {
        ensure!(
            seen.insert(&span.span_id),
            "trace {trace_id}: span {} ({:?}) came twice",
            span.span_id,
            span.name
        );
        match &span.parent_id {
            Some(parent) => below.entry(parent).or_default().push(span),
            None => roots.push(*span),
        }
    }
    let names: Vec<_> = roots.iter().map(|span| &span.name).collect();
    let &[root] = &*roots else {
        anyhow::bail!("trace {trace_id}: {} roots {names:?} in {} spans", roots.len(), spans.len())
    };
    let root = node(root, &mut below);
    // What was not taken hangs on nothing, or on itself.
    if let Some(lost) = below.values().flatten().next() {
        anyhow::bail!(
            "trace {trace_id}: span {} ({:?}) is below {:?}, which is not in the tree",
            lost.span_id,
            lost.name,
            lost.parent_id
        );
    }
    Ok(Tree { trace_id: trace_id.to_owned(), root })
}

fn node(span: &Span, below: &mut BTreeMap<&str, Vec<&Span>>) -> Node {
    let mut children = below.remove(span.span_id.as_str()).unwrap_or_default();
    children.sort_by_key(|span| (span.start_unix_ns, &span.name, &span.span_id));
    let children = children.into_iter().map(|child| node(child, below)).collect();
    Node { span: span.clone(), children }
}

impl Tree {
    /// All nodes with their depths, each before those below it.
    #[must_use]
    pub fn nodes(&self) -> Vec<(usize, &Node)> {
        fn add<'a>(node: &'a Node, depth: usize, nodes: &mut Vec<(usize, &'a Node)>) {
            nodes.push((depth, node));
            node.children.iter().for_each(|child| add(child, depth + 1, nodes));
        }
        let mut nodes = Vec::new();
        add(&self.root, 0, &mut nodes);
        nodes
    }

    /// All spans of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.nodes().into_iter().map(|(_, node)| &node.span).filter(move |span| span.name == name)
    }

    /// The names as an indented list, for messages and for comparisons.
    #[must_use]
    pub fn outline(&self) -> String {
        let line =
            |(depth, node): (usize, &Node)| format!("{}{}\n", "  ".repeat(depth), node.span.name);
        self.nodes().into_iter().map(line).collect()
    }
}
