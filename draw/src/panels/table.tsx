/** A table: Grafana's own, from the part of the library that it does not call stable yet. */

import { TableCellHeight, type TableSortByFieldState } from '@grafana/schema';
import { TableNG } from '@grafana/ui/unstable';
import type { ReactElement } from 'react';

import { optionsOf, type Props } from './props';

interface Options {
  showHeader: boolean;
  cellHeight: TableCellHeight;
  frameIndex: number;
  sortBy: TableSortByFieldState[];
  frozenColumns?: { left?: number };
}

const DEFAULTS: Options = { showHeader: true, cellHeight: TableCellHeight.Sm, frameIndex: 0, sortBy: [] };

export function TablePanel({ panel, frames, fieldConfig, range, width, height }: Props): ReactElement {
  const options = optionsOf(panel, DEFAULTS);
  const frame = frames[options.frameIndex] ?? frames[0];
  if (!frame || frames.length > 1) {
    // Grafana shows one, and a list to choose another.
    throw new Error(`a table of ${frames.length} frames: a transformation must make one of them`);
  }
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      noHeader={!options.showHeader}
      cellHeight={options.cellHeight}
      sortBy={options.sortBy}
      sortByBehavior="initial"
      frozenColumns={options.frozenColumns?.left}
      fieldConfig={fieldConfig}
      timeRange={range}
      enableVirtualization
    />
  );
}
