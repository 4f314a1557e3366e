use clap::Parser;

use super::*;

/// `TraceArgs` as a command of its own.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    args: TraceArgs,
}

fn parse(flags: &[&str]) -> TraceArgs {
    Alone::try_parse_from(["x"].iter().chain(flags)).unwrap().args
}

fn settings(flags: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Option<Settings>> {
    let find = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).into())
    };
    parse(flags).settings_in(&find)
}

fn on(flags: &[&str], variables: &[(&str, &str)]) -> Settings {
    settings(flags, variables).unwrap().unwrap()
}

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

#[test]
fn there_are_no_traces_without_an_endpoint_or_where_they_are_switched_off() {
    let on = (ALL, "http://c:4318");
    for variables in [
        &[][..],
        &[(ALL, ""), (TRACES, "  ")],
        &[("OTEL_TRACES_EXPORTER", "otlp")],
        &[on, ("OTEL_SDK_DISABLED", "TRUE")],
        &[on, ("OTEL_TRACES_EXPORTER", "none")],
        &[on, ("OTEL_SDK_DISABLED", "true"), (PROTOCOL, "carrier pigeon")],
    ] {
        assert_eq!(settings(&[], variables).unwrap(), None, "{variables:?}");
    }
    for variables in [
        &[on, ("OTEL_SDK_DISABLED", "false")][..],
        &[on, ("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_EXPORTER", "otlp")],
        &[on, ("OTEL_TRACES_EXPORTER", "console, otlp")],
    ] {
        assert!(settings(&[], variables).unwrap().is_some(), "{variables:?}");
    }
}

#[test]
fn the_url_follows_the_specification() {
    const GRPC: (&str, &str) = (PROTOCOL, "grpc");
    const INSECURE: (&str, &str) = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    for (variables, expected) in [
        (&[(ALL, "http://c:4318")][..], "http://c:4318/v1/traces"),
        (&[(ALL, "http://c:4318/")], "http://c:4318/v1/traces"),
        (&[(ALL, "https://c/otlp/")], "https://c/otlp/v1/traces"),
        (&[(ALL, "https://c/otlp")], "https://c/otlp/v1/traces"),
        (&[(TRACES, "https://c/otlp")], "https://c/otlp"),
        (&[(TRACES, "https://c/otlp?a=b")], "https://c/otlp?a=b"),
        (&[(TRACES, "http://c:4318")], "http://c:4318/"),
        (&[(ALL, "http://all"), (TRACES, "http://traces/x")], "http://traces/x"),
        (&[(ALL, "http://all"), (TRACES, "")], "http://all/v1/traces"),
        (&[(ALL, "http://[::1]:4318")], "http://[::1]:4318/v1/traces"),
        (&[(ALL, "http://c:4317/x"), GRPC], "http://c:4317/"),
        (&[(TRACES, "https://c:4317"), GRPC, INSECURE], "https://c:4317/"),
        (&[(ALL, "c:4317"), GRPC], "https://c:4317/"),
        (&[(ALL, "c:4317"), GRPC, INSECURE], "http://c:4317/"),
        (&[(ALL, "c"), GRPC], "https://c/"),
    ] {
        assert_eq!(on(&[], variables).url, expected, "{variables:?}");
    }
    for (flag, expected) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
        ("https://c/api/v1/traces?k=v", "https://c/api/v1/traces?k=v"),
    ] {
        let flags = ["--trace.endpoint", flag];
        assert_eq!(on(&flags, &[(TRACES, "http://other")]).url, expected);
    }
}

#[test]
fn flags_win_over_variables_of_traces_and_these_over_those_of_all_signals() {
    let flags = [
        "--trace.endpoint=http://c",
        "--trace.protocol=grpc",
        "--trace.compression=gzip",
        "--trace.timeout=1",
        "--trace.schedule-delay=2",
        "--trace.batch-max-spans=3",
        "--trace.queue-max-spans=4",
        "--trace.queue-max-bytes=65536",
        "--trace.headers=a=flag",
        "--trace.ca-file=/flag",
        "--trace.client-certificate-file=/flag-c",
        "--trace.client-key-file=/flag-k",
    ];
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "100"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/traces-c"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/traces-k"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "300"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "400"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "wrong"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "wrong"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "wrong"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "wrong"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all"),
    ];
    let ms = Duration::from_millis;
    let shown = |settings: &Settings| {
        let Settings { protocol, gzip, timeout, schedule_delay, .. } = settings;
        let header = settings.headers["a"].to_str().unwrap().to_owned();
        let (certificate, key) = settings.client.as_ref().unwrap();
        let files = [settings.ca.as_ref().unwrap(), certificate, key];
        let files = files.map(|file| file.path.display().to_string());
        let limits = [settings.batch_max_spans, settings.queue_max_spans];
        (*protocol, *gzip, *timeout, *schedule_delay, limits, header, files.join(" "))
    };
    let both = on(&flags, &variables);
    assert_eq!(
        shown(&both),
        (Protocol::Grpc, true, ms(1), ms(2), [3, 4], "flag".into(), "/flag /flag-c /flag-k".into())
    );
    assert_eq!((both.url.to_string(), both.queue_max_bytes), ("http://c/".into(), 65536));
    assert_eq!(
        shown(&on(&[], &variables)),
        (
            Protocol::HttpProtobuf,
            false,
            ms(100),
            ms(200),
            [300, 400],
            "traces".into(),
            "/traces /traces-c /traces-k".into()
        )
    );
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let settings = on(&[], &[(ALL, "http://c")]);
    assert_eq!(settings.protocol, Protocol::HttpProtobuf);
    assert_eq!((settings.gzip, settings.timeout), (false, Duration::from_secs(10)));
    assert_eq!((settings.batch_max_spans, settings.schedule_delay), (512, Duration::from_secs(5)));
    assert_eq!((settings.queue_max_spans, settings.queue_max_bytes), (16_384, 4 << 20));
    assert!(settings.ca.is_none() && settings.client.is_none() && settings.headers.is_empty());
    assert_eq!(settings.resource, [KeyValue::new("service.name", "podvitals")]);
    let short = on(&[], &[(ALL, "http://c"), ("OTEL_BSP_EXPORT_TIMEOUT", "300")]);
    assert_eq!(short.timeout, Duration::from_millis(300));
    let long = on(&[], &[(ALL, "http://c"), ("OTEL_BSP_EXPORT_TIMEOUT", "30000")]);
    assert_eq!(long.timeout, Duration::from_secs(10));
    let small = on(&[], &[(ALL, "http://c"), ("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
    assert_eq!((small.batch_max_spans, small.queue_max_spans), (100, 100));
}

#[test]
fn headers_are_decoded_and_hidden() {
    let list = "Authorization=Basic%20c2VjcmV0, x-scope = a=b ,,x-scope=c%2Cd";
    let settings = on(&[], &[(ALL, "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", list)]);
    assert_eq!(settings.headers["authorization"], "Basic c2VjcmV0");
    let scopes: Vec<_> = settings.headers.get_all("x-scope").iter().collect();
    assert_eq!(scopes, ["a=b", "c,d"]);
    let debug = format!("{settings:?} {}", settings.describe());
    assert!(!debug.contains("c2VjcmV0") && !debug.contains("a=b"), "{debug}");
    let args = parse(&["--trace.headers", list, "--trace.endpoint", "http://u:c2VjcmV0@h"]);
    assert!(!format!("{args:?}").contains("c2VjcmV0"), "{args:?}");
}

#[test]
fn resource_attributes_are_decoded_and_the_name_of_the_service_wins() {
    let resource = |attributes: &'static str, name: &'static str| {
        let variables = [
            (ALL, "http://c"),
            ("OTEL_RESOURCE_ATTRIBUTES", attributes),
            ("OTEL_SERVICE_NAME", name),
        ];
        let shown = on(&[], &variables).resource;
        let shown = shown.iter().map(|it| format!("{}={}", it.key, it.value));
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(resource("", ""), "service.name=podvitals");
    assert_eq!(resource("a=1,b=%C3%A4", ""), "service.name=podvitals a=1 b=ä");
    assert_eq!(resource("service.name=x,a=1,a=2", ""), "service.name=x a=2");
    assert_eq!(resource("service.name=x,a=1", "y"), "a=1 service.name=y");
}

#[test]
fn what_cannot_be_used_is_named_with_its_place_and_no_secret() {
    let with = |variable: &'static str, value: &'static str| {
        settings(&[], &[(variable, value), (ALL, "http://c")]).unwrap_err().to_string()
    };
    for (variable, value, expected) in [
        (PROTOCOL, "http/json", r#"OTEL_EXPORTER_OTLP_PROTOCOL="http/json": expected grpc or"#),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "TRACES_TIMEOUT=\"10s\": expected a whole"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "expected a whole number of milliseconds from 1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "expected gzip or none"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", "OTEL_EXPORTER_OTLP_INSECURE=\"1\": expected true"),
        ("OTEL_SDK_DISABLED", "yes", "OTEL_SDK_DISABLED=\"yes\": expected true or false"),
        ("OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER=\"console\": expected otlp"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "OTEL_BSP_MAX_QUEUE_SIZE=\"-1\": expected a number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20000", "is more than the queue holds: 16384"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k", "CLIENT_KEY is set, and no certificate"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c", "is set, and no key"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "OTEL_RESOURCE_ATTRIBUTES: item 1 of the list is not"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff", "the value of a is no UTF-8"),
        (TRACES, "collector:4318", "expected a URL that begins with http:// or https://"),
        (TRACES, "ftp://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: expected a URL"),
        (TRACES, "http://", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (TRACES, "https://user:hunter2@c", "a user or password in the URL is not sent"),
        (TRACES, "unix:///run/otel.sock", "expected one such as http://collector:4318"),
        (TRACES, "http://c:99999", "the port in the URL is no number from 1 to 65535"),
        (TRACES, "http://c:0", "the port in the URL is no number from 1 to 65535"),
        (TRACES, "http://c:", "the port in the URL is no number from 1 to 65535"),
        (TRACES, "http://[::1]:4318x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (TRACES, "http://c/#hunter2", "the URL has a fragment, or a query that would be lost"),
        (ALL, "http://c?token=hunter2", "the URL has a fragment, or a query that would be lost"),
        (TRACES, "https://user:hunter2@c d", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: no URL"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,hunter2", "HEADERS: item 2 of the list is not of"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2", "item 1 of the list has no key"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "k=hunter2%2",
            "item 1 of the list has a % that is not followed",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "k=hunter2%+1",
            "item 1 of the list has a % that is not followed",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "k=hunter2%0a", "the value of k has characters"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "k k=hunter2", "is no name of a header"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer hunter2==", "is no name of a header"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: hunter2=%", "has a % that is not followed"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Host=hunter2", "the header host is not for you to set"),
    ] {
        let error = with(variable, value);
        assert!(error.contains(expected), "{variable}={value}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = settings(&["--trace.endpoint=x"], &[]).unwrap_err().to_string();
    assert!(error.starts_with("--trace.endpoint: expected"), "{error}");
    let error = settings(&["--trace.endpoint=http://c", "--trace.queue-max-bytes=1"], &[]);
    assert!(error.unwrap_err().to_string().contains("expected 65536 to"));
}
