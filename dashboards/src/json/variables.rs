//! Variables as JSON.

use serde_json::{Value, json};

use super::parts::{datasource, put};
use crate::variable::{Values, Variable};

/// A variable as JSON.
pub(super) fn variable(variable: &Variable) -> Value {
    let mut object = match &variable.values {
        Values::Datasources => data_sources("prometheus"),
        Values::TraceStores(store) => data_sources(store.kind()),
        Values::Any { series, of } => {
            let mut object = query_variable(series, of);
            put(&mut object, "multi", true.into());
            put(&mut object, "includeAll", true.into());
            put(&mut object, "allValue", ".*".into());
            put(
                &mut object,
                "current",
                json!({ "selected": true, "text": ["All"], "value": ["$__all"] }),
            );
            object
        }
        Values::One { series, of } => query_variable(series, of),
        Values::Fixed { all, chosen } => {
            let options = all.iter().map(|value| {
                json!({ "selected": chosen.contains(value), "text": value, "value": value })
            });
            json!({
                "type": "custom", "query": all.join(", "), "multi": true, "includeAll": true,
                "allValue": ".*", "current": { "selected": true, "text": chosen, "value": chosen },
                "options": options.collect::<Value>(),
            })
        }
    };
    put(&mut object, "name", variable.name.into());
    put(&mut object, "label", variable.label.into());
    let is_hidden = matches!(variable.values, Values::TraceStores(_));
    put(&mut object, "hide", if is_hidden { 2 } else { 0 }.into());
    put(&mut object, "skipUrlSync", false.into());
    object
}

fn data_sources(kind: &str) -> Value {
    json!({
        "type": "datasource", "query": kind, "regex": "", "refresh": 1, "options": [],
        "multi": false, "includeAll": false,
    })
}

fn query_variable(series: &str, of: &str) -> Value {
    let query = format!("label_values({series}, {of})");
    json!({
        "type": "query",
        "datasource": datasource(),
        "query": { "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "regex": "",
        // On each change of the time range, so that what is gone can be chosen while it is in range.
        "refresh": 2,
        "sort": 1,
        "multi": false,
        "includeAll": false,
        "options": [],
    })
}
