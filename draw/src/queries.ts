/** A panel's queries, asked as Grafana's Prometheus data source asks them, and their frames. */

import {
  type DataFrame,
  type Field,
  FieldType,
  type TimeRange,
  rangeUtil,
} from '@grafana/data';

import type { DataSourceRef, Panel, Target } from './board';
import { queryInstant, queryRange, type Series } from './prometheus';
import type { Scoped, Variables } from './variables';

/** Most samples of a series that Prometheus gives. */
const MAX_SAMPLES = 11_000;

/** What all queries of a board share. */
export interface Surroundings {
  range: TimeRange;
  variables: Variables;
  /** The data source's scrape interval in milliseconds. */
  scrape: number;
}

/** What became of one query. */
export interface Asked {
  refId: string;
  expr: string;
  series: number;
  /** Samples that are numbers. */
  samples: number;
  error?: string;
}

export interface Answered {
  frames: DataFrame[];
  asked: Asked[];
}

/** Asks all queries of a panel. */
export async function ask(panel: Panel, width: number, around: Surroundings): Promise<Answered> {
  const targets = (panel.targets ?? []).filter((target) => !target.hide);
  const tables = targets.filter((target) => target.format === 'table').length;
  const frames: DataFrame[] = [];
  const asked: Asked[] = [];
  await Promise.all(
    targets.map(async (target, index) => {
      const one: Asked = { refId: target.refId, expr: target.expr, series: 0, samples: 0 };
      asked[index] = one;
      try {
        checkSource(target.datasource ?? panel.datasource);
        const { expr, legend, all } = await askOne(target, panel, width, around);
        one.expr = expr;
        one.series = all.length;
        one.samples = all.reduce((sum, it) => sum + it.values.filter(Number.isFinite).length, 0);
        const made =
          target.format === 'table'
            ? [table(target.refId, all, tables > 1 ? `Value #${target.refId}` : 'Value')]
            : all.map((it) => graph(target.refId, it, expr, legend));
        frames.push(...made.map((frame) => ({ ...frame, order: index })));
      } catch (error) {
        one.error = error instanceof Error ? error.message : String(error);
      }
    })
  );
  const order = (frame: DataFrame): number => (frame as DataFrame & { order: number }).order;
  frames.sort((a, b) => order(a) - order(b));
  return { frames, asked };
}

export function checkSource(source: DataSourceRef | undefined): void {
  if (source?.type !== undefined && source.type !== 'prometheus') {
    throw new Error(`a data source of type ${source.type} is not known here`);
  }
}

async function askOne(
  target: Target,
  panel: Panel,
  width: number,
  { range, variables, scrape }: Surroundings
): Promise<{ expr: string; legend: string; all: Series[] }> {
  const from = range.from.valueOf();
  const to = range.to.valueOf();
  const milliseconds = (text: string): number => rangeUtil.intervalToMs(variables.inText(text).replace(/^>/, ''));
  const least = target.interval || panel.interval;
  const lowest = least ? milliseconds(least) : scrape;
  const points = panel.maxDataPoints ?? Math.max(1, Math.floor(width));
  const { intervalMs } = rangeUtil.calculateInterval(range, points, `${lowest}ms`);
  const step = Math.max(intervalMs, Math.ceil((to - from) / MAX_SAMPLES));
  // The range of a rate depends on a query's own least step, and not on its panel's.
  const scoped = intervals(step, target.interval ? milliseconds(target.interval) : scrape, to - from);
  const expr = variables.inQuery(target.expr, scoped);
  const legend = variables.inText(target.legendFormat ?? '', scoped);
  const all = target.instant ? await queryInstant(expr, to) : await queryRange(expr, from, to, step);
  return { expr, legend, all };
}

/** `$__interval` and its like. */
export function intervals(step: number, scrape: number, range: number): Scoped {
  const rate = Math.max(step + scrape, 4 * scrape);
  const text = (milliseconds: number): string =>
    milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
  const values = {
    __interval: text(step),
    __interval_ms: step,
    __rate_interval: text(rate),
    __rate_interval_ms: rate,
    __range: `${Math.round(range / 1000)}s`,
    __range_s: Math.round(range / 1000),
    __range_ms: range,
  };
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}

/** A series as a frame of its own. */
function graph(refId: string, { labels, times, values }: Series, expr: string, legend: string): DataFrame {
  const name = nameOf(labels, expr, legend);
  return {
    refId,
    name,
    length: times.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: times },
      {
        name: 'Value',
        type: FieldType.number,
        config: name === '' ? {} : { displayNameFromDS: name },
        labels: withoutName(labels),
        values,
      },
    ],
    meta: { preferredVisualisationType: 'graph' },
  };
}

/** What the legend says of a series. */
function nameOf(labels: Record<string, string>, expr: string, legend: string): string {
  if (legend === '__auto' && Object.keys(withoutName(labels)).length > 0) {
    // The panel then tells by what the series differ.
    return '';
  }
  const name = legend === '' || legend === '__auto' ? written(labels) : withLabels(legend, labels);
  return name === '{}' ? expr : name;
}

/** `{{label}}` in a text. */
export function withLabels(text: string, labels: Record<string, string>): string {
  return text.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => labels[label] ?? '');
}

function written(labels: Record<string, string>): string {
  const list = Object.entries(withoutName(labels)).map(([label, value]) => `${label}="${value}"`);
  return `${labels['__name__'] ?? ''}{${list.join(', ')}}`;
}

function withoutName({ __name__: _, ...labels }: Record<string, string>): Record<string, string> {
  return labels;
}

/** All samples as one table: the time, the labels, the value. */
function table(refId: string, all: Series[], valueName: string): DataFrame {
  const names: string[] = [];
  for (const { labels } of all) {
    names.push(...Object.keys(labels).sort().filter((label) => !names.includes(label)));
  }
  const times: number[] = all.flatMap((it) => it.times);
  const column = (label: string): Field => {
    const isNumber = label === 'le';
    const values = all.flatMap(({ labels, times: its }) =>
      its.map(() => (isNumber ? Number(labels[label]) : (labels[label] ?? '')))
    );
    return { name: label, config: { filterable: true }, type: isNumber ? FieldType.number : FieldType.string, values };
  };
  return {
    refId,
    length: times.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: times },
      ...names.map(column),
      { name: valueName, type: FieldType.number, config: {}, values: all.flatMap((it) => it.values) },
    ],
    meta: { preferredVisualisationType: 'table' },
  };
}
