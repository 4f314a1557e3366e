//! Settings of traces: where they go and how, by flags and by OpenTelemetry's environment variables.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::{HeaderMap, Uri};
use opentelemetry::KeyValue;

use super::endpoint::{self, Protocol};
use super::link;
use super::variables::{Given, Variables};
use super::volume;

/// Value of a flag that may hold a secret: it is not shown.
#[derive(Clone, Default)]
pub struct Hidden(String);

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Flags of traces. Those that OpenTelemetry has environment variables for win over these; the
/// variables are read by [`TraceArgs::settings`], because there an empty value is none.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Traces (none until an endpoint is set)")]
pub struct TraceArgs {
    /// URL of the OTLP receiver that gets traces, such as http://collector:4318 (over HTTP the path
    /// /v1/traces is added); no traces without one [env: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    /// OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long = "trace.endpoint", value_name = "URL")]
    pub endpoint: Option<Hidden>,
    /// Protocol: grpc or http/protobuf [default: http/protobuf] [env:
    /// OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL].
    #[arg(long = "trace.protocol", value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// Headers of each request: key=value,key=value with percent-encoded values. Other processes of
    /// the node can read flags; better set the variable [env: OTEL_EXPORTER_OTLP_TRACES_HEADERS,
    /// OTEL_EXPORTER_OTLP_HEADERS].
    #[arg(long = "trace.headers", value_name = "LIST")]
    pub headers: Option<Hidden>,
    /// CA certificates that the receiver's is checked against [default: the public ones] [env:
    /// OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE, OTEL_EXPORTER_OTLP_CERTIFICATE].
    #[arg(long = "trace.ca-file", value_name = "FILE")]
    pub ca_file: Option<String>,
    /// Certificate that the agent shows to the receiver [env:
    /// OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE].
    #[arg(long = "trace.client-certificate-file", value_name = "FILE")]
    pub client_certificate_file: Option<String>,
    /// Private key of that certificate [env: OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY,
    /// OTEL_EXPORTER_OTLP_CLIENT_KEY].
    #[arg(long = "trace.client-key-file", value_name = "FILE")]
    pub client_key_file: Option<String>,
    /// Compression of requests: gzip or none [default: none] [env:
    /// OTEL_EXPORTER_OTLP_TRACES_COMPRESSION, OTEL_EXPORTER_OTLP_COMPRESSION].
    #[arg(long = "trace.compression", value_name = "CODING")]
    pub compression: Option<String>,
    /// Timeout of a request, from the connection to the whole answer [default: 10000] [env:
    /// OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT].
    #[arg(long = "trace.timeout", value_name = "MILLISECONDS")]
    pub timeout: Option<String>,
    /// Time for which spans wait for others of their batch [default: 5000] [env:
    /// OTEL_BSP_SCHEDULE_DELAY].
    #[arg(long = "trace.schedule-delay", value_name = "MILLISECONDS")]
    pub schedule_delay: Option<String>,
    /// Spans of a batch, at most [default: 512] [env: OTEL_BSP_MAX_EXPORT_BATCH_SIZE].
    #[arg(long = "trace.batch-max-spans", value_name = "N")]
    pub batch_max_spans: Option<String>,
    /// Spans that wait to be sent, at most; then the oldest are dropped and counted [default: 16384]
    /// [env: OTEL_BSP_MAX_QUEUE_SIZE].
    #[arg(long = "trace.queue-max-spans", value_name = "N")]
    pub queue_max_spans: Option<String>,
    /// Bytes of these, at most.
    #[arg(
        long = "trace.queue-max-bytes",
        env = "PODVITALS_TRACE_QUEUE_MAX_BYTES",
        value_name = "BYTES",
        default_value = "4194304"
    )]
    pub queue_max_bytes: u64,
    /// Shortest duration of a trace in which nothing went wrong; shorter ones are left out.
    #[arg(
        long = "trace.min-duration",
        env = "PODVITALS_TRACE_MIN_DURATION",
        value_name = "MILLISECONDS",
        default_value = "0"
    )]
    pub min_duration_ms: u64,
    /// Send only traces in which something went wrong: an OOM, a SIGKILL, a failed probe, an exit code
    /// other than 0, a start that does not end.
    #[arg(long = "trace.only-abnormal", env = "PODVITALS_TRACE_ONLY_ABNORMAL")]
    pub only_abnormal: bool,
    /// Traces of one workload a minute, and ten times as many at once; 0 for no limit.
    #[arg(
        long = "trace.max-per-minute",
        env = "PODVITALS_TRACE_MAX_PER_MINUTE",
        value_name = "N",
        default_value = "60"
    )]
    pub max_per_minute: u32,
    /// Annotation of a Pod that names a span, as a W3C traceparent, to which its traces are linked.
    #[arg(
        long = "trace.link-annotation",
        env = "PODVITALS_TRACE_LINK_ANNOTATION",
        value_name = "KEY",
        default_value = link::DEFAULT_ANNOTATION,
        value_parser = link::annotation_key
    )]
    pub link_annotation: String,
}

/// A file, with the flag or variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Path of the file.
    pub path: PathBuf,
    /// The flag or variable.
    pub by: String,
}

impl From<Given> for NamedFile {
    fn from(given: Given) -> Self {
        Self { path: given.value.into(), by: given.name }
    }
}

/// Settings of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// URL that requests go to; over HTTP with its path.
    pub url: Uri,
    /// Protocol.
    pub protocol: Protocol,
    /// Headers of each request; their values are not shown.
    pub headers: HeaderMap,
    /// Whether requests are compressed with gzip.
    pub gzip: bool,
    /// Timeout of a request, from the connection to the whole answer.
    pub timeout: Duration,
    /// CA certificates; `None` for the public ones.
    pub ca: Option<NamedFile>,
    /// Certificate of the agent and its private key.
    pub client: Option<(NamedFile, NamedFile)>,
    /// Time for which spans wait for others of their batch.
    pub schedule_delay: Duration,
    /// Spans of a batch, at most.
    pub batch_max_spans: u64,
    /// Spans that wait, at most.
    pub queue_max_spans: u64,
    /// Bytes that wait, at most.
    pub queue_max_bytes: u64,
    /// Attributes that each resource begins with: `service.name` and those of
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<KeyValue>,
}

impl Settings {
    /// The receiver as people read it: protocol and URL, without its query, which may be secret.
    #[must_use]
    pub fn describe(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let host = self.url.authority().map(ToString::to_string).unwrap_or_default();
        let gzip = if self.gzip { ", gzip" } else { "" };
        format!("{} to {scheme}://{host}{}{gzip}", self.protocol.name(), self.url.path())
    }
}

impl TraceArgs {
    /// Limits of what is sent.
    #[must_use]
    pub const fn limits(&self) -> volume::Limits {
        volume::Limits {
            min_duration_ns: self.min_duration_ms.saturating_mul(1_000_000),
            only_abnormal: self.only_abnormal,
            per_minute: self.max_per_minute,
        }
    }

    /// The settings by these flags and the environment; `None` if there are to be no traces: no
    /// endpoint, `OTEL_SDK_DISABLED=true`, or `OTEL_TRACES_EXPORTER=none`.
    ///
    /// # Errors
    /// A value cannot be used; the error names its flag or variable, and what is expected. It does
    /// not repeat what may be secret.
    pub fn settings(&self) -> anyhow::Result<Option<Settings>> {
        self.settings_in(&|name| std::env::var_os(name))
    }

    fn settings_in(
        &self,
        variables: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> anyhow::Result<Option<Settings>> {
        let variables = Variables(variables);
        if is_off(&variables)? {
            return Ok(None);
        }
        let hidden = |hidden: &'_ Option<Hidden>| hidden.as_ref().map(|it| it.0.clone());
        let endpoint = hidden(&self.endpoint);
        let endpoint = variables.exporter("--trace.endpoint", endpoint.as_deref(), "ENDPOINT")?;
        let Some(endpoint) = endpoint else { return Ok(None) };
        let exporter = |flag, value: &Option<String>, variable| {
            variables.exporter(flag, value.as_deref(), variable)
        };
        let protocol = exporter("--trace.protocol", &self.protocol, "PROTOCOL")?;
        let protocol = protocol.map_or(Ok(Protocol::HttpProtobuf), |given| Protocol::of(&given))?;
        let insecure = exporter("", &None, "INSECURE")?;
        let insecure = insecure.map_or(Ok(false), |given| given.boolean())?;
        let headers = hidden(&self.headers);
        let headers = variables.exporter("--trace.headers", headers.as_deref(), "HEADERS")?;
        let gzip = exporter("--trace.compression", &self.compression, "COMPRESSION")?;
        let timeout = exporter("--trace.timeout", &self.timeout, "TIMEOUT")?;
        let timeout = timeout.map_or(Ok(TIMEOUT), |given| given.milliseconds())?;
        let export_timeout = variables.first(&["OTEL_BSP_EXPORT_TIMEOUT"])?;
        let export_timeout = export_timeout.map_or(Ok(timeout), |given| given.milliseconds())?;
        let ca = exporter("--trace.ca-file", &self.ca_file, "CERTIFICATE")?;
        let certificate = exporter(
            "--trace.client-certificate-file",
            &self.client_certificate_file,
            "CLIENT_CERTIFICATE",
        )?;
        let key = exporter("--trace.client-key-file", &self.client_key_file, "CLIENT_KEY")?;
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (Some(one), None) => bail!("{} is set, and no key: --trace.client-key-file", one.name),
            (None, Some(one)) => {
                bail!("{} is set, and no certificate: --trace.client-certificate-file", one.name)
            }
            (None, None) => None,
        };
        let limit = |flag, value: &Option<String>, variable, default| {
            let given = variables.flag_or(flag, value.as_deref(), &[variable])?;
            given.map_or(Ok(default), |given| given.number("a number from 1 to 1000000", 1_000_000))
        };
        let queue_max_spans = limit(
            "--trace.queue-max-spans",
            &self.queue_max_spans,
            "OTEL_BSP_MAX_QUEUE_SIZE",
            QUEUE_SPANS,
        )?;
        let batch_max_spans = limit(
            "--trace.batch-max-spans",
            &self.batch_max_spans,
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            BATCH_SPANS.min(queue_max_spans),
        )?;
        if batch_max_spans > queue_max_spans {
            bail!(
                "a batch of {batch_max_spans} spans (--trace.batch-max-spans, \
                 OTEL_BSP_MAX_EXPORT_BATCH_SIZE) is more than the queue holds: {queue_max_spans} \
                 (--trace.queue-max-spans, OTEL_BSP_MAX_QUEUE_SIZE)"
            );
        }
        if !(64 << 10..=1 << 30).contains(&self.queue_max_bytes) {
            bail!("--trace.queue-max-bytes={}: expected 65536 to 1073741824", self.queue_max_bytes);
        }
        let delay = self.schedule_delay.as_deref();
        let delay =
            variables.flag_or("--trace.schedule-delay", delay, &["OTEL_BSP_SCHEDULE_DELAY"])?;
        Ok(Some(Settings {
            url: endpoint::url(&endpoint, protocol, insecure)?,
            protocol,
            headers: headers.map_or_else(|| Ok(HeaderMap::new()), |it| endpoint::headers(&it))?,
            gzip: gzip.map_or(Ok(false), |given| gzip_of(&given))?,
            timeout: timeout.min(export_timeout),
            ca: ca.map(Into::into),
            client,
            schedule_delay: delay.map_or(Ok(SCHEDULE_DELAY), |given| given.milliseconds())?,
            batch_max_spans,
            queue_max_spans,
            queue_max_bytes: self.queue_max_bytes,
            resource: resource(&variables)?,
        }))
    }
}

/// Defaults of OpenTelemetry.
const TIMEOUT: Duration = Duration::from_secs(10);
const SCHEDULE_DELAY: Duration = Duration::from_secs(5);
const BATCH_SPANS: u64 = 512;
/// OpenTelemetry's default, 2048, is filled by a drained node in a second: here the bytes decide.
const QUEUE_SPANS: u64 = 16_384;

fn is_off(variables: &Variables<'_>) -> anyhow::Result<bool> {
    if let Some(given) = variables.first(&["OTEL_SDK_DISABLED"])?
        && given.boolean()?
    {
        return Ok(true);
    }
    match variables.first(&["OTEL_TRACES_EXPORTER"])? {
        None => Ok(false),
        // A list: each name in it is one more exporter, of which the agent has one.
        Some(given) => {
            let mut names = given.value.split(',').map(str::trim);
            match given.value.as_str() {
                "none" => Ok(true),
                _ if names.any(|name| name == "otlp") => Ok(false),
                _ => Err(given.expected("otlp or none")),
            }
        }
    }
}

fn gzip_of(given: &Given) -> anyhow::Result<bool> {
    match given.value.as_str() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(given.expected("gzip or none")),
    }
}

fn resource(variables: &Variables<'_>) -> anyhow::Result<Vec<KeyValue>> {
    const SERVICE_NAME: &str = opentelemetry_semantic_conventions::resource::SERVICE_NAME;
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut set = |key: String, value: String| {
        attributes.retain(|(known, _)| *known != key);
        attributes.push((key, value));
    };
    set(SERVICE_NAME.into(), "podvitals".into());
    if let Some(given) = variables.first(&["OTEL_RESOURCE_ATTRIBUTES"])? {
        for (key, value) in given.pairs()? {
            let value = String::from_utf8(value)
                .with_context(|| format!("{}: the value of {key} is no UTF-8", given.name))?;
            set(key, value);
        }
    }
    if let Some(given) = variables.first(&["OTEL_SERVICE_NAME"])? {
        set(SERVICE_NAME.into(), given.value);
    }
    Ok(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
