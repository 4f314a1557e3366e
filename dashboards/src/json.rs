//! Boards as JSON in Grafana's classic schema. The one place that knows how Grafana names things.

mod parts;
mod variables;

use serde_json::{Map, Value, json};

use self::parts::{datasource, put};
use crate::board::{Annotation, Board, SCHEMA_VERSION, TAG};
use crate::layout::{self, Item, Place};
use crate::link::Link;
use crate::panel::{Cell, Field, Kind, Legend, Match, PLUGIN_VERSION, Panel, Style};
use crate::target::{Shape, Target};
use crate::unit::{Mapping, Thresholds, Unit};

/// A board as JSON.
#[must_use]
pub fn of_board(board: &Board) -> Value {
    let panels =
        layout::of_board(board).into_iter().zip(1..).map(|((place, item), id)| match item {
            Item::Title(title) => row(id, place, title),
            Item::Panel(panel) => self::panel(id, place, panel),
        });
    json!({
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": true,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": format!("now-{}", board.range), "to": "now" },
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "links": [{
            "title": "Podvitals",
            "type": "dashboards",
            "tags": [TAG],
            "asDropdown": false,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "icon": "external link",
            "tooltip": "",
            "url": ""
        }],
        "templating": { "list": board.variables.iter().map(variables::variable).collect::<Value>() },
        "annotations": { "list": board.annotations.iter().map(annotation).collect::<Value>() },
        "panels": panels.collect::<Value>(),
    })
}

fn grid(place: Place) -> Value {
    json!({ "x": place.x, "y": place.y, "w": place.w, "h": place.h })
}

fn row(id: u32, place: Place, title: &str) -> Value {
    json!({
        "id": id, "type": "row", "title": title, "collapsed": false, "gridPos": grid(place),
        "panels": [],
    })
}

fn panel(id: u32, place: Place, panel: &Panel) -> Value {
    let is_neutral = panel.field.thresholds.as_ref().is_some_and(|it| it.steps.is_empty());
    let (kind, options) = kind(&panel.kind, is_neutral);
    let is_one_table = panel.targets.len() == 1;
    let refs = ('A'..='Z').zip(&panel.targets);
    let mut object = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": grid(place),
        "datasource": datasource(),
        "pluginVersion": PLUGIN_VERSION,
        "targets": refs.map(|(id, target)| self::target(id, target)).collect::<Value>(),
        "fieldConfig": {
            "defaults": defaults(panel),
            "overrides": panel.overrides.iter().map(overridden).collect::<Value>(),
        },
        "options": options,
    });
    if let Kind::Table { columns, .. } = &panel.kind {
        put(&mut object, "transformations", transformations(columns, is_one_table));
    }
    if let Some(step) = panel.min_step {
        put(&mut object, "interval", step.into());
    }
    object
}

fn target(id: char, target: &Target) -> Value {
    let is_range = matches!(target.shape, Shape::Range | Shape::Heatmap);
    let format = match target.shape {
        Shape::Range | Shape::Instant => "time_series",
        Shape::Table => "table",
        Shape::Heatmap => "heatmap",
    };
    let mut object = json!({
        "refId": id.to_string(),
        "datasource": datasource(),
        "editorMode": "code",
        "expr": target.expr,
        "legendFormat": target.legend,
        "format": format,
        "instant": !is_range,
        "range": is_range,
    });
    // Of several queries for the same histogram Grafana asks exemplars for the first alone.
    if is_range && target.expr.contains("_bucket{") {
        put(&mut object, "exemplar", true.into());
    }
    object
}

fn kind(kind: &Kind, is_neutral: bool) -> (&'static str, Value) {
    let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match kind {
        Kind::Stat { names } => {
            let (text, sizes) = if *names {
                ("value_and_name", json!({ "titleSize": 18, "valueSize": 22 }))
            } else {
                ("auto", json!({}))
            };
            let options = json!({
                "colorMode": if is_neutral { "none" } else { "background" },
                "graphMode": "none", "justifyMode": "center", "orientation": "auto",
                "textMode": text, "text": sizes, "reduceOptions": reduce,
            });
            ("stat", options)
        }
        Kind::BarGauge { names_above } => {
            // Few bars need not fill the panel. A name above a bar is part of its height.
            let (least, most) = if *names_above { (30, 36) } else { (10, 24) };
            let options = json!({
                "displayMode": "gradient", "orientation": "horizontal", "showUnfilled": true,
                "valueMode": "text", "reduceOptions": reduce,
                "namePlacement": if *names_above { "top" } else { "left" },
                "sizing": "manual", "minVizHeight": least, "maxVizHeight": most, "minVizWidth": 8,
                "text": { "titleSize": 12, "valueSize": 14 },
            });
            ("bargauge", options)
        }
        Kind::TimeSeries(_, legend) => {
            let legend = match legend {
                Legend::Names => json!({
                    "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true,
                }),
                Legend::Ranking => json!({
                    "calcs": ["max"], "displayMode": "table", "placement": "right",
                    "showLegend": true, "sortBy": "Max", "sortDesc": true,
                }),
            };
            let options =
                json!({ "legend": legend, "tooltip": { "mode": "multi", "sort": "desc" } });
            ("timeseries", options)
        }
        Kind::Table { sort, .. } => {
            let options = json!({
                "showHeader": true,
                "cellHeight": "sm",
                "sortBy": [{ "displayName": sort, "desc": true }],
            });
            ("table", options)
        }
        Kind::Heatmap => {
            let options = json!({
                "calculate": false,
                "cellGap": 1,
                "color": {
                    "mode": "scheme", "scheme": "Oranges", "fill": "dark-orange",
                    "scale": "exponential", "exponent": 0.5, "steps": 64, "reverse": false,
                },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
                // An empty cell is no measurement.
                "filterValues": { "le": 1e-9 },
                "legend": { "show": true },
                "rowsFrame": { "layout": "auto" },
                // `show` is for Grafana 10, `mode` for later ones.
                "tooltip": { "show": true, "mode": "single", "yHistogram": true },
                "yAxis": { "axisPlacement": "left", "reverse": false, "unit": "s" },
            });
            ("heatmap", options)
        }
    }
}

fn defaults(panel: &Panel) -> Value {
    let mut defaults = properties(&panel.field);
    let mut custom = custom(&panel.kind);
    if matches!(panel.kind, Kind::TimeSeries(..)) && panel.field.unit == Some(Unit::Ratio) {
        // Else a share that is always 0 has a scale up to 10000 %.
        put(&mut custom, "axisSoftMax", json!(0.1));
    }
    put(&mut defaults, "custom", custom);
    let is_colored_by_value =
        matches!(panel.kind, Kind::Stat { .. } | Kind::BarGauge { .. } | Kind::Table { .. });
    let mode = if is_colored_by_value { "thresholds" } else { "palette-classic" };
    put(&mut defaults, "color", json!({ "mode": mode }));
    if panel.field.thresholds.is_none() {
        put(&mut defaults, "thresholds", thresholds(&Thresholds::none()));
    }
    defaults
}

fn custom(kind: &Kind) -> Value {
    match kind {
        Kind::Stat { .. } | Kind::BarGauge { .. } => json!({}),
        Kind::Table { .. } => {
            json!({ "align": "auto", "cellOptions": { "type": "auto" }, "inspect": false, "minWidth": 60 })
        }
        Kind::Heatmap => json!({ "scaleDistribution": { "type": "linear" } }),
        Kind::TimeSeries(style, legend) => {
            let (draw, fill, points, stacking, span) = match style {
                // Areas of many lines would cover each other.
                Style::Lines if *legend == Legend::Ranking => ("line", 0, "never", "none", false),
                Style::Lines => ("line", 8, "never", "none", false),
                Style::Stacked => ("line", 40, "never", "normal", false),
                Style::Bars => ("bars", 80, "never", "normal", false),
                Style::Points => ("line", 0, "always", "none", true),
            };
            json!({
                "drawStyle": draw,
                "fillOpacity": fill,
                "lineWidth": if matches!(style, Style::Bars) { 0 } else { 1 },
                "lineInterpolation": "linear",
                "showPoints": points,
                "pointSize": 5,
                "spanNulls": span,
                "stacking": { "mode": stacking, "group": "A" },
                "axisPlacement": "auto",
                "thresholdsStyle": { "mode": "off" },
            })
        }
    }
}

/// What a field sets for itself, under the names that defaults and overrides share.
fn properties(field: &Field) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    set("displayName", field.name.map(Value::from));
    set("unit", field.unit.map(|unit| unit.id().into()));
    set("decimals", field.decimals.map(Value::from));
    set("min", field.min.map(Value::from));
    set("max", field.max.map(Value::from));
    set("thresholds", field.thresholds.as_ref().map(thresholds));
    set("noValue", field.no_value.map(Value::from));
    set("mappings", field.mappings.map(mappings));
    set("color", field.color.map(|color| json!({ "mode": "fixed", "fixedColor": color })));
    if !field.links.is_empty() {
        set("links", Some(field.links.iter().map(link).collect()));
    }
    Value::Object(map)
}

fn overridden((which, field): &(Match, Field)) -> Value {
    let matcher = match which {
        Match::Title(title) => json!({ "id": "byName", "options": title }),
        Match::Like(like) => json!({ "id": "byRegexp", "options": like }),
    };
    let shared = properties(field);
    let mut set: Vec<Value> = shared
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, value)| json!({ "id": id, "value": value }))
        .collect();
    if field.dashed {
        set.push(json!({
            "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [8, 6] }
        }));
        set.push(json!({ "id": "custom.fillOpacity", "value": 0 }));
        set.push(
            json!({ "id": "custom.stacking", "value": { "mode": "none", "group": "limits" } }),
        );
    }
    if let Some(width) = field.width {
        set.push(json!({ "id": "custom.width", "value": width }));
    }
    if let Some(cell) = field.cell {
        let options = match cell {
            Cell::Background => json!({ "type": "color-background", "mode": "basic" }),
            Cell::Text => json!({ "type": "color-text" }),
            Cell::Gauge => json!({ "type": "gauge", "mode": "basic" }),
        };
        set.push(json!({ "id": "custom.cellOptions", "value": options }));
    }
    json!({ "matcher": matcher, "properties": set })
}

fn thresholds(thresholds: &Thresholds) -> Value {
    let base = json!({ "color": thresholds.base, "value": null });
    let steps =
        thresholds.steps.iter().map(|(value, color)| json!({ "color": color, "value": value }));
    let steps: Value = std::iter::once(base).chain(steps).collect();
    json!({ "mode": "absolute", "steps": steps })
}

fn mappings(mappings: &[Mapping]) -> Value {
    let options: Map<String, Value> = mappings
        .iter()
        .zip(0..)
        .map(|((value, text, color), index)| {
            ((*value).to_owned(), json!({ "text": text, "color": color, "index": index }))
        })
        .collect();
    json!([{ "type": "value", "options": options }])
}

fn link(link: &Link) -> Value {
    json!({ "title": link.title, "url": link.url(), "targetBlank": false })
}

/// Several queries become one table; the columns that are named stay, in their order.
fn transformations(columns: &[(&str, &str)], is_one_table: bool) -> Value {
    let renamed: Map<String, Value> =
        columns.iter().map(|(name, title)| ((*name).to_owned(), (*title).into())).collect();
    let index: Map<String, Value> =
        columns.iter().zip(0..).map(|((name, _), at)| ((*name).to_owned(), at.into())).collect();
    let titles = columns.iter().map(|(_, title)| *title).collect::<Vec<_>>();
    let organize = json!({
        "id": "organize",
        "options": { "excludeByName": {}, "indexByName": index, "renameByName": renamed },
    });
    // By name: what the queries have beside the columns depends on Prometheus' external labels.
    let filter = json!({
        "id": "filterFieldsByName",
        "options": { "include": { "names": titles } },
    });
    if is_one_table {
        json!([organize, filter])
    } else {
        json!([{ "id": "merge", "options": {} }, organize, filter])
    }
}

fn annotation(annotation: &Annotation) -> Value {
    json!({
        "name": annotation.name,
        "datasource": datasource(),
        "enable": true,
        "hide": false,
        "iconColor": annotation.color,
        "expr": annotation.expr,
        "useValueForTime": annotation.time_is_value,
        "titleFormat": annotation.name,
        "textFormat": annotation.text,
        "tagKeys": "",
        // Grafana joins marks that are closer than a step, a minute by default: a crash loop
        // would be one long mark.
        "step": "15s",
    })
}
