/** From a board to what its panels are drawn from: variables settled, queries asked, fields made. */

import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  type DataFrame,
  type FieldConfigSource,
  type GrafanaTheme2,
  type InterpolateFunction,
  type TimeRange,
} from '@grafana/data';

import { type Mark, marks, shownOn } from './annotations';
import { type Board, check, layOut, nameOf, type Placed } from './board';
import { fieldConfigOf, registryOf } from './fields';
import { TIME_ZONE } from './panels/props';
import { ask, type Asked, type Surroundings } from './queries';
import type { Complaint } from './report';
import { transform } from './transform';
import { type Scoped, Variables } from './variables';

/** Kinds of panels without queries. */
export const SILENT = ['row', 'text'];

/** Kinds that can be drawn. Grafana's library does not offer the others. */
export const DRAWN = [...SILENT, 'timeseries', 'stat', 'bargauge', 'table'];

/** Kinds of which only the queries are asked. */
const ASKED = ['heatmap'];

export interface Ready extends Placed {
  name: string;
  frames: DataFrame[];
  fieldConfig: FieldConfigSource;
  asked: Asked[];
  marks: Mark[];
  replaceVariables: InterpolateFunction;
  error?: string;
}

export interface ReadyBoard {
  board: Board;
  variables: Variables;
  range: TimeRange;
  panels: Ready[];
  height: number;
  complaints: Complaint[];
  annotations: Asked[];
}

export interface Job {
  board: Board;
  range: TimeRange;
  width: number;
  /** The data source's scrape interval in milliseconds. */
  scrape: number;
  variables: Record<string, string>;
}

export async function prepare(job: Job, theme: GrafanaTheme2): Promise<ReadyBoard> {
  const { board, range, width, scrape } = job;
  check(board);
  const ends = { from: range.from.valueOf(), to: range.to.valueOf() };
  const variables = await Variables.settle(board, ends, job.variables);
  const around: Surroundings = { range, variables, scrape };
  const annotations = await marks(board, around);
  const { placed, height } = layOut(board, width);
  const panels = await Promise.all(placed.map((it) => prepareOne(it, around, annotations.marks, theme)));
  const complaints: Complaint[] = [];
  for (const { variable, options } of variables.list()) {
    // One that stands for anything when all is chosen may be of a label that is not there.
    if (variable.type === 'query' && options.length === 0 && !variable.allValue) {
      complaints.push({ panel: `$${variable.name}`, kind: 'empty', detail: 'the variable has no value' });
    }
  }
  for (const { refId, expr, error, samples } of annotations.asked) {
    const panel = `annotation ${refId}`;
    if (error !== undefined) {
      complaints.push({ panel, kind: 'error', detail: `${error}: ${expr}` });
    } else if (samples === 0) {
      complaints.push({ panel, kind: 'empty', detail: expr });
    }
  }
  complaints.push(...panels.flatMap(complaintsOf));
  for (const name of variables.unknown) {
    complaints.push({ panel: board.title, kind: 'error', detail: `${name} is no variable of this board` });
  }
  return { board, variables, range, panels, height, complaints, annotations: annotations.asked };
}

async function prepareOne(placed: Placed, around: Surroundings, all: Mark[], theme: GrafanaTheme2): Promise<Ready> {
  const { panel, width } = placed;
  const { variables } = around;
  const replaceVariables: InterpolateFunction = (text, scoped) => variables.inText(text, scoped as Scoped);
  const ready: Ready = {
    ...placed,
    name: variables.inText(nameOf(panel)),
    frames: [],
    fieldConfig: { defaults: {}, overrides: [] },
    asked: [],
    marks: shownOn(all, panel.id),
    replaceVariables,
  };
  if (SILENT.includes(panel.type)) {
    return ready;
  }
  try {
    if (panel.repeat) {
      throw new Error('a panel that repeats is not known here');
    }
    const { frames, asked } = await ask(panel, width, around);
    ready.asked = asked;
    if (![...DRAWN, ...ASKED].includes(panel.type)) {
      throw new Error(`a panel of kind ${panel.type} is not known here`);
    }
    if (!DRAWN.includes(panel.type)) {
      return ready;
    }
    ready.fieldConfig = fieldConfigOf(panel);
    ready.frames = applyFieldOverrides({
      data: await transform(frames, panel.transformations ?? [], variables),
      fieldConfig: ready.fieldConfig,
      fieldConfigRegistry: registryOf(panel),
      replaceVariables,
      theme,
      timeZone: TIME_ZONE,
    });
    cacheFieldDisplayNames(ready.frames);
    // Links in tables are asked for their addresses.
    for (const frame of ready.frames) {
      for (const field of frame.fields) {
        const { links = [] } = field.config;
        field.getLinks = () =>
          links.map((link) => ({ href: '#', title: link.title, target: '_blank', origin: field }));
      }
    }
  } catch (error) {
    ready.error = error instanceof Error ? error.message : String(error);
  }
  return ready;
}

function complaintsOf({ name, panel, asked, frames, error }: Ready): Complaint[] {
  if (SILENT.includes(panel.type)) {
    return [];
  }
  const found: Complaint[] = [];
  if (error !== undefined) {
    found.push({ panel: name, kind: 'error', detail: error });
  }
  if (asked.length === 0) {
    found.push({ panel: name, kind: 'empty', detail: 'it has no query' });
  }
  for (const one of asked) {
    if (one.error !== undefined) {
      found.push({ panel: name, query: one.refId, kind: 'error', detail: `${one.error}: ${one.expr}` });
    } else if (one.samples === 0) {
      found.push({ panel: name, query: one.refId, kind: 'empty', detail: one.expr });
    }
  }
  const isDrawn = DRAWN.includes(panel.type);
  if (found.length === 0 && isDrawn && !frames.some((frame) => frame.length > 0 && frame.fields.length > 0)) {
    found.push({ panel: name, kind: 'empty', detail: 'its transformations leave nothing' });
  }
  return found;
}
