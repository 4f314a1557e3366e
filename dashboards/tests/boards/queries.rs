//! Queries: each parses, names only what is exported, and is right with two replicas of Prometheus.

use std::fs;

use promql_parser::parser::{self, Expr};
use serde_json::Value;
use testbed::promql::{Labels, Vocabulary};

use crate::read::{between, boards, columns, folder, list, name, panels, text, variables};

/// Grafana's own variables, and a value of each.
const BUILT_IN: [(&str, &str); 6] = [
    ("__interval", "1m"),
    ("__rate_interval", "5m"),
    ("__interval_ms", "60000"),
    ("__range_s", "10800"),
    ("__range", "3h"),
    ("datasource", "prometheus"),
];

/// What docs/METRICS.md has.
pub(crate) fn vocabulary() -> Vocabulary {
    let reference = fs::read_to_string(folder().join("../docs/METRICS.md")).unwrap();
    Vocabulary::of_reference(&reference).unwrap()
}

/// A query with values in the place of the board's variables.
fn filled(board: &Value, query: &str) -> String {
    let mut all: Vec<(&str, String)> =
        BUILT_IN.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    for variable in list(board, "/templating/list") {
        let value = match text(variable, "/type") {
            "custom" => text(variable, "/query").replace(", ", "|"),
            _ if variable["includeAll"] == true => text(variable, "/allValue").to_owned(),
            _ => "chosen".to_owned(),
        };
        all.push((text(variable, "/name"), value));
    }
    // The longest name first: `$__range` is also the beginning of `$__range_s`.
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let filled = all
        .iter()
        .fold(query.to_owned(), |query, (name, value)| query.replace(&format!("${name}"), value));
    assert!(!filled.contains('$'), "{}: an unknown variable in {filled}", text(board, "/uid"));
    filled
}

/// Labels of a target's result.
pub(crate) fn labels(vocabulary: &Vocabulary, board: &Value, target: &Value) -> Labels {
    vocabulary.labels_of(&filled(board, text(target, "/expr"))).unwrap()
}

/// The queries of a board's panels and annotations, with what they are for.
fn queries(board: &Value) -> Vec<(String, &Value)> {
    let of_panels = panels(board)
        .flat_map(|panel| list(panel, "/targets").iter().map(|it| (name(board, panel), it)));
    let of_annotations = list(board, "/annotations/list").iter().map(|it| (name(board, it), it));
    of_panels.chain(of_annotations).collect()
}

#[test]
fn each_query_parses_and_names_what_is_exported() {
    let vocabulary = vocabulary();
    let mut count = 0;
    for board in boards() {
        for (name, query) in queries(&board) {
            let filled = filled(&board, text(query, "/expr"));
            if let Err(error) = vocabulary.labels_of(&filled) {
                panic!("{name}: {error:#}");
            }
            count += 1;
        }
        for variable in list(&board, "/templating/list") {
            let query = text(variable, "/query/query");
            let Some(inner) = query.strip_prefix("label_values(") else { continue };
            let (series, label) = inner.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            let labels = vocabulary.labels_of(&filled(&board, series)).unwrap();
            assert!(labels.contains(label), "{query}");
            count += 1;
        }
    }
    assert!(count > 100, "{count} queries");
}

#[test]
fn legends_and_columns_are_labels_of_the_result() {
    let vocabulary = vocabulary();
    for board in boards() {
        for panel in panels(&board) {
            let name = name(&board, panel);
            let targets = list(panel, "/targets");
            assert!(!targets.is_empty(), "{name} asks nothing");
            let mut in_table = Labels::new();
            for target in targets {
                let labels = labels(&vocabulary, &board, target);
                let legend = text(target, "/legendFormat");
                let is_table = text(target, "/format") == "table";
                assert_eq!(is_table, legend.is_empty(), "{name}");
                for label in between(legend, "{{", "}}") {
                    assert!(labels.contains(label), "{name}: {legend} without {label}");
                }
                in_table.extend(labels);
            }
            for (column, title) in columns(panel) {
                let is_value = match column.strip_prefix("Value #") {
                    Some(id) => targets.iter().any(|target| text(target, "/refId") == id),
                    None => column == "Value" && targets.len() == 1,
                };
                assert!(is_value || in_table.contains(column), "{name}: {title} is no column");
            }
            let titles: Vec<&str> = columns(panel).into_iter().map(|(_, title)| title).collect();
            for matcher in list(panel, "/fieldConfig/overrides") {
                let by_name = text(matcher, "/matcher/id") == "byName";
                let title = text(matcher, "/matcher/options");
                assert!(
                    !by_name || titles.is_empty() || titles.contains(&title),
                    "{name}: {title}"
                );
            }
        }
        for annotation in list(&board, "/annotations/list") {
            let labels = labels(&vocabulary, &board, annotation);
            for label in between(text(annotation, "/textFormat"), "{{", "}}") {
                assert!(labels.contains(label), "{}: {label}", name(&board, annotation));
            }
        }
    }
}

/// Aggregations that add up or count what they are given.
const SUMS: [&str; 6] = ["sum", "count", "avg", "quantile", "stddev", "stdvar"];

/// Calls `each` with every part of an expression.
fn walk(expression: &Expr, each: &mut dyn FnMut(&Expr)) {
    each(expression);
    match expression {
        Expr::Aggregate(it) => walk(&it.expr, each),
        Expr::Binary(it) => {
            walk(&it.lhs, each);
            walk(&it.rhs, each);
        }
        Expr::Call(it) => it.args.args.iter().for_each(|arg| walk(arg, each)),
        Expr::Paren(it) => walk(&it.expr, each),
        Expr::Subquery(it) => walk(&it.expr, each),
        Expr::Unary(it) => walk(&it.expr, each),
        _ => {}
    }
}

/// What an expression does wrong where two replicas of Prometheus are seen at once.
fn counts_twice(vocabulary: &Vocabulary, query: &str) -> Option<String> {
    let parsed = parser::parse(query).unwrap();
    let mut wrong = None;
    walk(&parsed, &mut |part| {
        if let Expr::Aggregate(aggregate) = part
            && SUMS.contains(&aggregate.op.to_string().as_str())
            && vocabulary.labels_of(&aggregate.expr.to_string()).unwrap().contains("replica")
        {
            wrong = Some(format!("{part}"));
        }
    });
    let result = vocabulary.labels_of(query).unwrap();
    wrong.or_else(|| result.contains("replica").then(|| "the result has both".to_owned()))
}

#[test]
fn nothing_is_counted_twice_with_two_replicas() {
    let vocabulary = vocabulary();
    for board in boards() {
        for (name, query) in queries(&board) {
            let wrong = counts_twice(&vocabulary, &filled(&board, text(query, "/expr")));
            assert_eq!(wrong, None, "{name}");
        }
    }
    // And the check itself:
    for twice in [
        "sum(podvitals_series)",
        "max by (node) (sum without (instance) (podvitals_series))",
        "podvitals_series",
    ] {
        assert!(counts_twice(&vocabulary, twice).is_some(), "{twice}");
    }
    assert_eq!(counts_twice(&vocabulary, "sum(max by (node) (podvitals_series))"), None);
}

/// Many machines have units of the same names, and a Pod may be known on two nodes for a while.
#[test]
fn what_is_of_two_nodes_is_kept_apart() {
    let mut lists = 0;
    for board in boards() {
        for (name, query) in queries(&board) {
            let expression = text(query, "/expr");
            for labels in ["by (", "on ("].iter().flat_map(|it| between(expression, it, ")")) {
                let labels: Vec<&str> = labels.split(", ").collect();
                if labels.contains(&"pod") {
                    assert!(labels.contains(&"node"), "{name}: {labels:?} in {expression}");
                    lists += 1;
                }
            }
        }
    }
    assert!(lists > 20, "{lists}");
}

/// How far back a query over time looks for each point.
fn ranges(query: &str) -> Vec<&str> {
    between(query, "[", "]")
}

#[test]
fn rates_over_time_use_the_rate_interval() {
    for board in boards() {
        for (name, query) in queries(&board) {
            let expression = text(query, "/expr");
            let whole_range = |at: &str| expression.contains(&format!("[{at}] @ end()"));
            for range in ranges(expression) {
                let is_range = query["range"] == true;
                let fits = match range {
                    "$__rate_interval" => true,
                    "$__range" => !is_range || whole_range(range),
                    // A fixed time that the description names.
                    "30m" => !is_range,
                    _ => false,
                };
                assert!(fits, "{name}: [{range}] in {expression}");
            }
        }
    }
}

#[test]
fn what_lists_containers_is_bounded() {
    let vocabulary = vocabulary();
    for board in boards() {
        if text(&board, "/uid") == "podvitals-pod" {
            continue;
        }
        for (name, query) in queries(&board) {
            let expression = text(query, "/expr");
            let labels = labels(&vocabulary, &board, query);
            let long = ["pod", "workload"].iter().any(|label| labels.contains(*label));
            assert!(!long || expression.contains("topk("), "{name} lists all of {labels:?}");
        }
    }
}

#[test]
fn each_variable_is_used_and_may_be_all_where_it_can() {
    for board in boards() {
        let uid = text(&board, "/uid");
        let everything = board["panels"].to_string() + &board["annotations"].to_string();
        let lists = board["templating"].to_string();
        for (at, variable) in variables(&board).into_iter().enumerate() {
            let later = list(&board, "/templating/list")[at + 1..].iter();
            let chained = later
                .clone()
                .any(|it| text(it, "/query/query").contains(&format!("${variable}\"")));
            let used = everything.contains(&format!("${variable}\"").replace('"', "\\\""))
                || everything.contains(&format!("${{{variable}}}"))
                || lists.contains(&format!("${{{variable}}}"));
            assert!(used || chained, "{uid}: ${variable}");
        }
        assert_eq!(variables(&board).first(), Some(&"datasource"));
        assert_eq!(variables(&board).get(1), Some(&"cluster"));
    }
}
