//! The watch against a server that misbehaves: loops, floods, broken and foreign items.

use super::super::fixtures::{CRON_JOB, DEPLOYMENT, JOB};
use super::super::test_server::*;
use super::*;

#[tokio::test]
async fn watches_that_end_at_once_are_few() {
    // The first request is a list. What the server then gives to every request, for ever.
    let ends: [fn(usize) -> Reply; 4] = [
        |_| Reply::Watch(Vec::new(), Then::End),
        |request| Reply::Watch(vec![event("MODIFIED", CRON_JOB, request as u64)], Then::Break),
        |request| match request % 2 {
            0 => Reply::List(100, Vec::new()),
            _ => Reply::Watch(vec![gone()], Then::End),
        },
        |request| {
            if request % 2 == 0 { Reply::List(100, Vec::new()) } else { Reply::Status(410) }
        },
    ];
    let mut all = Vec::new();
    for end in ends {
        let replies = (0..).map(move |request| match request {
            0 => Reply::List(100, Vec::new()),
            request => end(request),
        });
        let server = Server::start_with(replies).await;
        all.push((Watching::start(&server, 100), server));
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let requests: Vec<_> = all.iter().map(|(_, server)| server.requests().len()).collect();
    assert!(requests.iter().all(|requests| (3..=14).contains(requests)), "{requests:?} in 2.5 s");
}

#[tokio::test]
async fn a_rest_that_the_server_asks_for_is_taken() {
    let server = Server::start(vec![
        Reply::Later(429, 2),
        Reply::List(1, Vec::new()),
        Reply::Later(503, 2),
        Reply::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed 429", "listed ", "failed 503"]).await;
    let watched = async {
        while server.requests().len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT, watched).await.unwrap();
    for request in [1, 3] {
        assert!(server.rest_before(request) >= Duration::from_secs(2), "request {request}");
    }
    assert!(server.requests()[3].contains("watch=true"), "no new list for a server under load");
}

#[tokio::test]
async fn pages_are_one_list() {
    let server = Server::start(vec![
        Reply::Page(vec![item(CRON_JOB)], "a/b"),
        Reply::Status(410),
        Reply::Page(vec![item(CRON_JOB)], "a/b"),
        Reply::Page(vec![item(DEPLOYMENT)], ""),
        Reply::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed 410", &format!("listed {REPORT},{WEB}")]).await;
    let requests = server.requests();
    assert!(requests[1].contains("continue=a%2Fb") && !requests[1].contains("resourceVersion"));
    assert!(requests[2].contains("resourceVersion=0"), "from the start: {requests:?}");
}

#[tokio::test]
async fn pages_that_go_round_in_a_circle_are_no_list() {
    let page = |next| Reply::Page(vec![item(CRON_JOB)], next);
    let server = Server::start(vec![
        page("a"),
        page("b"),
        page("a"),
        page(""),
        Reply::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed a list", &format!("listed {REPORT}")]).await;
    assert!(server.requests()[3].contains("resourceVersion=0"), "{:?}", server.requests());
}

#[tokio::test]
async fn a_bad_item_costs_that_item() {
    let bad_date = item(CRON_JOB).replace("2026-11-02T00:00:01Z", "soon");
    let elsewhere = item(CRON_JOB).replace("\"nodeName\":\"n1\"", "\"nodeName\":\"n2\"");
    let large = item(CRON_JOB)
        .replace("\"spec\":", &format!("\"x\":\"{}\",\"spec\":", "x".repeat(ITEM_MAX)));
    let items = vec![bad_date.clone(), elsewhere.clone(), large.clone(), item(DEPLOYMENT)];
    let line = |kind: &str, pod: &str| format!(r#"{{"type":"{kind}","object":{pod}}}"#);
    let lines = vec![
        line("ADDED", &bad_date),
        line("MODIFIED", &large),
        line("ADDED", &elsewhere),
        event("ADDED", JOB, 101),
        // Whether it is gone, a list has to say.
        line("DELETED", &bad_date),
    ];
    let server = Server::start(vec![
        Reply::List(100, items),
        Reply::Watch(lines, Then::Stay),
        Reply::List(200, Vec::new()),
        Reply::Watch(vec!["no JSON".to_owned()], Then::Stay),
        Reply::List(300, Vec::new()),
        Reply::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching
        .expect(&[
            r#"rejected [("malformed", 1), ("too_large", 1), ("other_node", 1)]"#,
            &format!("listed {WEB}"),
            r#"rejected [("malformed", 1)]"#,
            r#"rejected [("too_large", 1)]"#,
            r#"rejected [("other_node", 1)]"#,
            "applied import-20241105-9q8w7",
            r#"rejected [("malformed", 1)]"#,
            "failed unreadable event",
            "listed ",
            r#"rejected [("malformed", 1)]"#,
            "failed unreadable event",
            "listed ",
        ])
        .await;
    assert!(server.requests()[2].contains("resourceVersion=101&"), "{:?}", server.requests());
}

#[tokio::test]
async fn what_is_no_list_is_no_empty_list() {
    let broken = [r#"{"items":["#, "<html>sign in</html>", r#"{"kind":"Status"}"#];
    let mut answers: Vec<_> = broken.map(|body| Reply::Raw(body.to_owned())).into();
    answers.push(Reply::Raw(r#"{"items":null,"metadata":{"resourceVersion":"1"}}"#.to_owned()));
    answers.push(Reply::Watch(Vec::new(), Then::Stay));
    let server = Server::start(answers).await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed the answer is no whole list"; 3]).await;
    watching.expect(&["listed "]).await;
}
