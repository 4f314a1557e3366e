/** One number, large, with its history behind it. */

import {
  type DisplayValueAlignmentFactors,
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type ReduceDataOptions,
} from '@grafana/data';
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  type VizTextDisplayOptions,
  VizOrientation,
} from '@grafana/schema';
import { BigValue, useTheme2, VizRepeater, type VizRepeaterRenderValueProps } from '@grafana/ui';
import type { ReactElement } from 'react';

import { optionsOf, type Props, TIME_ZONE } from './props';

interface Options {
  reduceOptions: ReduceDataOptions;
  orientation: VizOrientation;
  graphMode: BigValueGraphMode;
  colorMode: BigValueColorMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
  wideLayout: boolean;
  text?: VizTextDisplayOptions;
}

const DEFAULTS: Options = {
  reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  orientation: VizOrientation.Auto,
  graphMode: BigValueGraphMode.Area,
  colorMode: BigValueColorMode.Value,
  justifyMode: BigValueJustifyMode.Auto,
  textMode: BigValueTextMode.Auto,
  wideLayout: true,
};

export function StatPanel({ panel, frames, fieldConfig, range, width, height, replaceVariables }: Props): ReactElement {
  const theme = useTheme2();
  const options = optionsOf(panel, DEFAULTS);
  const isNamed = !!fieldConfig.defaults.displayName || !panel.title;
  const textMode =
    options.textMode === BigValueTextMode.Auto && isNamed ? BigValueTextMode.ValueAndName : options.textMode;
  const values = (): FieldDisplay[] =>
    getFieldDisplayValues({
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables,
      theme,
      data: frames,
      sparkline: options.graphMode !== BigValueGraphMode.None,
      timeZone: TIME_ZONE,
    });
  const one = (
    it: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>
  ): ReactElement => {
    const sparkline = it.value.sparkline;
    if (sparkline) {
      sparkline.timeRange = range;
    }
    return (
      <BigValue
        value={it.value.display}
        count={it.count}
        sparkline={sparkline}
        colorMode={options.colorMode}
        graphMode={options.graphMode}
        justifyMode={options.justifyMode}
        textMode={textMode}
        alignmentFactors={it.alignmentFactors}
        text={options.text}
        width={it.width}
        height={it.height}
        theme={theme}
        disableWideLayout={!options.wideLayout}
      />
    );
  };
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      width={width}
      height={height}
      source={frames}
      itemSpacing={3}
      renderCounter={0}
      autoGrid
      orientation={options.orientation}
    />
  );
}
