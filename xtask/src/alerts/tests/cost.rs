//! Holds what the documents say is lost with series, collectors and NET_ADMIN against the rules, the
//! dashboards, the runbooks and the reference.

use super::*;

const COST: &str = "docs/COST.md";
/// Numbers as they are written.
const WORDS: [&str; 11] =
    ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// The families of each collector, from docs/METRICS.md.
fn families() -> BTreeMap<String, Vec<String>> {
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in text("docs/METRICS.md").unwrap().lines() {
        // Other tables have fewer columns.
        if let [_, name, _, _, _, _, collector, _, _, _] = row.split('|').collect::<Vec<_>>()[..] {
            let name = name.trim().trim_matches('`').to_owned();
            families.entry(collector.trim().to_owned()).or_default().push(name);
        }
    }
    families
}

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("podvitals_")).collect()
}

/// Whether one of these is a series of the family.
fn names(metrics: &BTreeSet<&str>, family: &str) -> bool {
    ["", "_bucket", "_sum", "_count"].iter().any(|end| metrics.contains(&*format!("{family}{end}")))
}

/// The alerts that read one of these families.
fn readers_of(families: &[String]) -> BTreeSet<String> {
    let records = rules("record");
    let reads = |rule: &Value| {
        let text = whole(expression(rule), &records);
        families.iter().any(|family| names(&metrics(&text), family))
    };
    rules("alert").into_iter().filter(|(_, rule)| reads(rule)).map(|(name, _)| name).collect()
}

/// The alerts that read a family of the collector.
fn readers(collector: &str) -> BTreeSet<String> {
    readers_of(&families()[collector])
}

/// Whether the document has these words, wherever its lines break.
fn said(words: &str) {
    let cost = text(COST).unwrap();
    let cost = cost.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(cost.contains(words), "{COST} does not say {words:?}");
}

#[test]
fn the_alerts_that_a_collector_costs_are_named() {
    let cost = text(COST).unwrap();
    let (_, section) = cost.split_once("**By switching collectors off**").unwrap();
    let (flags, table) = section.split_once("| without | these alerts never fire |").unwrap();
    let mut all = BTreeSet::new();
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let collector = cells[1].trim_matches('`');
        assert!(flags.contains(&format!("--no-collector.{collector}")), "{collector}");
        let named: BTreeSet<String> = cells[2]
            .split('`')
            .filter(|it| it.starts_with("Podvitals"))
            .map(str::to_owned)
            .collect();
        assert_eq!(named, readers(collector), "{collector}");
        assert_eq!(cells[2] == "none", named.is_empty(), "{collector}");
        all.extend(named);
        rows += 1;
    }
    assert_eq!(rows, flags.matches("--no-collector.").count());
    said(&format!("It costs {} alerts:", WORDS[all.len()]));
    said(&format!("Never switch off `info`: {} alerts", WORDS[readers("info").len()]));
}

/// What a regular expression of names and groups of alternatives matches.
fn alternatives(expression: &str) -> Vec<String> {
    let Some((before, rest)) = expression.split_once('(') else {
        return vec![expression.to_owned()];
    };
    let mut depth = 1;
    let is_end = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    };
    let end = rest.find(is_end).unwrap();
    let (inside, after) = (&rest[..end], &rest[end + 1..]);
    let mut depth = 0;
    let is_between = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == '|'
    };
    let choices = inside.split(is_between).flat_map(alternatives);
    choices
        .flat_map(|choice| alternatives(after).into_iter().map(move |end| format!("{choice}{end}")))
        .map(|rest| format!("{before}{rest}"))
        .collect()
}

#[test]
fn what_is_dropped_is_read_by_no_rule_and_missed_where_it_is_said() {
    assert_eq!(alternatives("a_(b|c(d|e)_f)_g"), ["a_b_g", "a_cd_f_g", "a_ce_f_g"]);
    let cost = text(COST).unwrap();
    let (_, block) = cost.split_once("```yaml\nmetric_relabel_configs:\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let dropped: Vec<String> = block
        .lines()
        .filter_map(|line| line.trim().strip_prefix("regex: "))
        .flat_map(alternatives)
        .collect();
    assert!(dropped.len() > 10, "{dropped:?}");
    let families = families().into_values().flatten().collect::<Vec<_>>();
    for name in &dropped {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(families.iter().any(|it| it == family), "{name} is no family");
    }
    let misses = |text: &str| dropped.iter().any(|it| metrics(text).contains(&**it));
    for (name, rule) in rules("alert").into_iter().chain(rules("record")) {
        assert!(!misses(&rule.to_string()), "{name} reads what is dropped");
    }
    let runbook = |name: &String| text(format!("{RUNBOOKS}/{name}.md")).unwrap();
    let missing: Vec<String> =
        rules("alert").into_keys().filter(|name| misses(&runbook(name))).collect();
    said(&format!("In {} runbooks", WORDS[missing.len()]));
    let named = missing.iter().map(|name| format!("[{name}](runbooks/{name}.md)"));
    let named: Vec<String> = named.collect();
    let (last, others) = named.split_last().unwrap();
    let others = others.join(", ");
    said(&format!("{others} and {last}."));
    let questions: Vec<String> = text("README.md")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| ") && misses(line))
        .map(|line| line.split('|').nth(1).unwrap().trim().to_owned())
        .collect();
    assert_eq!(questions, ["How long do clean stops take?"]);
}

/// Property: the alerts and panels that need what only answers tell are named.
#[test]
fn what_is_lost_without_net_admin_is_named() {
    const THRESHOLDS: &str = "podvitals_probe_failure_threshold_reached_total";
    let reference = text("docs/METRICS.md").unwrap();
    let (_, section) = reference.split_once("\n### Without NET_ADMIN\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let row = |name: &str| section.lines().find(|line| line.starts_with(name)).unwrap();
    let alerts: BTreeSet<String> = row("| alerts |")
        .split('`')
        .filter(|it| it.starts_with("Podvitals"))
        .map(str::to_owned)
        .collect();
    assert_eq!(alerts, readers_of(&[THRESHOLDS.to_owned()]));
    // Rows of panels are folded into their headings.
    fn panels(value: &Value, all: &mut Vec<(String, String)>) {
        for panel in value["panels"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap_or_default().to_owned();
            all.push((title, panel["targets"].to_string()));
            panels(panel, all);
        }
    }
    let mut all = Vec::new();
    panels(&yaml("dashboards/podvitals-probes.json"), &mut all);
    let named: BTreeSet<&str> =
        row("| panels of the dashboard *Probes* |").split('"').skip(1).step_by(2).collect();
    let of_failures = |asked: &str| {
        asked.contains(THRESHOLDS)
            || asked.contains("failure|timeout|refused")
            || (asked.contains("podvitals_probe_failures_left") && asked.contains("== 0"))
    };
    let affected = all.iter().filter(|(_, asked)| of_failures(asked));
    assert_eq!(named, affected.map(|(title, _)| title.as_str()).collect());
}
