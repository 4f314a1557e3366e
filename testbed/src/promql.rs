//! PromQL expressions of rules and dashboards, held against what is exported: each parses, and names
//! only metrics, labels and label values that there are.

mod vocabulary;

use anyhow::{Context as _, Result, bail, ensure};
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{
        self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality,
        VectorSelector, value::ValueType,
    },
};

pub use vocabulary::{Labels, Vocabulary};

impl Vocabulary {
    /// Labels that the series of an expression's result can have.
    ///
    /// # Errors
    /// The expression does not parse, or names a metric, a label or a label value that is not in the
    /// vocabulary.
    pub fn labels_of(&self, expression: &str) -> Result<Labels> {
        let parsed = parser::parse(expression).map_err(anyhow::Error::msg);
        let labels = parsed.and_then(|parsed| self.expression(&parsed));
        labels.with_context(|| format!("in the expression {expression}"))
    }

    fn expression(&self, expression: &Expr) -> Result<Labels> {
        match expression {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Unary(unary) => self.expression(&unary.expr),
            Expr::Paren(paren) => self.expression(&paren.expr),
            Expr::Subquery(subquery) => self.expression(&subquery.expr),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {
                Ok(Labels::new())
            }
        }
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Labels> {
        let name = selector.name.as_deref().context("a selector without a metric's name")?;
        let labels = self.labels_of_metric(name).with_context(|| format!("no metric {name}"))?;
        let all = &selector.matchers;
        for matcher in all.matchers.iter().chain(all.or_matchers.iter().flatten()) {
            ensure!(labels.contains(&matcher.name), "{name} has no label {}", matcher.name);
            self.value(name, matcher).with_context(|| format!("in a selector of {name}"))?;
        }
        Ok(labels)
    }

    /// A matcher of a label whose values are known may only name such: a misspelt one matches
    /// nothing, or, negated, everything, and nobody sees it.
    fn value(&self, metric: &str, matcher: &Matcher) -> Result<()> {
        let Some(values) = self.values_of(metric, &matcher.name) else { return Ok(()) };
        let (name, given) = (&matcher.name, &matcher.value);
        let named: Vec<&str> = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => vec![given.as_str()],
            MatchOp::Re(_) | MatchOp::NotRe(_) => given.split('|').collect(),
        };
        let unknown = |value: &&&str| !value.is_empty() && !values.contains(**value);
        let Some(unknown) = named.iter().find(unknown) else { return Ok(()) };
        // A pattern and not a list of values.
        if let MatchOp::Re(pattern) | MatchOp::NotRe(pattern) = &matcher.op
            && given.contains(['.', '*', '+', '('])
        {
            ensure!(
                values.iter().any(|value| pattern.is_match(value)),
                "{name} has no value that matches {given}"
            );
            return Ok(());
        }
        bail!("{name} is never {unknown:?}, but one of {values:?}")
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Labels> {
        let mut inner = self.expression(&aggregate.expr)?;
        let op = aggregate.op.to_string();
        if let Some(Expr::StringLiteral(label)) = aggregate.param.as_deref()
            && op == "count_values"
        {
            inner.insert(label.val.clone());
        }
        let keeps = matches!(op.as_str(), "topk" | "bottomk" | "limitk" | "limit_ratio");
        let Some(modifier) = &aggregate.modifier else {
            return Ok(if keeps { inner } else { Labels::new() });
        };
        let named = modifier.labels().labels.iter();
        for label in named.clone() {
            ensure!(inner.contains(label), "{op} by {label}, which no series in it has");
        }
        Ok(match modifier {
            _ if keeps => inner,
            LabelModifier::Include(_) => named.cloned().collect(),
            LabelModifier::Exclude(labels) => {
                inner.into_iter().filter(|label| !labels.labels.contains(label)).collect()
            }
        })
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Labels> {
        let (left, right) = (self.expression(&binary.lhs)?, self.expression(&binary.rhs)?);
        let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
        match (is_vector(&binary.lhs), is_vector(&binary.rhs)) {
            (true, true) => {}
            (false, _) => return Ok(right),
            (true, false) => return Ok(left),
        }
        let op = binary.op.to_string();
        let modifier = binary.modifier.as_ref();
        let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
        if let Some(matching) = matching {
            let (is_on, labels) = (matching.is_include(), &matching.labels().labels);
            for label in labels {
                let known = [&left, &right].map(|side| side.contains(label));
                // What is ignored need not be on both sides.
                let fits = if is_on { known == [true; 2] } else { known != [false; 2] };
                ensure!(fits, "{op}: {label} is not a label of what it joins");
            }
        }
        match op.as_str() {
            "and" | "unless" => return Ok(left),
            "or" => return Ok(&left | &right),
            _ => {}
        }
        let many = |many: Labels, one: &Labels, included: &promql_parser::label::Labels| {
            for label in &included.labels {
                ensure!(one.contains(label), "{op}: {label} is no label of the one side");
            }
            Ok(&many | &included.labels.iter().cloned().collect())
        };
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(included)) => many(left, &right, included),
            Some(VectorMatchCardinality::OneToMany(included)) => many(right, &left, included),
            _ => Ok(match matching {
                Some(LabelModifier::Include(on)) => on.labels.iter().cloned().collect(),
                Some(LabelModifier::Exclude(ignored)) => {
                    left.into_iter().filter(|label| !ignored.labels.contains(label)).collect()
                }
                None => left,
            }),
        }
    }

    fn call(&self, call: &Call) -> Result<Labels> {
        let args: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
        let mut labels = Labels::new();
        for arg in &args {
            labels.extend(self.expression(arg)?);
        }
        let text = |at: usize| match args.get(at) {
            Some(Expr::StringLiteral(text)) => Ok(text.val.clone()),
            _ => bail!("{}: argument {at} is no string", call.func.name),
        };
        let known = |label: String, labels: &Labels| {
            ensure!(labels.contains(&label), "{}: no label {label}", call.func.name);
            Ok(())
        };
        match call.func.name {
            "label_replace" => {
                let from = text(3)?;
                // Of no label, for a label that is the same everywhere.
                if !from.is_empty() {
                    known(from, &labels)?;
                }
                labels.insert(text(1)?);
            }
            "label_join" => {
                for at in 3..args.len() {
                    known(text(at)?, &labels)?;
                }
                labels.insert(text(1)?);
            }
            "histogram_quantile" => {
                ensure!(labels.remove("le"), "histogram_quantile of what has no le");
            }
            "absent" | "absent_over_time" => labels = absent(&args),
            "scalar" => labels.clear(),
            _ => {}
        }
        Ok(labels)
    }
}

/// Labels of the one sample of `absent()`: those that its selector asks to be equal to something.
fn absent(args: &[&Expr]) -> Labels {
    let selector = match args {
        [Expr::VectorSelector(selector)] => selector,
        [Expr::MatrixSelector(matrix)] => &matrix.vs,
        _ => return Labels::new(),
    };
    let equal = selector.matchers.matchers.iter();
    equal.filter(|it| it.op == MatchOp::Equal).map(|it| it.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::of_reference(vocabulary::REFERENCE).unwrap()
    }

    fn labels(text: &str) -> Labels {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn labels_of_a_result_are_followed_through_the_expression() {
        let vocabulary = vocabulary();
        for (expression, expected) in [
            ("sum by (namespace, cause) (rate(podvitals_ends_total[5m]))", "namespace cause"),
            ("sum(podvitals_age_seconds) / 2 > 1", ""),
            ("sum by (namespace) (podvitals_ends_total) > bool 1", "namespace"),
            (
                "podvitals_age_seconds * on (namespace, pod) group_left (image) podvitals_info",
                "cluster node job instance replica prometheus_replica namespace pod image",
            ),
            ("histogram_quantile(0.9, sum by (le, pod) (podvitals_age_seconds_bucket))", "pod"),
            (
                "sum by (pod) (podvitals_age_seconds) or sum by (node) (podvitals_ends_total)",
                "pod node",
            ),
            ("sum by (pod) (podvitals_age_seconds) unless on (pod) podvitals_info", "pod"),
            (r#"absent(up{job="podvitals", node=~".+"})"#, "job"),
            (r#"label_replace(sum by (node) (up), "host", "$1", "node", "(.*)")"#, "node host"),
            (r#"label_replace(sum(up), "sign", "up", "", "")"#, "sign"),
            ("topk by (pod) (1, max by (pod, image) (podvitals_info))", "pod image"),
            ("max by (pod) (max_over_time(podvitals_age_seconds[1h:1m]))", "pod"),
        ] {
            assert_eq!(vocabulary.labels_of(expression).unwrap(), labels(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_not_exported_is_an_error() {
        let vocabulary = vocabulary();
        for (expression, complaint) in [
            ("sum(podvitals_ends", "expression"),
            ("podvitals_end_total", "no metric podvitals_end_total"),
            (r#"{pod="a"}"#, "without a metric's name"),
            (r#"podvitals_ends_total{pod="a"}"#, "no label pod"),
            (r#"podvitals_ends_total{cause="OOM"}"#, r#"never "OOM""#),
            (r#"podvitals_ends_total{cause!="OOM"}"#, r#"never "OOM""#),
            (r#"podvitals_ends_total{cause=~"oom|eror"}"#, r#"never "eror""#),
            (r#"podvitals_ends_total{cause=~"kill.*"}"#, "no value that matches"),
            ("sum by (pod) (podvitals_ends_total)", "by pod"),
            ("sum without (pod) (podvitals_ends_total)", "by pod"),
            ("podvitals_info and on (pod) podvitals_ends_total", "pod is not a label"),
            ("podvitals_ends_total * on (namespace) group_left (age) podvitals_info", "age"),
            ("histogram_quantile(0.9, podvitals_ends_total)", "has no le"),
            (r#"label_replace(podvitals_info, "a", "$1", "b", "(.*)")"#, "no label b"),
        ] {
            let error = format!("{:#}", vocabulary.labels_of(expression).unwrap_err());
            assert!(error.contains(complaint), "{expression}: {error}");
        }
        for good in [
            r#"podvitals_ends_total{cause=~"oom|error"}"#,
            r#"podvitals_ends_total{cause=~"err.*", namespace="anything"}"#,
            r#"podvitals_ends_total{cause!=""}"#,
        ] {
            vocabulary.labels_of(good).unwrap();
        }
    }
}
