//! The live part of the stack's screen: a line or more for each change of an alert.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use crate::{
    monitoring::{
        Labels, alertmanager,
        prometheus::{self, State},
        webhook,
    },
    paths,
};

/// Where the lines below the first of an alert begin, and how long they are.
const INDENT: &str = "                      ";
const WIDTH: usize = 76;

/// What the servers say now, and the notifications since the last time.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) prometheus: Vec<prometheus::Alert>,
    pub(super) alertmanager: Vec<alertmanager::Alert>,
    pub(super) notifications: Vec<webhook::Notification>,
}

/// What is known of each alert, by its labels.
#[derive(Default)]
pub(super) struct Live {
    alerts: BTreeMap<Labels, Known>,
}

struct Known {
    state: State,
    inhibited: bool,
}

/// A change of an alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) what: What,
    labels: Labels,
    annotations: Labels,
}

/// Kind of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Pending,
    Firing,
    /// It is not sent on, because these alerts fire.
    Inhibited(Vec<String>),
    /// It reached a receiver of the webhook.
    Notified(String),
    Resolved,
}

impl Live {
    /// The changes since the last time.
    pub(super) fn update(&mut self, seen: Seen) -> Vec<Change> {
        let mut changes = Vec::new();
        let inhibited = inhibited(&seen.alertmanager);
        let mut gone = std::mem::take(&mut self.alerts);
        for prometheus::Alert { labels, annotations, state } in seen.prometheus {
            let before = gone.remove(&labels);
            let mut change = |what| {
                let (labels, annotations) = (labels.clone(), annotations.clone());
                changes.push(Change { what, labels, annotations });
            };
            if before.as_ref().map(|it| it.state) != Some(state) {
                change(if state == State::Firing { What::Firing } else { What::Pending });
            }
            let by = inhibited.get(&labels);
            if let Some(by) = by
                && !before.is_some_and(|it| it.inhibited)
            {
                change(What::Inhibited(by.clone()));
            }
            self.alerts.insert(labels, Known { state, inhibited: by.is_some() });
        }
        for labels in gone.into_keys() {
            changes.push(Change { what: What::Resolved, labels, annotations: Labels::new() });
        }
        for notification in seen.notifications {
            for alert in notification.alerts.into_iter().filter(|it| it.status == "firing") {
                let what = What::Notified(notification.receiver.clone());
                let webhook::Alert { labels, annotations, .. } = alert;
                changes.push(Change { what, labels, annotations });
            }
        }
        changes
    }
}

/// The alerts that are inhibited, each with what inhibits it.
fn inhibited(alerts: &[alertmanager::Alert]) -> BTreeMap<Labels, Vec<String>> {
    let name = |fingerprint: &String| {
        let alert = alerts.iter().find(|it| it.fingerprint == *fingerprint);
        alert.map_or_else(|| fingerprint.clone(), |it| title(&it.labels))
    };
    let of = |alert: &alertmanager::Alert| {
        let by: Vec<String> = alert.status.inhibited_by.iter().map(name).collect();
        (!by.is_empty()).then(|| (alert.labels.clone(), by))
    };
    alerts.iter().filter_map(of).collect()
}

/// The rule's name, and whom the alert is about.
fn title(labels: &Labels) -> String {
    let label = |name: &str| labels.get(name).map(String::as_str).filter(|it| !it.is_empty());
    let mut title = label("alertname").unwrap_or("?").to_owned();
    let whom = label("pod").or_else(|| label("workload"));
    let whom = match (label("namespace"), whom) {
        (Some(namespace), Some(whom)) => Some(format!("{namespace}/{whom}")),
        _ => label("node").or_else(|| label("instance")).map(str::to_owned),
    };
    if let Some(whom) = whom {
        let _ = write!(title, "  {whom}");
    }
    if let Some(container) = label("container") {
        let _ = write!(title, ", container {container}");
    }
    title
}

/// The page of the work tree that a runbook's address means, else the address.
fn runbook(url: &str) -> String {
    const FOLDER: &str = "docs/runbooks/";
    let page = url.find(FOLDER).and_then(|at| url.get(at..));
    let page = page.map(|page| page.split('#').next().unwrap_or(page));
    page.filter(|page| paths::root().join(page).is_file()).unwrap_or(url).to_owned()
}

/// The text in lines of [`WIDTH`] at most, as far as its words allow.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// An alert that fires is named by its rule alone: its summary says whom it is about.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = title(&self.labels);
        let label = |name: &str| self.labels.get(name).map_or("", String::as_str);
        let (name, severity) = (label("alertname"), label("severity"));
        match &self.what {
            What::Pending => write!(f, "pending   {title}"),
            What::Resolved => write!(f, "resolved  {title}"),
            What::Inhibited(by) => write!(f, "inhibited {title}\n{INDENT}by {}", by.join(", ")),
            What::Notified(receiver) => {
                write!(f, "NOTIFIED  {title}\n{INDENT}sent to the receiver \"{receiver}\"")
            }
            What::Firing => {
                write!(f, "FIRING    {name}  ({severity})")?;
                for annotation in ["summary", "description"] {
                    let text = self.annotations.get(annotation).map_or("", String::as_str);
                    for line in wrapped(text) {
                        write!(f, "\n{INDENT}{line}")?;
                    }
                }
                if let Some(url) = self.annotations.get("runbook_url") {
                    write!(f, "\n{INDENT}what to do: {}", runbook(url))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        let first = |change: &Change| change.to_string().lines().next().unwrap().to_owned();
        changes.iter().map(first).collect()
    }

    #[test]
    fn each_change_of_an_alert_is_shown_once() {
        let name = labels(&[
            ("alertname", "A"),
            ("namespace", "demo"),
            ("workload", "w"),
            ("severity", "warning"),
        ]);
        let other = labels(&[("alertname", "B"), ("node", "n")]);
        let alert = |labels: &Labels, state| prometheus::Alert {
            labels: labels.clone(),
            annotations: self::labels(&[("summary", "it is so")]),
            state,
        };
        let in_alertmanager = |labels: &Labels, fingerprint: &str, by: &[&str]| {
            let inhibited_by = by.iter().map(|&it| it.to_owned()).collect();
            alertmanager::Alert {
                labels: labels.clone(),
                fingerprint: fingerprint.to_owned(),
                status: alertmanager::Status { state: String::new(), inhibited_by },
            }
        };
        let mut live = Live::default();
        let mut next = |prometheus: &[prometheus::Alert], alertmanager: &[alertmanager::Alert]| {
            let (prometheus, alertmanager) = (prometheus.to_vec(), alertmanager.to_vec());
            shown(&live.update(Seen { prometheus, alertmanager, notifications: Vec::new() }))
        };
        let pending = [alert(&name, State::Pending)];
        assert_eq!(next(&pending, &[]), ["pending   A  demo/w"]);
        assert!(next(&pending, &[]).is_empty());
        let both = [alert(&name, State::Firing), alert(&other, State::Firing)];
        assert_eq!(next(&both, &[]), ["FIRING    A  (warning)", "FIRING    B  ()"]);
        let sent = [in_alertmanager(&name, "1", &["2"]), in_alertmanager(&other, "2", &[])];
        assert_eq!(next(&both, &sent), ["inhibited A  demo/w"]);
        assert!(next(&both, &sent).is_empty());
        assert_eq!(next(&[], &[]), ["resolved  A  demo/w", "resolved  B  n"]);
    }

    #[test]
    fn a_notification_is_shown_with_its_receiver() {
        let alert = |status: &str| webhook::Alert {
            status: status.to_owned(),
            labels: labels(&[("alertname", "A")]),
            annotations: Labels::new(),
        };
        let notification = webhook::Notification {
            receiver: "team".to_owned(),
            group_labels: Labels::new(),
            alerts: vec![alert("firing"), alert("resolved")],
        };
        let seen = Seen {
            prometheus: Vec::new(),
            alertmanager: Vec::new(),
            notifications: vec![notification],
        };
        let changes = Live::default().update(seen);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].what, What::Notified("team".to_owned()));
        assert!(changes[0].to_string().ends_with("sent to the receiver \"team\""));
    }

    #[test]
    fn long_text_is_wrapped_between_words() {
        assert!(wrapped(" ").is_empty());
        let word = "x".repeat(WIDTH - 2);
        assert_eq!(wrapped(&format!("{word} y z")), [format!("{word} y"), "z".to_owned()]);
    }

    #[test]
    fn a_runbook_of_this_tree_is_named_by_its_path() {
        assert_eq!(runbook("https://a.example/x"), "https://a.example/x");
        let none = "https://a.example/docs/runbooks/NoSuch.md";
        assert_eq!(runbook(none), none);
    }
}
