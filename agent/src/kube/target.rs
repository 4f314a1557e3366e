//! Targets: what the kubelet asks for in a probe or a hook, so that a connection or a command can be
//! recognised as that.

use super::wire;

/// Longest request target that is kept, in bytes; the kernel side reports less of a request.
const URI_MAX: usize = 256;
/// Longest value of a header or of a host that is kept, in bytes.
const TEXT_MAX: usize = 253;
/// Longest command that is kept, in bytes; the kernel side reports less of one.
const ARGV_MAX: usize = 256;

/// Targets of a container's probes and of its preStop hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Target of the startup probe.
    pub startup: Option<Target>,
    /// Target of the liveness probe.
    pub liveness: Option<Target>,
    /// Target of the readiness probe.
    pub readiness: Option<Target>,
    /// Target of the preStop hook.
    pub pre_stop: Option<Target>,
}

impl Targets {
    /// The targets of a container; `None` without any.
    pub(super) fn of(spec: &wire::Container) -> Option<Box<Self>> {
        let probe = |probe: &Option<wire::Probe>| Target::of_probe(probe.as_ref()?, spec);
        let hook = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let all = Self {
            startup: probe(&spec.startup_probe),
            liveness: probe(&spec.liveness_probe),
            readiness: probe(&spec.readiness_probe),
            pre_stop: hook.and_then(|hook| Target::of_hook(hook, spec)),
        };
        (all != Self::default()).then(|| Box::new(all))
    }

    /// Memory that the targets take, about, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let all = [&self.startup, &self.liveness, &self.readiness, &self.pre_stop];
        size_of::<Self>() + all.into_iter().flatten().map(Target::text_bytes).sum::<usize>()
    }
}

/// Target of a probe or a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A GET over HTTP or HTTPS.
    Http(HttpTarget),
    /// A connection.
    Tcp(Endpoint),
    /// A call of the gRPC health service.
    Grpc(GrpcTarget),
    /// A command in the container.
    Exec(Command),
}

impl Target {
    /// The endpoint of a target in the network; `None` for a command.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Http(http) => Some(&http.endpoint),
            Self::Tcp(endpoint) => Some(endpoint),
            Self::Grpc(grpc) => Some(&grpc.endpoint),
            Self::Exec(_) => None,
        }
    }

    /// Whether the kubelet connects to one in the network.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        !matches!(self, Self::Http(HttpTarget { is_sent: false, .. }))
    }

    /// The command of a target; `None` for one in the network.
    #[must_use]
    pub const fn command(&self) -> Option<&Command> {
        match self {
            Self::Exec(command) => Some(command),
            Self::Http(_) | Self::Tcp(_) | Self::Grpc(_) => None,
        }
    }

    /// The target, by the handler that the kubelet takes (`pkg/kubelet/prober/prober.go`,
    /// `runProbe`, Kubernetes 1.37). `None` where the kubelet asks nobody: the port's name is no
    /// port's of the container, or there is no handler.
    fn of_probe(from: &wire::Probe, spec: &wire::Container) -> Option<Self> {
        if let Some(exec) = &from.exec {
            return Some(Self::Exec(Command::expanded(exec, spec)));
        }
        if let Some(get) = &from.http_get {
            return HttpTarget::of(get, spec).map(Self::Http);
        }
        if let Some(tcp) = &from.tcp_socket {
            return Endpoint::of(tcp.host.as_deref(), tcp.port.as_ref()?, spec).map(Self::Tcp);
        }
        let grpc = from.grpc.as_ref()?;
        let endpoint = Endpoint { host: None, port: port(grpc.port?)? };
        let service = cut(grpc.service.as_deref().unwrap_or_default());
        Some(Self::Grpc(GrpcTarget { endpoint, service }))
    }

    fn of_hook(from: &wire::Handler, spec: &wire::Container) -> Option<Self> {
        if let Some(exec) = &from.exec {
            // The kubelet expands no variables in a hook (`pkg/kubelet/lifecycle/handlers.go`).
            let argv = exec.command.iter().flatten().map(String::as_bytes);
            return Some(Self::Exec(Command::new(argv)));
        }
        HttpTarget::of(from.http_get.as_ref()?, spec).map(Self::Http)
    }

    fn text_bytes(&self) -> usize {
        let host = self.endpoint().and_then(|it| it.host.as_deref()).map_or(0, str::len);
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        host + match self {
            Self::Http(http) => http.uri.len() + text(&http.host) + text(&http.user_agent),
            Self::Tcp(_) => 0,
            Self::Grpc(grpc) => grpc.service.len(),
            Self::Exec(command) => command.0.len(),
        }
    }
}

/// Address that the kubelet connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Field `host`; `None` for the Pod's own address.
    pub host: Option<Box<str>>,
    /// The port; a named one is looked up.
    pub port: u16,
}

impl Endpoint {
    fn of(host: Option<&str>, at: &wire::IntOrString, spec: &wire::Container) -> Option<Self> {
        let number = match at {
            wire::IntOrString::Int(number) => *number,
            // `pkg/probe/util.go`, `ResolveContainerPort`, Kubernetes 1.37.
            wire::IntOrString::String(name) => {
                let named = |port: &&wire::ContainerPort| port.name.as_ref() == Some(name);
                spec.ports.iter().flatten().find(named)?.container_port?
            }
            wire::IntOrString::Other(_) => return None,
        };
        let host = host.filter(|host| !host.is_empty()).map(cut);
        Some(Self { host, port: port(number)? })
    }
}

/// Target of a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// The server.
    pub endpoint: Endpoint,
    /// The request target, as [`canonical`] has it.
    pub uri: Box<[u8]>,
    /// The header `Host` of the spec; `None` for the endpoint's.
    pub host: Option<Box<str>>,
    /// The header `User-Agent` of the spec; `None` for the kubelet's.
    pub user_agent: Option<Box<str>>,
    /// Whether the spec has other headers than these; `None` if it has some that Go changes.
    pub has_more: Option<bool>,
    /// Whether it is HTTP/2 in clear text (`protocol: HTTP2`, alpha in Kubernetes 1.37).
    pub is_h2c: bool,
    /// Whether Go sends it: with a header that is none it fails before it connects
    /// (`net/http/transport.go`, `roundTrip`).
    pub is_sent: bool,
}

impl HttpTarget {
    /// Whether the request target is longer than what is kept of it.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.uri.len() >= URI_MAX
    }

    fn of(get: &wire::HttpGet, spec: &wire::Container) -> Option<Self> {
        let endpoint = Endpoint::of(get.host.as_deref(), get.port.as_ref()?, spec)?;
        let header = |name: &str| {
            let is = |header: &&wire::HttpHeader| {
                header.name.as_ref().is_some_and(|its| its.eq_ignore_ascii_case(name))
            };
            let header = get.http_headers.iter().flatten().find(is)?;
            header.value.as_deref().filter(|value| !value.is_empty()).map(cut)
        };
        let mut uri = canonical(get.path.as_deref().unwrap_or_default().as_bytes());
        uri.truncate(URI_MAX);
        let (host, user_agent) = (header("Host"), header("User-Agent"));
        let is_h2c = get.protocol.as_deref() == Some("HTTP2");
        let has_more = has_more(get.http_headers.iter().flatten());
        let is_sent = get.http_headers.iter().flatten().all(is_header);
        Some(Self { endpoint, uri: uri.into(), host, user_agent, has_more, is_h2c, is_sent })
    }
}

/// Headers that Go writes as it likes, whatever the spec has (`net/http/request.go`, `write`).
const CHANGED: [&str; 7] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "referer",
    "trailer",
    "transfer-encoding",
];

/// Whether there are headers that a probe has from its spec alone; `None` if Go may have changed them.
fn has_more<'a>(headers: impl Iterator<Item = &'a wire::HttpHeader>) -> Option<bool> {
    let mut is_changed = false;
    for name in headers.filter_map(|header| header.name.as_deref()) {
        if CHANGED.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            is_changed = true;
        } else if !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("user-agent") {
            return Some(true);
        }
    }
    (!is_changed).then_some(false)
}

/// Whether Go takes it for a header (`golang.org/x/net/http/httpguts`, `ValidHeaderFieldName` and
/// `ValidHeaderFieldValue`).
fn is_header(header: &wire::HttpHeader) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = header.name.as_deref().unwrap_or_default();
    let value = header.value.as_deref().unwrap_or_default();
    let is_text = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_text)
}

/// Target of a call of the gRPC health service, at the Pod's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcTarget {
    /// The server.
    pub endpoint: Endpoint,
    /// Name of the service that is asked for; empty for the whole server.
    pub service: Box<str>,
}

/// A command in a container: its arguments, each terminated by NUL, as far as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(Box<[u8]>);

impl Command {
    fn new<T: AsRef<[u8]>>(argv: impl Iterator<Item = T>) -> Self {
        let mut bytes = Vec::new();
        for argument in argv {
            bytes.extend_from_slice(argument.as_ref());
            bytes.push(0);
            if bytes.len() >= ARGV_MAX {
                bytes.truncate(ARGV_MAX);
                break;
            }
        }
        Self(bytes.into())
    }

    /// The command of a probe, with its variables replaced by the values in the container's spec.
    ///
    /// The kubelet knows no other values here: a variable whose value comes from elsewhere is empty
    /// (`pkg/kubelet/container/helpers.go`, `ExpandContainerCommandOnlyStatic`, Kubernetes 1.37).
    fn expanded(exec: &wire::ExecAction, spec: &wire::Container) -> Self {
        let value = |name: &[u8]| {
            let is =
                |var: &&wire::EnvVar| var.name.as_deref().is_some_and(|its| its.as_bytes() == name);
            let var = spec.env.iter().flatten().rfind(is)?;
            Some(var.value.as_deref().unwrap_or_default().as_bytes())
        };
        Self::new(exec.command.iter().flatten().map(|word| expand(word.as_bytes(), value)))
    }

    /// Whether a process that has executed with these arguments runs this command. Of longer ones
    /// only the beginning is known.
    ///
    /// The kernel puts the interpreter of a script, and its argument if it has one, before the
    /// script's path, which the runtime has looked up (Linux, `fs/binfmt_script.c`).
    #[must_use]
    pub fn is_run_by(&self, argv: &[u8]) -> bool {
        let was_cut = argv.len() >= agent_common::event::ARGV_BYTES;
        let alike = |own: &[u8], its: &[u8]| own == its || (was_cut && own.starts_with(its));
        if self.0.is_empty() || argv.is_empty() {
            return false;
        }
        if alike(&self.0, argv) {
            return true;
        }
        let mut words = argv;
        for _ in 0..2 {
            let Some((_, script)) = split_word(words) else { return false };
            words = script;
            if self.is_script(script, alike) {
                return true;
            }
        }
        false
    }

    /// Whether these are the path of a script that is this command's program, and its arguments.
    fn is_script(&self, argv: &[u8], alike: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        // Cut within the path: too little to tell.
        let Some((path, its)) = split_word(argv) else { return false };
        let Some((program, own)) = split_word(&self.0) else { return false };
        let is_program =
            path == program || path.strip_suffix(program).is_some_and(|dir| dir.ends_with(b"/"));
        !program.is_empty() && is_program && alike(own, its)
    }
}

/// The first argument, and those after it.
fn split_word(argv: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = argv.iter().position(|&b| b == 0)?;
    Some((argv.get(..end)?, argv.get(end + 1..)?))
}

/// A word with its `$(NAME)` replaced, as the kubelet does it
/// (`third_party/forked/golang/expansion/expand.go`, `Expand`, Kubernetes 1.37): `$$` is a dollar
/// sign, a variable that is not defined stays as it is.
fn expand<'a>(word: &[u8], value: impl Fn(&[u8]) -> Option<&'a [u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        // Whatever variables hold, no more than this is kept.
        if out.len() > ARGV_MAX {
            break;
        }
        rest = after;
        let Some((&next, behind)) = after.split_first().filter(|_| byte == b'$') else {
            out.push(byte);
            continue;
        };
        let name = || {
            let end = behind.iter().position(|&b| b == b')').filter(|_| next == b'(')?;
            Some((behind.get(..end)?, behind.get(end + 1..)?))
        };
        if next == b'$' {
            out.push(b'$');
            rest = behind;
        } else if let Some((name, behind)) = name() {
            match value(name) {
                Some(value) => out.extend_from_slice(value.get(..ARGV_MAX).unwrap_or(value)),
                None => out.extend([b"$(", name, b")"].concat()),
            }
            rest = behind;
        } else {
            out.push(b'$');
        }
    }
    out
}

/// A request target in one spelling: it begins with a slash, its path is decoded, its query stays as
/// it is, and it has no fragment. So the path of a spec and that of a request can be compared,
/// however Go encodes it (`pkg/probe/http/request.go`, `formatURL`, Kubernetes 1.37).
#[must_use]
pub fn canonical(uri: &[u8]) -> Vec<u8> {
    let uri = uri.split(|&b| b == b'#').next().unwrap_or_default();
    let query = uri.iter().position(|&b| b == b'?').unwrap_or(uri.len());
    let (mut path, query) = uri.split_at_checked(query).unwrap_or((uri, &[]));
    let mut out = Vec::with_capacity(uri.len() + 1);
    if path.first() != Some(&b'/') {
        out.push(b'/');
    }
    while let Some((&byte, after)) = path.split_first() {
        let decoded = || {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| is_hex && byte == b'%')
        };
        if let Some(decoded) = decoded() {
            out.push(decoded);
            path = after.get(2..).unwrap_or_default();
        } else {
            out.push(byte);
            path = after;
        }
    }
    out.extend_from_slice(query);
    out
}

fn port(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// The beginning of a text, cut at a character boundary.
fn cut(from: &str) -> Box<str> {
    let fits = |end: &usize| from.is_char_boundary(*end);
    let end = (0..=TEXT_MAX.min(from.len())).rev().find(fits).unwrap_or(0);
    from.get(..end).unwrap_or_default().into()
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
