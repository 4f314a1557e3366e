/** What every kind of panel is drawn from. */

import type { DataFrame, FieldConfigSource, InterpolateFunction, TimeRange } from '@grafana/data';

import type { Mark } from '../annotations';
import type { Panel } from '../board';

export interface Props {
  panel: Panel;
  frames: DataFrame[];
  fieldConfig: FieldConfigSource;
  range: TimeRange;
  width: number;
  height: number;
  marks: Mark[];
  replaceVariables: InterpolateFunction;
}

/** Every time is shown in it, on whichever machine the picture is made. */
export const TIME_ZONE = 'utc';

/** The options of a panel over those of a new one. */
export function optionsOf<T extends object>(panel: Panel, defaults: T): T {
  return { ...defaults, ...(panel.options as Partial<T> | undefined) };
}
