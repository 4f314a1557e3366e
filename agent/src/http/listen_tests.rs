//! Addresses to serve on: which are accepted, the errors of the others, and who is answered.

use std::error::Error as _;

use nix::sched::{CloneFlags, unshare};

use super::*;

fn parse(text: &str) -> ListenAddress {
    text.parse().unwrap()
}

#[test]
fn addresses_come_in_the_exporters_style() {
    assert_eq!(parse(":9550"), ListenAddress::All(9550));
    for ip in ["127.0.0.1:1", "0.0.0.0:9550", "[::1]:9550", "[::]:9550", "[fe80::1%2]:9550"] {
        assert_eq!(parse(ip), ListenAddress::Ip(ip.parse().unwrap()), "{ip}");
    }
    for name in ["localhost:9550", "node-1.example.org:80", "a_b:1", "node1.:9550"] {
        assert!(matches!(parse(name), ListenAddress::Name(..)), "{name}");
    }
    for text in [":9550", "127.0.0.1:1", "[::1]:9550", "localhost:9550"] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn what_is_no_address_is_told_what_is_expected() {
    for (wrong, why) in [
        ("", "it is empty"),
        ("localhost", "the port is missing"),
        ("1.2.3.4", "the port is missing"),
        (":", "\"\" is no port number"),
        (":99999", "\"99999\" is no port number"),
        (":http", "\"http\" is no port number"),
        (":+80", "\"+80\" is no port number"),
        ("::1", "in brackets"),
        ("fe80::1:9550", "in brackets"),
        ("1.2.3.444:9550", "\"1.2.3.444\" is neither"),
        ("a b:9550", "\"a b\" is neither"),
        ("http://localhost:9550", "\"http://localhost\" is neither"),
        ("\u{1b}[31m:9550", "\"\\u{1b}[31m\" is neither"),
    ] {
        let said = wrong.parse::<ListenAddress>().unwrap_err().to_string();
        assert!(said.contains(why), "{wrong:?}: {said}");
        assert!(said.contains("expected host:port or :port, such as :9550"), "{wrong:?}: {said}");
    }
}

async fn is_answered(at: SocketAddr) -> bool {
    TcpStream::connect(at).await.is_ok()
}

#[tokio::test]
async fn all_and_localhost_are_both_families() {
    for text in [":0", "[::]:0", "localhost:0", "LOCALHOST.:0"] {
        let listeners = bind(&parse(text)).await.unwrap();
        let port = listeners.addresses()[0].port();
        assert!(is_answered((Ipv4Addr::LOCALHOST, port).into()).await, "{text}");
        assert!(is_answered((Ipv6Addr::LOCALHOST, port).into()).await, "{text}");
        for _ in 0..2 {
            listeners.accept().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_address_is_its_own_family_alone() {
    let listeners = bind(&parse("0.0.0.0:0")).await.unwrap();
    let port = listeners.addresses()[0].port();
    assert!(is_answered((Ipv4Addr::LOCALHOST, port).into()).await);
    assert!(!is_answered((Ipv6Addr::LOCALHOST, port).into()).await);
    let listeners = bind(&parse("[::1]:0")).await.unwrap();
    let port = listeners.addresses()[0].port();
    assert!(!is_answered((Ipv4Addr::LOCALHOST, port).into()).await);
    assert!(is_answered((Ipv6Addr::LOCALHOST, port).into()).await);
}

/// A network of the thread's own, where a setting hurts nobody.
#[test]
fn ipv4_is_answered_whatever_bindv6only_says() {
    let own = || -> Option<bool> {
        unshare(CloneFlags::CLONE_NEWNET).ok()?;
        // The device `lo` is down: only what the sockets are bound to can be asked.
        std::fs::write("/proc/sys/net/ipv6/bindv6only", "1").ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let listeners = runtime.block_on(bind(&parse(":0"))).unwrap();
        let socket = listeners.0.first()?;
        Some(SockRef::from(socket).only_v6().unwrap())
    };
    match std::thread::spawn(own).join().unwrap() {
        Some(only) => assert!(!only, "IPv4 would be refused"),
        None => println!("SKIPPED: no network namespace of one's own"),
    }
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_remedy() {
    let first = bind(&parse("127.0.0.1:0")).await.unwrap();
    let address = first.addresses()[0];
    for text in [address.to_string(), format!("localhost:{}", address.port())] {
        let error = bind(&parse(&text)).await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(message.contains("--web.listen-address"), "{message}");
    }
    let error = bind(&parse("192.0.2.1:0")).await.unwrap_err();
    assert!(matches!(error, BindError::NotHere { .. }));
}

#[tokio::test]
async fn a_name_without_an_address_is_reported_with_the_remedy() {
    let error = bind(&parse("no-such-host.invalid:9550")).await.unwrap_err();
    assert!(matches!(error, BindError::Unresolved { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("no-such-host.invalid:9550") && message.contains("IP address"));
    assert!(error.source().is_some());
}

#[test]
fn a_family_that_the_kernel_lacks_is_reported_with_the_remedy() {
    let lack = || io::Error::from_raw_os_error(Errno::EAFNOSUPPORT as i32);
    let error = BindError::new("[::1]:9550".parse().unwrap(), lack());
    assert!(error.is_lack());
    assert!(error.to_string().contains("this kernel has no IPv6"), "{error}");
    let error = BindError::new("127.0.0.1:9550".parse().unwrap(), lack());
    assert!(error.to_string().contains("this kernel has no IPv4"), "{error}");
}
