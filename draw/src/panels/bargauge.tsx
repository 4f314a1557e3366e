/** A bar for each value. */

import {
  type DisplayValueAlignmentFactors,
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type ReduceDataOptions,
} from '@grafana/data';
import {
  BarGaugeDisplayMode,
  BarGaugeNamePlacement,
  BarGaugeSizing,
  BarGaugeValueMode,
  VizOrientation,
  type VizTextDisplayOptions,
} from '@grafana/schema';
import { BarGauge, useTheme2, VizRepeater, type VizRepeaterRenderValueProps } from '@grafana/ui';
import type { ReactElement } from 'react';

import { optionsOf, type Props, TIME_ZONE } from './props';

interface Options {
  reduceOptions: ReduceDataOptions;
  orientation: VizOrientation;
  displayMode: BarGaugeDisplayMode;
  valueMode: BarGaugeValueMode;
  namePlacement: BarGaugeNamePlacement;
  showUnfilled: boolean;
  sizing: BarGaugeSizing;
  minVizWidth: number;
  minVizHeight: number;
  maxVizHeight: number;
  text?: VizTextDisplayOptions;
}

const DEFAULTS: Options = {
  reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  orientation: VizOrientation.Auto,
  displayMode: BarGaugeDisplayMode.Gradient,
  valueMode: BarGaugeValueMode.Color,
  namePlacement: BarGaugeNamePlacement.Auto,
  showUnfilled: true,
  sizing: BarGaugeSizing.Auto,
  minVizWidth: 8,
  minVizHeight: 16,
  maxVizHeight: 300,
};

/** What Grafana takes where the sizes are not set by hand. */
const AUTO = { minVizWidth: 0, minVizHeight: 10, maxVizHeight: 300 };

export function BarGaugePanel({ panel, frames, fieldConfig, width, height, replaceVariables }: Props): ReactElement {
  const theme = useTheme2();
  const options = optionsOf(panel, DEFAULTS);
  const sizes = options.sizing === BarGaugeSizing.Manual ? options : AUTO;
  const spacing = options.displayMode === BarGaugeDisplayMode.Lcd ? 2 : 10;
  const values = (): FieldDisplay[] =>
    getFieldDisplayValues({
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables,
      theme,
      data: frames,
      timeZone: TIME_ZONE,
    });
  const one = (it: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>): ReactElement => (
    <BarGauge
      value={it.value.display}
      width={it.width}
      height={it.height}
      orientation={it.orientation}
      field={it.value.field}
      text={options.text}
      display={it.value.view?.getFieldDisplayProcessor(it.value.colIndex ?? 0) ?? undefined}
      theme={theme}
      itemSpacing={spacing}
      lcdCellWidth={options.displayMode === BarGaugeDisplayMode.Lcd ? 12 : undefined}
      displayMode={options.displayMode}
      alignmentFactors={it.alignmentFactors}
      showUnfilled={options.showUnfilled}
      valueDisplayMode={options.valueMode}
      namePlacement={options.namePlacement}
    />
  );
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      width={width}
      height={height}
      source={frames}
      itemSpacing={spacing}
      renderCounter={0}
      orientation={options.orientation}
      minVizWidth={sizes.minVizWidth}
      minVizHeight={sizes.minVizHeight}
      maxVizHeight={sizes.maxVizHeight}
    />
  );
}
