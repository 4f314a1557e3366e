/** A board's annotations: what a query marks in time on every graph. */

import { rangeUtil } from '@grafana/data';

import type { Annotation, Board } from './board';
import { queryRange } from './prometheus';
import { type Asked, checkSource, intervals, type Surroundings, withLabels } from './queries';

/** A stretch of time, or a moment where both ends are the same. */
export interface Mark {
  from: number;
  to: number;
  color: string;
  title: string;
  text: string;
  annotation: Annotation;
}

/** Grafana's own step for them. */
const STEP = '60s';

export async function marks(board: Board, around: Surroundings): Promise<{ marks: Mark[]; asked: Asked[] }> {
  const all: Mark[] = [];
  const asked: Asked[] = [];
  for (const annotation of board.annotations?.list ?? []) {
    if (!annotation.enable || annotation.builtIn) {
      continue;
    }
    const one: Asked = { refId: annotation.name, expr: annotation.expr ?? '', series: 0, samples: 0 };
    asked.push(one);
    try {
      checkSource(annotation.datasource);
      const found = await marksOf(annotation, around, one);
      one.samples = found.length;
      all.push(...found);
    } catch (error) {
      one.error = error instanceof Error ? error.message : String(error);
    }
  }
  return { marks: all, asked };
}

async function marksOf(annotation: Annotation, around: Surroundings, one: Asked): Promise<Mark[]> {
  const { range, variables, scrape } = around;
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const step = rangeUtil.intervalToMs(annotation.step || STEP);
  one.expr = variables.inQuery(annotation.expr ?? '', intervals(step, scrape, to - from));
  const series = await queryRange(one.expr, from, to, step);
  one.series = series.length;
  const all: Mark[] = [];
  for (const { labels, times, values } of series) {
    let last: Mark | undefined;
    times.forEach((time, index) => {
      const value = values[index] ?? 0;
      if (!(annotation.useValueForTime ? Number.isFinite(value) : value > 0)) {
        return;
      }
      const at = annotation.useValueForTime ? Math.floor(value) : time;
      if (last && last.to + step >= at) {
        last.to = at;
        return;
      }
      const say = (format: string | undefined): string => withLabels(variables.inText(format ?? ''), labels);
      last = {
        from: at,
        to: at,
        color: annotation.iconColor ?? 'rgba(0, 211, 255, 1)',
        title: say(annotation.titleFormat),
        text: say(annotation.textFormat),
        annotation,
      };
      all.push(last);
    });
  }
  return all.filter((mark) => mark.to >= from && mark.from <= to);
}

/** The marks that a panel shows. */
export function shownOn(all: Mark[], panelId: number | undefined): Mark[] {
  return all.filter(({ annotation: { filter } }) => {
    if (!filter?.ids?.length) {
      return true;
    }
    return filter.ids.includes(panelId ?? -1) !== (filter.exclude ?? false);
  });
}
