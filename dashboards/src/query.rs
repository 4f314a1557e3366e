//! PromQL that several panels share.
//!
//! Three things can put one truth into several series: two replicas of Prometheus in one view, an
//! agent that was restarted (its old and its new `instance` overlap for five minutes), and a
//! workload with containers on several nodes. So nothing is summed before it was reduced to one
//! series for each true thing, by a `max by` that names all labels of that thing and no label of the
//! replica's:
//!
//! - [`container`]: a container's gauge or rate, whoever scraped it.
//! - [`events`]: a counter of events is one for each run of the agent, so `instance` is part of its
//!   identity; the increases of all runs are then summed.
//!
//! On a large cluster a query asks one family only, where it can for few of its label values, and
//! what is listed is the top of it. The families that the lists of deaths and shutdowns ask,
//! `container_last_*`, have series for those containers alone that died or were stopped.

/// Labels of a container. The node is one of them: each of many machines has units of the same names,
/// and a Pod of a StatefulSet keeps its name on another node.
pub const CONTAINER: &str = "cluster, node, namespace, pod, container";
/// Labels of a workload's container.
pub const WORKLOAD: &str = "cluster, namespace, workload_kind, workload, container";
/// What the variables choose: nodes.
pub const ON_NODES: &str = r#"cluster=~"$cluster", node=~"$node""#;
/// What the variables choose: namespaces.
pub const IN_NAMESPACES: &str = r#"cluster=~"$cluster", node=~"$node", namespace=~"$namespace""#;
/// What the variables choose: workloads.
pub const OF_WORKLOADS: &str =
    r#"cluster=~"$cluster", node=~"$node", namespace=~"$namespace", workload=~"$workload""#;
/// What the variables choose: one node.
pub const ON_NODE: &str = r#"cluster=~"$cluster", node="$node""#;
/// What the variables choose: containers of one Pod.
pub const OF_POD: &str = r#"cluster=~"$cluster", node=~"$node", namespace="$namespace", pod="$pod", container=~"$container""#;

/// The dashboard's whole time range.
pub const ALL_TIME: &str = "$__range";
/// The range of a rate: a step and a scrape, four scrapes at least.
pub const RATE: &str = "$__rate_interval";

/// `family{selector, more}`; both may be empty.
#[must_use]
pub fn select(family: &str, selector: &str, more: &str) -> String {
    let matchers: Vec<_> = [selector, more].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{family}{{{}}}", matchers.join(", "))
}

/// A container's value, whichever replica or run of the agent it came from.
#[must_use]
pub fn container(expr: &str) -> String {
    format!("max by ({CONTAINER}) ({expr})")
}

/// A container's gauge.
#[must_use]
pub fn gauge(family: &str, selector: &str) -> String {
    container(&select(family, selector, ""))
}

/// A container's rate.
#[must_use]
pub fn rate(family: &str, selector: &str, more: &str) -> String {
    container(&format!("rate({}[{RATE}])", select(family, selector, more)))
}

/// Restarts of containers over `range`. Each run of the agent counts its own, where no API counts.
#[must_use]
pub fn restarts(selector: &str, range: &str) -> String {
    let series = select("podvitals_container_restarts_total", selector, "");
    let by_run = format!("max by ({CONTAINER}, instance) (increase({series}[{range}]))");
    aggregate(CONTAINER, &by_run)
}

/// Events of workloads: their increase over `range`, summed by `by`. `own` are the labels of the
/// family beside the workload's.
#[must_use]
pub fn events(by: &str, series: &str, own: &str, range: &str) -> String {
    summed(by, &format!("increase({series}[{range}])"), &with(WORKLOAD, own))
}

/// What counters of workloads rose by a second over `range`, summed by `by`.
#[must_use]
pub fn rates(by: &str, series: &str, own: &str, range: &str) -> String {
    summed(by, &format!("rate({series}[{range}])"), &with(WORKLOAD, own))
}

/// Events of workloads in each step.
#[must_use]
pub fn events_per_step(by: &str, series: &str, own: &str) -> String {
    per_step(by, series, &with(WORKLOAD, own))
}

/// Events of nodes: their increase over `range`, summed by `by`.
#[must_use]
pub fn node_events(by: &str, series: &str, own: &str, range: &str) -> String {
    summed(by, &format!("increase({series}[{range}])"), &with("cluster", own))
}

/// Events of nodes in each step.
#[must_use]
pub fn node_events_per_step(by: &str, series: &str, own: &str) -> String {
    per_step(by, series, &with("cluster", own))
}

/// What counters rose by in each step. The range of a rate is longer than the step, by a scrape, so
/// that nothing between two steps is lost; times the step, and not times that range, nothing counts
/// twice. (The value less the value one step before would be whole numbers, and took six times as
/// long for 14,000 series: each has to find its partner.)
fn per_step(by: &str, series: &str, labels: &str) -> String {
    format!("{} * $__interval_ms / 1000", summed(by, &format!("rate({series}[{RATE}])"), labels))
}

/// `expr` by one run of one agent for each label set, summed by `by`.
fn summed(by: &str, expr: &str, labels: &str) -> String {
    aggregate(by, &format!("max by ({labels}, node, instance) ({expr})"))
}

fn aggregate(by: &str, expr: &str) -> String {
    if by.is_empty() { format!("sum({expr})") } else { format!("sum by ({by}) ({expr})") }
}

fn with(labels: &str, own: &str) -> String {
    if own.is_empty() { labels.to_owned() } else { format!("{labels}, {own}") }
}

/// A quantile of a histogram of workloads, by `by`, over `range`.
#[must_use]
pub fn quantile(quantile: f64, by: &str, series: &str, own: &str, range: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("{by}, le") };
    let own = if own.is_empty() { "le".to_owned() } else { format!("{own}, le") };
    format!(
        "histogram_quantile({quantile}, {})",
        summed(&by, &format!("rate({series}[{range}])"), &with(WORKLOAD, &own))
    )
}

/// A number that counts series, and is 0 rather than absent when there is none, as long as an agent
/// is scraped at all.
#[must_use]
pub fn number_of(expr: &str, selector: &str) -> String {
    format!("count({expr}) or 0 * group({})", select("podvitals_build_info", selector, ""))
}

/// Last deaths of containers whose time lies within the dashboard's range, as seconds since unix
/// epoch. What is gone by now is there as long as a sample of it lies within the range.
#[must_use]
pub fn deaths(selector: &str, more: &str) -> String {
    let info = select(LAST_DEATH, selector, more);
    format!(
        "max by ({CONTAINER}, {DEATH}) (last_over_time({info}[{ALL_TIME}])) \
         > time() - $__range_s"
    )
}

/// How often each of the deaths in `listed` happened within the dashboard's range, in the same way:
/// how often its time changed, and once more if the first time is within the range too. Each run of the
/// agent saw deaths of its own.
#[must_use]
pub fn times(listed: &str, selector: &str, more: &str) -> String {
    let info = select(LAST_DEATH, selector, more);
    format!(
        "0 * {listed} + on ({CONTAINER}, {DEATH}) group_left () \
         sum by ({CONTAINER}, {DEATH}) (max by ({CONTAINER}, {DEATH}, instance) \
         (changes({info}[{ALL_TIME}]) \
         + (min_over_time({info}[{ALL_TIME}]) > bool (time() - $__range_s))))"
    )
}

/// The family with a series for each container that died.
const LAST_DEATH: &str = "podvitals_container_last_termination_info";

/// Labels of a death.
pub const DEATH: &str = "cause, trigger, exit_code, signal, sender, scope";

/// `expr`, which has the labels of a container, with the workload's labels: those that it had most of
/// the time, since an agent that starts may know the Pod's owner a moment later.
#[must_use]
pub fn with_workload(expr: &str, selector: &str) -> String {
    let info = select("podvitals_container_info", selector, "");
    format!(
        "({expr}) * on ({CONTAINER}) group_left (workload_kind, workload) \
         (0 * topk by ({CONTAINER}) (1, count_over_time({info}[{ALL_TIME}])) + 1)"
    )
}

/// The `count` greatest, each above 0.
#[must_use]
pub fn top(count: u32, expr: &str) -> String {
    format!("topk({count}, {expr} > 0)")
}

/// The `count` series with the greatest value over the whole range, by `by`: the same ones in each
/// step, unlike a plain topk.
#[must_use]
pub fn steady_top(count: u32, by: &str, expr: &str, over_range: &str) -> String {
    format!("{expr} and on ({by}) topk({count}, {over_range})")
}
