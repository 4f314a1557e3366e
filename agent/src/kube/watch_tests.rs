//! The watch against a server that speaks the API server's protocol and fails as that one does.

use super::super::event::LastContact;
use super::super::fixtures::{CRON_JOB, DEPLOYMENT, JOB};
use super::super::test_server::*;
use super::*;

#[tokio::test]
async fn a_list_is_followed_by_its_changes() {
    let lines = vec![
        event("ADDED", CRON_JOB, 101),
        event("MODIFIED", DEPLOYMENT, 102),
        bookmark(103),
        event("DELETED", CRON_JOB, 104),
    ];
    let server = Server::start(vec![
        Reply::List(100, vec![item(DEPLOYMENT)]),
        Reply::Watch(lines, Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    let [web, report] = [WEB, REPORT];
    watching
        .expect(&[
            &format!("listed {web}"),
            &format!("applied {report}"),
            &format!("applied {web}"),
            &format!("deleted {report}"),
        ])
        .await;
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /api/v1/pods?"), "{requests:?}");
    let selector = "fieldSelector=spec.nodeName%3Dn1";
    assert!(requests.iter().all(|request| request.contains(selector)), "{requests:?}");
    assert!(requests[0].contains("resourceVersion=0"), "any version will do: {requests:?}");
    assert!(requests[1].contains("watch=true") && requests[1].contains("resourceVersion=100"));
    assert!(requests[1].contains("allowWatchBookmarks=true"), "{requests:?}");
}

#[tokio::test]
async fn a_broken_watch_is_resumed_where_it_was() {
    for then in [Then::Break, Then::End] {
        let server = Server::start(vec![
            Reply::List(100, Vec::new()),
            Reply::Watch(vec![event("ADDED", CRON_JOB, 101), bookmark(150)], then),
            Reply::Watch(vec![event("MODIFIED", CRON_JOB, 151)], Then::Stay),
        ])
        .await;
        let mut watching = Watching::start(&server, 8);
        watching.expect(&["listed ", &format!("applied {REPORT}")]).await;
        watching.expect(&[&format!("applied {REPORT}")]).await;
        let requests = server.requests();
        assert!(requests[2].contains("resourceVersion=150"), "{requests:?}");
    }
}

#[tokio::test]
async fn an_expired_resource_version_leads_to_a_new_list() {
    let refusals = [Reply::Watch(vec![gone()], Then::End), Reply::Status(410)];
    for refusal in refusals {
        let server = Server::start(vec![
            Reply::List(100, vec![item(CRON_JOB)]),
            refusal,
            Reply::List(200, vec![item(DEPLOYMENT)]),
            Reply::Watch(vec![event("ADDED", JOB, 201)], Then::Stay),
        ])
        .await;
        let mut watching = Watching::start(&server, 8);
        let (report, web) = (format!("listed {REPORT}"), format!("listed {WEB}"));
        watching.expect(&[&report, "failed ", &web, "applied import-20241105-9q8w7"]).await;
    }
}

#[tokio::test]
async fn a_refusal_is_reported_and_retried() {
    let server = Server::start(vec![
        Reply::Status(403),
        Reply::Status(500),
        Reply::List(1, Vec::new()),
        Reply::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed ", "failed "]).await;
    assert_eq!(watching.last_contact.last_boot_ns(), None, "a refusal is no contact");
    watching.expect(&["listed "]).await;
}

#[tokio::test]
async fn an_unreachable_server_is_reported() {
    let server = Server::start(Vec::new()).await;
    let mut watching = Watching::start(&server, 8);
    let next = watching.next().await;
    assert!(next.starts_with("failed ") && next.contains("onnect"), "{next}");
}

#[tokio::test]
async fn bookmarks_are_contacts_of_a_silent_watch() {
    let server = Server::start(vec![
        Reply::List(1, Vec::new()),
        Reply::Watch(vec![bookmark(2)], Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["listed "]).await;
    let listed = watching.last_contact.last_boot_ns().unwrap();
    let later = async {
        while watching.last_contact.last_boot_ns().unwrap() == listed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, later).await.expect("the bookmark is a contact");
    assert!(watching.inbox.try_recv().is_err(), "and no event");
}

#[tokio::test]
async fn a_slow_owner_loses_nothing() {
    let lines = (0..300).map(|version| event("MODIFIED", CRON_JOB, 101 + version)).collect();
    let server =
        Server::start(vec![Reply::List(100, Vec::new()), Reply::Watch(lines, Then::Stay)]).await;
    let mut watching = Watching::start(&server, 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    watching.expect(&["listed "]).await;
    for _ in 0..300 {
        watching.expect(&[&format!("applied {REPORT}")]).await;
    }
}

#[tokio::test]
async fn the_kubelet_is_polled() {
    let answers = vec![
        Reply::Raw(r#"{"kind":"PodList","items":null}"#.to_owned()),
        Reply::List(1, vec![item(DEPLOYMENT)]),
        Reply::Status(403),
    ];
    let server = Server::start(answers).await;
    let (events, inbox) = mpsc::channel(1);
    let last_contact = LastContact::default();
    let client = Client::new(&server.endpoint, &last_contact).unwrap();
    let wanted = Wanted { node: Some("n1"), ..Wanted::default() };
    let task = tokio::spawn(super::super::kubelet::run(client, wanted, events));
    let mut watching = Watching { inbox, last_contact, task };
    watching.expect(&["listed ", &format!("listed {WEB}"), "failed kubelet: 403"]).await;
    assert!(server.requests().iter().all(|request| request.starts_with("GET /pods ")));
}

#[tokio::test]
async fn the_watch_ends_with_its_receiver() {
    let server = Server::start(vec![
        Reply::List(100, Vec::new()),
        Reply::Watch(vec![event("ADDED", CRON_JOB, 101)], Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 1);
    watching.inbox.close();
    timeout(WAIT, &mut watching.task).await.expect("it ends").unwrap();
}
