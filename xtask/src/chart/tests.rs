use serde_json::{Value, json};

use super::*;
use crate::image;

fn yaml(path: &str) -> Value {
    let text = read(&paths::root().join(path)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}")).remove(0)
}

fn values() -> Value {
    yaml("deploy/chart/values.yaml")
}

fn schema() -> Value {
    let text = read(&folder().join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What a schema says, a reference followed.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let Some(reference) = schema.get("$ref") else { return schema };
    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
    root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not defined"))
}

#[test]
fn the_chart_is_up_to_date() {
    let stale = stale().unwrap();
    let stale: Vec<_> = stale.keys().collect();
    assert!(stale.is_empty(), "cargo xtask chart makes them anew: {stale:?}");
}

#[test]
fn its_version_is_the_workspaces() {
    let chart = yaml("deploy/chart/Chart.yaml");
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
    assert_eq!(chart["name"], "podvitals");
}

#[test]
fn the_defaults_are_the_manifests() {
    let (values, daemon_set) = (values(), yaml("deploy/base/daemonset.yaml"));
    let (spec, pod) = (&daemon_set["spec"], &daemon_set["spec"]["template"]["spec"]);
    let container = &pod["containers"][0];
    assert_eq!(values["updateStrategy"], spec["updateStrategy"]);
    for key in ["tolerations", "nodeSelector", "priorityClassName"] {
        assert_eq!(values[key], pod[key], "{key}");
    }
    assert_eq!(values["resources"], container["resources"]);
    assert_eq!(values["port"], container["ports"][0]["containerPort"]);
    let (repository, tag) = image::AGENT.split_once(':').unwrap();
    let policy = &container["imagePullPolicy"];
    let image = json!({
        "repository": repository, "tag": "", "digest": "", "pullPolicy": policy, "pullSecrets": [],
    });
    assert_eq!((&values["image"], tag), (&image, env!("CARGO_PKG_VERSION")));
    let policy = yaml("deploy/networkpolicy.yaml");
    assert_eq!(values["networkPolicy"]["from"], policy["spec"]["ingress"][0]["from"]);
}

/// Helm renders the notes for a release alone, so nothing else sees them.
#[test]
fn the_notes_follow_the_port() {
    let notes = read(&folder().join("templates/NOTES.txt")).unwrap();
    assert_eq!(notes.matches("{{ .Values.port }}").count(), 2);
    assert!(!notes.contains(&values()["port"].to_string()));
}

#[test]
fn each_collector_can_be_switched() {
    let metrics = read(&paths::root().join("docs/METRICS.md")).unwrap();
    let table = metrics.split_once("| collector | what it exports |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let known: Vec<(String, String)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (format!("collectors.{}", cells[1].trim_matches('`')), cells[2].to_owned())
        })
        .collect();
    assert!(known.len() > 10, "{known:?}");
    let rows = table::rows(&read(&folder().join("values.yaml")).unwrap()).unwrap();
    let rows: Vec<(String, String)> = rows
        .into_iter()
        .filter(|row| row.path.starts_with("collectors."))
        .inspect(|row| {
            assert_eq!(row.default, row.path != "collectors.probe_phases", "{}", row.path);
        })
        .map(|row| (row.path, row.what))
        .collect();
    assert_eq!(rows, known);
}

/// Every map has a list of its keys, but for what Kubernetes alone knows the keys of.
#[test]
fn the_schema_is_strict() {
    const FREE: [&str; 8] = [
        "affinity/nodeAffinity",
        "affinity/podAffinity",
        "affinity/podAntiAffinity",
        "extraEnv/items/valueFrom",
        "global",
        "networkPolicy/from/items/ipBlock",
        "networkPolicy/from/items/namespaceSelector",
        "networkPolicy/from/items/podSelector",
    ];
    fn look<'a>(schema: &'a Value, root: &'a Value, at: &str, free: &mut Vec<String>) {
        let schema = resolved(schema, root);
        assert!(schema.get("type").is_some() || schema.get("enum").is_some(), "{at} has no type");
        if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
            free.push(at.trim_start_matches('/').to_owned());
        }
        assert_ne!(schema["additionalProperties"], json!(true), "{at}");
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            look(schema, root, &format!("{at}/{key}"), free);
        }
        if schema["type"] == "array" {
            look(&schema["items"], root, &format!("{at}/items"), free);
        }
    }
    let root = schema();
    let mut free = Vec::new();
    look(&root, &root, "", &mut free);
    free.sort();
    assert_eq!(free, FREE);
}

#[test]
fn the_schema_has_what_the_values_have() {
    fn look(schema: &Value, values: &Value, root: &Value, at: &str) {
        let schema = resolved(schema, root);
        let (Some(known), Some(values)) = (schema["properties"].as_object(), values.as_object())
        else {
            return;
        };
        for (key, value) in values {
            let schema =
                known.get(key).unwrap_or_else(|| panic!("{at}.{key} is not in the schema"));
            look(schema, value, root, &format!("{at}.{key}"));
        }
        // What there is no default for is not in the values.
        let optional = ["", ".affinity", ".updateStrategy.rollingUpdate"].contains(&at);
        // A key of type null may not be there.
        let is_forbidden = |key: &String| known[key]["type"] == "null";
        for key in known.keys().filter(|key| !values.contains_key(*key) && !is_forbidden(key)) {
            assert!(optional && (!at.is_empty() || key == "global"), "{at}.{key} is no value");
        }
    }
    let root = schema();
    look(&root, &values(), &root, "");
}
