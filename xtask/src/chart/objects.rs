//! Objects of Kubernetes by kind and name: read, compared and changed, for the checks of what is rendered.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::sources::read;
use crate::paths;

/// Kind and name of each object.
pub(super) type Objects = BTreeMap<(String, String), Value>;

/// What is in a text of many documents.
pub(super) fn objects(text: &str) -> Result<Objects> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut objects = Objects::new();
    for document in documents.into_iter().filter(|it| !it.is_null()) {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").context("an object without a kind")?;
        let name = text("/metadata/name").with_context(|| format!("a {kind} without a name"))?;
        let key = (kind.to_owned(), name.to_owned());
        ensure!(objects.insert(key.clone(), document).is_none(), "two of {key:?}");
    }
    Ok(objects)
}

/// The objects of a manifest in `deploy/`.
pub(super) fn manifest(path: &str) -> Result<Objects> {
    objects(&read(&paths::root().join(path))?).with_context(|| path.to_owned())
}

/// What is deployed without Helm, but for the namespace: a release is kept in it, so it is there
/// before.
pub(super) fn deployed() -> Result<Objects> {
    let mut objects = manifest("deploy/daemonset.yaml")?;
    objects.retain(|(kind, _), _| kind != "Namespace");
    Ok(objects)
}

/// Fails with the first thing that differs.
pub(super) fn equal(what: &str, made: &Objects, wanted: &Objects) -> Result<()> {
    let keys = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    ensure!(keys(made) == keys(wanted), "{what}: {:?}, not {:?}", keys(made), keys(wanted));
    for (key, wanted) in wanted {
        if let Some(made) = made.get(key)
            && let Some(difference) = difference(made, wanted, "")
        {
            bail!("{what}: {key:?}{difference}");
        }
    }
    println!("    ok      {what} ({} objects)", made.len());
    Ok(())
}

/// Where two values differ first.
fn difference(made: &Value, wanted: &Value, at: &str) -> Option<String> {
    if let (Value::Object(made), Value::Object(wanted)) = (made, wanted) {
        let mut keys = made.keys().chain(wanted.keys().filter(|key| !made.contains_key(*key)));
        return keys.find_map(|key| {
            let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
            let (made, wanted) = (value(made), value(wanted));
            difference(
                &made.unwrap_or_default(),
                &wanted.unwrap_or_default(),
                &format!("{at}/{key}"),
            )
        });
    }
    if let (Value::Array(made), Value::Array(wanted)) = (made, wanted)
        && made.len() == wanted.len()
    {
        let mut pairs = made.iter().zip(wanted).enumerate();
        return pairs
            .find_map(|(i, (made, wanted))| difference(made, wanted, &format!("{at}/{i}")));
    }
    (made != wanted).then(|| format!("{at}: {made}, not {wanted}"))
}

/// The object of this kind.
pub(super) fn one<'a>(objects: &'a mut Objects, kind: &str) -> Result<&'a mut Value> {
    let mut of_kind = objects.iter_mut().filter(|((it, _), _)| it == kind);
    of_kind.next().map(|(_, object)| object).with_context(|| format!("no {kind}"))
}

pub(super) const CONTAINER: &str = "/spec/template/spec/containers/0";
pub(super) const POD: &str = "/spec/template/spec";

/// Sets a key of what is at `pointer`; null removes it.
pub(super) fn set(object: &mut Value, pointer: &str, key: &str, value: Value) -> Result<()> {
    let map = object.pointer_mut(pointer).and_then(Value::as_object_mut);
    let map = map.with_context(|| format!("no map at {pointer:?}"))?;
    if value.is_null() {
        map.remove(key).with_context(|| format!("no {key} at {pointer:?}"))?;
    } else {
        map.insert(key.to_owned(), value);
    }
    Ok(())
}
