//! OTLP in JSON, as the Collector's file exporter and Jaeger's query API write it.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value as Json};

use super::span::{Attributes, Event, Link, Scope, Span, SpanKind, Status};
use super::value::Value;

/// The spans in a file of the Collector's file exporter: one message in each line. A last line that is
/// not closed is still being written, and left out.
///
/// # Errors
/// What is wrong, with the line that it is wrong in.
pub fn from_lines(text: &str) -> Result<Vec<Span>> {
    let mut all = Vec::new();
    for (number, line) in whole_lines(text).enumerate() {
        let read = || -> Result<Vec<Span>> {
            let message: Json = serde_json::from_str(line).context("no JSON")?;
            spans(&message)
        };
        all.extend(read().with_context(|| format!("line {}", number + 1))?);
    }
    Ok(all)
}

/// The lines of a text that are closed.
pub fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    whole.split_terminator('\n').filter(|line| !line.is_empty())
}

/// The spans in an answer of Jaeger's query API, version 3: `/api/v3/traces/<id>`, or
/// `/api/v3/traces?…`.
///
/// # Errors
/// What is wrong with it.
pub fn from_answer(text: &str) -> Result<Vec<Span>> {
    let answer: Json = serde_json::from_str(text).context("no JSON")?;
    spans(answer.get("result").context("no result")?)
}

/// The spans in one message.
fn spans(message: &Json) -> Result<Vec<Span>> {
    let mut all = Vec::new();
    for resource_spans in list(message, "resourceSpans")? {
        let resource = attributes(resource_spans.get("resource").unwrap_or(&Json::Null))?;
        for scope_spans in list(resource_spans, "scopeSpans")? {
            let scope = scope_spans.get("scope").unwrap_or(&Json::Null);
            let scope = Scope { name: text(scope, "name")?, version: text(scope, "version")? };
            for json in list(scope_spans, "spans")? {
                let span = span(json, &resource, &scope);
                all.push(span.with_context(|| format!("span {json}"))?);
            }
        }
    }
    Ok(all)
}

fn span(json: &Json, resource: &Attributes, scope: &Scope) -> Result<Span> {
    let parent_id = id::<16>(json, "parentSpanId").ok();
    if parent_id.is_none() {
        let said = text(json, "parentSpanId")?;
        ensure!(said.chars().all(|c| c == '0'), "parentSpanId {said:?} is no id");
    }
    for lost in ["droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"] {
        ensure!(number::<u64>(json, lost)?.unwrap_or(0) == 0, "{lost} is not 0");
    }
    Ok(Span {
        trace_id: id::<32>(json, "traceId")?,
        span_id: id::<16>(json, "spanId")?,
        parent_id,
        name: text(json, "name")?,
        kind: kind(json.get("kind"))?,
        start_unix_ns: number(json, "startTimeUnixNano")?.context("no start")?,
        end_unix_ns: number(json, "endTimeUnixNano")?.context("no end")?,
        attributes: attributes(json)?,
        events: list(json, "events")?.iter().map(event).collect::<Result<_>>()?,
        links: list(json, "links")?.iter().map(link).collect::<Result<_>>()?,
        status: status(json.get("status"))?,
        resource: resource.clone(),
        scope: scope.clone(),
    })
}

fn event(json: &Json) -> Result<Event> {
    Ok(Event {
        name: text(json, "name")?,
        unix_ns: number(json, "timeUnixNano")?.context("an event without a time")?,
        attributes: attributes(json)?,
    })
}

fn link(json: &Json) -> Result<Link> {
    Ok(Link {
        trace_id: id::<32>(json, "traceId")?,
        span_id: id::<16>(json, "spanId")?,
        attributes: attributes(json)?,
    })
}

/// An enum is its number, or its name.
fn kind(json: Option<&Json>) -> Result<SpanKind> {
    Ok(match code(json, "SPAN_KIND_", &KINDS)? {
        0 => SpanKind::Unspecified,
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        other => bail!("span kind {other}"),
    })
}

const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

fn status(json: Option<&Json>) -> Result<Status> {
    let Some(json) = json.filter(|it| !it.is_null()) else { return Ok(Status::Unset) };
    let message = text(json, "message")?;
    Ok(match code(json.get("code"), "STATUS_CODE_", &["UNSET", "OK", "ERROR"])? {
        0 => Status::Unset,
        1 => Status::Ok,
        2 => Status::Error(message),
        other => bail!("status code {other}"),
    })
}

fn code(json: Option<&Json>, prefix: &str, names: &[&str]) -> Result<u64> {
    let known = |name: &str| names.iter().position(|it| Some(*it) == name.strip_prefix(prefix));
    match json {
        None | Some(Json::Null) => Ok(0),
        Some(Json::String(name)) => {
            let code = known(name).with_context(|| format!("unknown name {name:?}"))?;
            Ok(code as u64)
        }
        Some(number) => number.as_u64().with_context(|| format!("no number: {number}")),
    }
}

/// The attributes of a message that has them.
///
/// # Errors
/// One without a key, twice, or with a value of an unknown kind.
pub fn attributes(json: &Json) -> Result<Attributes> {
    map(list(json, "attributes")?)
}

fn map(pairs: &[Json]) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    for pair in pairs {
        let key = pair.get("key").and_then(Json::as_str).context("an attribute without a key")?;
        let value = value(pair.get("value").unwrap_or(&Json::Null));
        let value = value.with_context(|| format!("attribute {key:?}"))?;
        ensure!(
            attributes.insert(key.to_owned(), value).is_none(),
            "attribute {key:?} comes twice"
        );
    }
    Ok(attributes)
}

fn value(json: &Json) -> Result<Value> {
    let empty = Map::new();
    let mut members = json.as_object().unwrap_or(&empty).iter();
    let Some((kind, json)) = members.next() else { return Ok(Value::Empty) };
    ensure!(members.next().is_none(), "two values");
    let string = || json.as_str().map(str::to_owned).context("no text");
    Ok(match kind.as_str() {
        "stringValue" => Value::Text(string()?),
        "bytesValue" => Value::Bytes(string()?),
        "boolValue" => Value::Bool(json.as_bool().context("neither true nor false")?),
        "intValue" => Value::Int(parse(json)?),
        "doubleValue" => Value::Double(json.as_f64().context("no number")?),
        "arrayValue" => {
            Value::List(list(json, "values")?.iter().map(value).collect::<Result<_>>()?)
        }
        "kvlistValue" => Value::Map(map(list(json, "values")?)?),
        other => bail!("unknown kind of value {other:?}"),
    })
}

/// An id of so many hexadecimal digits which are not all 0.
fn id<const DIGITS: usize>(json: &Json, key: &str) -> Result<String> {
    let id = text(json, key)?;
    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let good = id.len() == DIGITS && id.chars().all(digit) && id.chars().any(|c| c != '0');
    ensure!(good, "{key} {id:?} is no id");
    Ok(id)
}

/// The list of that key; empty without one.
///
/// # Errors
/// Something that is no list.
pub fn list<'a>(json: &'a Json, key: &str) -> Result<&'a [Json]> {
    match json.get(key) {
        None | Some(Json::Null) => Ok(&[]),
        Some(list) => list.as_array().map(Vec::as_slice).with_context(|| format!("{key}: no list")),
    }
}

/// The text of that key; empty without one, as in protobuf.
///
/// # Errors
/// Something that is no text.
pub fn text(json: &Json, key: &str) -> Result<String> {
    match json.get(key) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(text) => text.as_str().map(str::to_owned).with_context(|| format!("{key}: no text")),
    }
}

/// The number of that key. 64 bits come as text, fewer as a number.
///
/// # Errors
/// Something that is no such number.
pub fn number<T: FromStr<Err: Display>>(json: &Json, key: &str) -> Result<Option<T>> {
    match json.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(number) => parse(number).map(Some).with_context(|| key.to_owned()),
    }
}

fn parse<T: FromStr<Err: Display>>(json: &Json) -> Result<T> {
    let text = match json {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        other => bail!("no number: {other}"),
    };
    text.parse().map_err(|error| anyhow::anyhow!("{text:?}: {error}"))
}
