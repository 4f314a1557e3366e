//! One scrape of the agent, and the questions that tests ask it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};

use crate::exposition::{Exposition, Format, Sample, Wanted};

/// Prefix of all families but those of the process.
pub const PREFIX: &str = "podvitals_";

/// One whole scrape of the agent, in the text format.
///
/// Names in questions are without [`PREFIX`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape(Exposition);

/// Labels of a container's series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Container name.
    pub container: String,
}

impl Scrape {
    /// Reads a scrape, and checks what holds for each of the agent's: it is well-formed, and has
    /// one `container_info` for a container.
    ///
    /// # Errors
    /// If it does not hold.
    pub fn parse(text: &str) -> Result<Self> {
        let scrape = Self(Exposition::parse(text, Format::Text)?);
        let mut keys = BTreeSet::new();
        for info in scrape.all("container_info", &[]) {
            let key = ["namespace", "pod", "container"].map(|label| info.label(label));
            ensure!(keys.insert(key), "two container_info for {key:?}");
        }
        drop(keys);
        Ok(scrape)
    }

    /// The exposition itself.
    #[must_use]
    pub fn exposition(&self) -> &Exposition {
        &self.0
    }

    /// The samples of this name that have these labels.
    pub fn all<'a>(
        &'a self,
        name: &'a str,
        labels: Wanted<'a>,
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.samples().filter(move |sample| {
            sample.name.strip_prefix(PREFIX) == Some(name) && sample.has(labels)
        })
    }

    /// The sum of the samples of this name that have these labels; `None` if there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: Wanted<'_>) -> Option<f64> {
        self.all(name, labels).map(|sample| sample.value).reduce(|a, b| a + b)
    }

    /// The sum of the samples of this name that have these labels.
    ///
    /// # Errors
    /// If there are none.
    pub fn value(&self, name: &str, labels: Wanted<'_>) -> Result<f64> {
        self.sum(name, labels).with_context(|| format!("no {name}{labels:?}"))
    }

    /// The only sample of this name that has these labels.
    ///
    /// # Errors
    /// If there is none or more than one.
    pub fn one(&self, name: &str, labels: Wanted<'_>) -> Result<&Sample> {
        let mut all = self
            .0
            .samples()
            .filter(|sample| sample.name.strip_prefix(PREFIX) == Some(name) && sample.has(labels));
        let first = all.next().with_context(|| format!("no {name}{labels:?}"))?;
        ensure!(all.next().is_none(), "more than one {name}{labels:?}");
        Ok(first)
    }

    /// Number of the samples of this name that have these labels.
    #[must_use]
    pub fn count(&self, name: &str, labels: Wanted<'_>) -> usize {
        self.all(name, labels).count()
    }

    /// Whether it shows a family, whose name has its prefix, of this type.
    #[must_use]
    pub fn has_family(&self, name: &str, kind: &str) -> bool {
        let mut families = self.0.families.iter();
        families.any(|family| family.name == name && family.kind.name() == kind)
    }

    /// Number of all samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.samples().count()
    }

    /// Whether it has no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.families.is_empty()
    }

    /// The series of one container.
    #[must_use]
    pub fn of<'a>(&'a self, key: &'a Key) -> View<'a> {
        View { scrape: self, key }
    }
}

/// The series of one container in a scrape.
///
/// Families that begin with `container_` are asked with its
/// labels, those with `pod_` with its Pod's, all others with its workload's; without an API source
/// the workload is the Pod itself.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    scrape: &'a Scrape,
    key: &'a Key,
}

impl<'a> View<'a> {
    fn labels(&self, name: &str, extra: Wanted<'a>) -> Vec<(&'a str, &'a str)> {
        let Key { namespace, pod, container } = self.key;
        let mut labels = vec![("namespace", namespace.as_str())];
        if name.starts_with("container_") {
            labels.extend([("pod", pod.as_str()), ("container", container.as_str())]);
        } else if name.starts_with("pod_") {
            labels.push(("pod", pod));
        } else {
            labels.extend([
                ("workload_kind", "Pod"),
                ("workload", pod.as_str()),
                ("container", container.as_str()),
            ]);
        }
        labels.extend_from_slice(extra);
        labels
    }

    /// The sum of its series with these labels; `None` if there are none.
    pub fn get(&self, name: &str, extra: Wanted<'a>) -> Option<f64> {
        self.scrape.sum(name, &self.labels(name, extra))
    }

    /// The sum of its series with these labels.
    ///
    /// # Errors
    /// If there are none, naming them.
    pub fn value(&self, name: &str, extra: Wanted<'a>) -> Result<f64> {
        self.get(name, extra).with_context(|| format!("no {name}{:?}", self.labels(name, extra)))
    }

    /// Checks that the sum of its series is this.
    ///
    /// # Errors
    /// If it is another, or there are none.
    pub fn want(&self, name: &str, extra: Wanted<'a>, wanted: f64) -> Result<()> {
        let value = self.value(name, extra)?;
        ensure!(
            (value - wanted).abs() < 1e-9 * wanted.abs().max(1.0),
            "{name}{extra:?} of {} is {value}, not {wanted}",
            self.key.pod
        );
        Ok(())
    }

    /// Checks that there is no such series, or that it is 0.
    ///
    /// # Errors
    /// If it is another number.
    pub fn want_none_or_zero(&self, name: &str, extra: Wanted<'a>) -> Result<()> {
        let value = self.get(name, extra).unwrap_or(0.0);
        ensure!(value == 0.0, "{name}{extra:?} of {} is {value}, not 0", self.key.pod);
        Ok(())
    }

    /// Checks that there is no such series.
    ///
    /// # Errors
    /// If there is one.
    pub fn want_none(&self, name: &str, extra: Wanted<'a>) -> Result<()> {
        match self.get(name, extra) {
            None => Ok(()),
            Some(value) => bail!("{name}{extra:?} of {} is there: {value}", self.key.pod),
        }
    }

    /// The value of a label of its only series of this name.
    ///
    /// # Errors
    /// If there is none or more than one, or it lacks the label.
    pub fn label(&self, name: &str, label: &str) -> Result<String> {
        let labels = self.labels(name, &[]);
        let sample = self.scrape.one(name, &labels)?;
        let value = sample.labels.get(label);
        value.cloned().with_context(|| format!("{name}{labels:?} has no label {label}"))
    }

    /// Checks the value of a label of its only series of this name.
    ///
    /// # Errors
    /// If it is another, or as [`Self::label`].
    pub fn want_label(&self, name: &str, label: &str, wanted: &str) -> Result<()> {
        let value = self.label(name, label)?;
        ensure!(
            value == wanted,
            "label {label} of {name} of {} is {value:?}, not {wanted:?}",
            self.key.pod
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "# HELP podvitals_container_info Who it is.\n",
        "# TYPE podvitals_container_info gauge\n",
        "podvitals_container_info{namespace=\"n\",pod=\"a\",container=\"app\",x=\"q\\\"\\\\\\n\"} 1\n",
        "podvitals_container_info{namespace=\"n\",pod=\"b\",container=\"app\",x=\"\"} 1\n",
        "# HELP podvitals_pod_tasks Tasks.\n",
        "# TYPE podvitals_pod_tasks gauge\n",
        "podvitals_pod_tasks{namespace=\"n\",pod=\"a\"} 3\n",
        "# HELP podvitals_ends_total Ends.\n",
        "# TYPE podvitals_ends_total counter\n",
        "podvitals_ends_total{namespace=\"n\",workload_kind=\"Pod\",workload=\"a\",",
        "container=\"app\",cause=\"x\"} 2\n",
        "podvitals_ends_total{namespace=\"n\",workload_kind=\"Pod\",workload=\"a\",",
        "container=\"app\",cause=\"y\"} 0\n",
        "# HELP process_threads Threads.\n",
        "# TYPE process_threads gauge\n",
        "process_threads 1\n",
    );

    fn key(pod: &str) -> Key {
        Key { namespace: "n".into(), pod: pod.into(), container: "app".into() }
    }

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.len(), 6);
        assert!(!scrape.is_empty() && Scrape::parse("").unwrap().is_empty());
        assert_eq!(scrape.sum("ends_total", &[]), Some(2.0));
        assert_eq!(scrape.sum("ends_total", &[("cause", "y")]), Some(0.0));
        assert_eq!(scrape.sum("ends_total", &[("cause", "z")]), None);
        assert_eq!(scrape.sum("pod_tasks", &[("container", "")]), Some(3.0));
        assert_eq!(scrape.value("pod_tasks", &[]).unwrap(), 3.0);
        assert!(scrape.value("podvitals_pod_tasks", &[]).is_err());
        assert_eq!(scrape.count("container_info", &[("namespace", "n")]), 2);
        let one = scrape.one("container_info", &[("pod", "a")]).unwrap();
        assert_eq!(one.label("x"), "q\"\\\n");
        assert!(scrape.one("container_info", &[]).is_err(), "there are two");
        assert!(scrape.one("container_info", &[("pod", "c")]).is_err(), "there is none");
        assert!(scrape.has_family("process_threads", "gauge"));
        assert!(!scrape.has_family("process_threads", "counter"));
        assert!(!scrape.has_family("threads", "gauge"));
    }

    #[test]
    fn a_container_is_asked_with_the_labels_of_each_family() {
        let scrape = Scrape::parse(TEXT).unwrap();
        let (a, b) = (key("a"), key("b"));
        let (a, b) = (scrape.of(&a), scrape.of(&b));
        assert_eq!(a.get("pod_tasks", &[]), Some(3.0));
        assert_eq!(b.get("pod_tasks", &[]), None);
        a.want("ends_total", &[("cause", "x")], 2.0).unwrap();
        a.want("ends_total", &[("cause", "x")], 2.001).unwrap_err();
        a.want("ends_total", &[("cause", "z")], 0.0).unwrap_err();
        a.want_none_or_zero("ends_total", &[("cause", "y")]).unwrap();
        a.want_none_or_zero("ends_total", &[("cause", "z")]).unwrap();
        a.want_none_or_zero("ends_total", &[("cause", "x")]).unwrap_err();
        b.want_none("ends_total", &[]).unwrap();
        a.want_none("ends_total", &[("cause", "y")]).unwrap_err();
        a.want_label("container_info", "x", "q\"\\\n").unwrap();
        b.want_label("container_info", "x", "").unwrap();
        b.want_label("container_info", "y", "").unwrap_err();
        assert!(a.label("ends_total", "cause").is_err(), "there are two");
    }

    #[test]
    fn two_identities_of_one_container_are_refused() {
        let twice = TEXT.replace("pod=\"b\"", "pod=\"a\"");
        let error = Scrape::parse(&twice).unwrap_err().to_string();
        assert!(error.contains("two container_info"), "{error}");
        Scrape::parse(&TEXT.replace("# HELP process", "# process")).unwrap_err();
    }
}
