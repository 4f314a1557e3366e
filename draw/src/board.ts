/** A dashboard as its JSON has it, as far as it is drawn, and where its panels lie. */

import type { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Place {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface DataSourceRef {
  type?: string;
  uid?: string;
}

/** A query of a panel, as Grafana's Prometheus data source has it. */
export interface Target {
  refId: string;
  expr: string;
  datasource?: DataSourceRef;
  legendFormat?: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
  interval?: string;
  hide?: boolean;
}

export interface Panel {
  id?: number;
  type: string;
  title?: string;
  description?: string;
  gridPos: Place;
  datasource?: DataSourceRef;
  targets?: Target[];
  transformations?: DataTransformerConfig[];
  fieldConfig?: FieldConfigSource;
  options?: Record<string, unknown>;
  interval?: string;
  maxDataPoints?: number;
  repeat?: string;
  transparent?: boolean;
  /** Of a row: whether it is folded. */
  collapsed?: boolean;
  /** Of a folded row: what is in it. */
  panels?: Panel[];
}

export interface Variable {
  name: string;
  type: string;
  label?: string | null;
  query?: string | { query?: string };
  regex?: string;
  sort?: number;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string | null;
  hide?: number;
  current?: { value?: string | string[]; text?: string | string[] };
  options?: Array<{ value?: string | string[]; text?: string | string[] }>;
}

export interface Annotation {
  name: string;
  enable: boolean;
  hide?: boolean;
  iconColor?: string;
  datasource?: DataSourceRef;
  expr?: string;
  step?: string;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
  useValueForTime?: boolean;
  builtIn?: number;
  filter?: { exclude?: boolean; ids: number[] };
}

export interface Board {
  uid: string;
  title: string;
  panels: Panel[];
  templating?: { list?: Variable[] };
  annotations?: { list?: Annotation[] };
  time?: { from: string; to: string };
}

/** Columns of the grid, height of a row and gaps in pixels: Grafana's own. */
const COLUMNS = 24;
const ROW = 30;
const GAP = 8;

export interface Placed {
  panel: Panel;
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The most rows of the grid that are drawn: what is out of the page's sight would not be judged. */
const ROWS = 200;

/** An error if there is nothing to draw, or a panel is where nobody would see it. */
export function check(board: Board): void {
  if (!Array.isArray(board?.panels) || board.panels.length === 0) {
    throw new Error('the board has no panels');
  }
  for (const panel of board.panels.flatMap((it) => [it, ...(it.panels ?? [])])) {
    const { x, y, w, h } = panel.gridPos ?? {};
    const isWhole = [x, y, w, h].every(Number.isInteger);
    if (!isWhole || x < 0 || y < 0 || w < 1 || h < 1 || x + w > COLUMNS || y + h > ROWS) {
      throw new Error(`${nameOf(panel)} has no place in the grid: ${JSON.stringify(panel.gridPos)}`);
    }
  }
}

/** All panels with their boxes in pixels; folded rows are unfolded. */
export function layOut(board: Board, width: number): { placed: Placed[]; height: number } {
  const column = (width - GAP * (COLUMNS - 1)) / COLUMNS;
  const placed = unfold(board.panels).map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    return {
      panel,
      left: Math.round(x * (column + GAP)),
      top: y * (ROW + GAP),
      width: Math.round(w * column + (w - 1) * GAP),
      height: h * ROW + (h - 1) * GAP,
    };
  });
  return { placed, height: Math.max(0, ...placed.map((it) => it.top + it.height)) };
}

/** The panels in order, with those of folded rows below their row and the rest moved down. */
function unfold(panels: Panel[]): Panel[] {
  const sorted = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  let moved = 0;
  const all: Panel[] = [];
  const down = (panel: Panel, by: number): Panel => ({
    ...panel,
    gridPos: { ...panel.gridPos, y: panel.gridPos.y + by },
  });
  for (const panel of sorted) {
    const here = down(panel, moved);
    all.push(here);
    const inside = panel.type === 'row' && panel.collapsed ? (panel.panels ?? []) : [];
    if (inside.length > 0) {
      const first = Math.min(...inside.map((it) => it.gridPos.y));
      const last = Math.max(...inside.map((it) => it.gridPos.y + it.gridPos.h));
      all.push(...inside.map((it) => down(it, here.gridPos.y + 1 - first)));
      moved += last - first;
    }
  }
  return all;
}

/** A panel as people name it. */
export function nameOf(panel: Panel): string {
  return panel.title || `panel ${panel.id ?? '?'}`;
}
