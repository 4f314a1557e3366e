/** A graph over time, with the board's annotations as lines. */

import { type DataFrame, FieldType, getDisplayProcessor } from '@grafana/data';
import { LegendDisplayMode, type VizLegendOptions } from '@grafana/schema';
import { TimeSeries, type UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { type ReactElement, useMemo } from 'react';

import type { Mark } from '../annotations';
import { optionsOf, type Props, TIME_ZONE } from './props';

interface Options {
  legend: VizLegendOptions;
}

const DEFAULTS: Options = {
  legend: { displayMode: LegendDisplayMode.List, placement: 'bottom', showLegend: true, calcs: [] },
};

export function TimeSeriesPanel({ panel, frames, range, width, height, marks }: Props): ReactElement {
  const theme = useTheme2();
  const { legend } = optionsOf(panel, DEFAULTS);
  const graphable = useMemo(() => {
    const prepared = numbersOverTime(frames);
    let index = 0;
    for (const frame of prepared) {
      for (const field of frame.fields) {
        if (field.type === FieldType.number) {
          // The colour of a series is the next of the palette over all frames.
          field.state = { ...field.state, seriesIndex: index++ };
          field.display = getDisplayProcessor({ field, theme, timeZone: TIME_ZONE });
        }
      }
    }
    return prepared;
  }, [frames, theme]);
  return (
    <TimeSeries
      frames={graphable}
      timeRange={range}
      timeZone={TIME_ZONE}
      width={width}
      height={height}
      legend={legend}
      options={{}}
    >
      {(config: UPlotConfigBuilder) => <Lines config={config} marks={marks} />}
    </TimeSeries>
  );
}

/** Frames that have a time and a number; what is no finite number is a gap. */
function numbersOverTime(frames: DataFrame[]): DataFrame[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    const numbers = frame.fields.filter((field) => field.type === FieldType.number);
    if (!time || numbers.length === 0) {
      return [];
    }
    const finite = numbers.map((field) => ({
      ...field,
      values: field.values.map((value: number | null) => (Number.isFinite(value) ? value : null)),
    }));
    return [{ ...frame, fields: [time, ...finite] }];
  });
}

/** Draws into the graph's canvas, as Grafana's own annotations do. */
function Lines({ config, marks }: { config: UPlotConfigBuilder; marks: Mark[] }): null {
  const theme = useTheme2();
  useMemo(() => {
    config.addHook('draw', (plot) => {
      const { ctx } = plot;
      const { left, top, width, height } = plot.bbox;
      const pixels = window.devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, top, width, height + 8 * pixels);
      ctx.clip();
      for (const mark of marks) {
        const from = plot.valToPos(mark.from, 'x', true);
        const to = plot.valToPos(mark.to, 'x', true);
        const color = theme.visualization.getColorByName(mark.color);
        ctx.lineWidth = pixels;
        ctx.strokeStyle = color;
        ctx.fillStyle = color;
        ctx.setLineDash([4 * pixels, 4 * pixels]);
        for (const x of new Set([from, to])) {
          ctx.beginPath();
          ctx.moveTo(x, top);
          ctx.lineTo(x, top + height);
          ctx.stroke();
        }
        const bottom = top + height;
        ctx.globalAlpha = 1;
        ctx.beginPath();
        ctx.moveTo(from, bottom);
        ctx.lineTo(from - 4 * pixels, bottom + 6 * pixels);
        ctx.lineTo(from + 4 * pixels, bottom + 6 * pixels);
        ctx.fill();
        if (to > from) {
          ctx.fillRect(from, bottom, to - from, 5 * pixels);
          ctx.globalAlpha = 0.1;
          ctx.fillRect(from, top, to - from, height);
        }
      }
      ctx.restore();
    });
  }, [config]);
  return null;
}
