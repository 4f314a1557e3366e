/** The options that a field can have. Grafana's server fills the library's registry; here it is us. */

import {
  FieldConfigOptionsRegistry,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  FieldColorModeId,
  type FieldConfig,
  booleanOverrideProcessor,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardFieldConfigEditorRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  ThresholdsMode,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import type { GraphFieldConfig, TableFieldOptions } from '@grafana/schema';

import type { Panel } from './board';

/** What a process function of the library is for any of them. */
type Process = FieldConfigPropertyItem['process'];

const STANDARD: Record<string, Process> = {
  unit: unitOverrideProcessor as Process,
  min: numberOverrideProcessor as Process,
  max: numberOverrideProcessor as Process,
  decimals: numberOverrideProcessor as Process,
  fieldMinMax: booleanOverrideProcessor as Process,
  displayName: displayNameOverrideProcessor as Process,
  description: stringOverrideProcessor as Process,
  noValue: stringOverrideProcessor as Process,
  color: identityOverrideProcessor as Process,
  thresholds: thresholdsOverrideProcessor as Process,
  mappings: valueMappingsOverrideProcessor as Process,
  links: dataLinksOverrideProcessor as Process,
};

/** Options of its own that a field has in a graph; the compiler holds the names against Grafana's. */
const GRAPH: Array<keyof GraphFieldConfig> = [
  'axisBorderShow',
  'axisCenteredZero',
  'axisColorMode',
  'axisGridShow',
  'axisLabel',
  'axisPlacement',
  'axisSoftMax',
  'axisSoftMin',
  'axisWidth',
  'barAlignment',
  'barMaxWidth',
  'barWidthFactor',
  'drawStyle',
  'fillBelowTo',
  'fillColor',
  'fillOpacity',
  'gradientMode',
  'hideFrom',
  'insertNulls',
  'lineColor',
  'lineInterpolation',
  'lineStyle',
  'lineWidth',
  'pointColor',
  'pointSize',
  'pointSymbol',
  'scaleDistribution',
  'showPoints',
  'spanNulls',
  'stacking',
  'thresholdsStyle',
  'transform',
];

/** The same in a table. */
const TABLE: Array<keyof TableFieldOptions> = [
  'align',
  'cellOptions',
  'filterable',
  'hideFrom',
  'hideHeader',
  'inspect',
  'minWidth',
  'sortable',
  'styleField',
  'tooltip',
  'footer',
  'width',
  'wrapHeaderText',
];

/** Options of panels' fields that Grafana's own editor calls otherwise than the type of the library. */
const MORE: Record<string, string[]> = {
  timeseries: ['hideFrom.viz', 'hideFrom.legend', 'hideFrom.tooltip'],
  table: ['hideFrom.viz', 'footer.reducers', 'tooltip.field'],
  stat: ['hideFrom', 'hideFrom.viz'],
  bargauge: ['hideFrom', 'hideFrom.viz'],
  heatmap: ['hideFrom', 'scaleDistribution'],
};

/** What a panel's fields have where its JSON is silent, as a new panel in Grafana. */
const DEFAULTS: Record<string, FieldConfig> = {
  timeseries: { color: { mode: FieldColorModeId.PaletteClassic } },
  stat: { color: { mode: FieldColorModeId.Thresholds } },
  bargauge: { color: { mode: FieldColorModeId.Thresholds } },
  table: { color: { mode: FieldColorModeId.Thresholds } },
};

const THRESHOLDS = {
  mode: ThresholdsMode.Absolute,
  steps: [
    { value: Number.NEGATIVE_INFINITY, color: 'green' },
    { value: 80, color: 'red' },
  ],
};

function item(id: string, process: Process, isCustom: boolean): FieldConfigPropertyItem {
  return {
    id: isCustom ? `custom.${id}` : id,
    path: id,
    name: id,
    description: '',
    isCustom,
    process,
    shouldApply: () => true,
    // Nobody edits here.
    editor: () => null,
    override: () => null,
    settings: {},
  } as unknown as FieldConfigPropertyItem;
}

/** The library asks for the standard ones wherever it handles a field. */
export function fillStandard(): void {
  standardFieldConfigEditorRegistry.setInit(() =>
    Object.entries(STANDARD).map(([id, process]) => item(id, process, false))
  );
}

function customOf(type: string): string[] {
  const own: string[] = type === 'timeseries' ? GRAPH : type === 'table' ? TABLE : [];
  return [...own, ...(MORE[type] ?? [])];
}

/** All options that a panel's fields may have. */
export function registryOf(panel: Panel): FieldConfigOptionsRegistry {
  const identity = identityOverrideProcessor as Process;
  return new FieldConfigOptionsRegistry(() => [
    ...Object.entries(STANDARD).map(([id, process]) => item(id, process, false)),
    ...customOf(panel.type).map((id) => item(id, identity, true)),
  ]);
}

/** The panel's options of fields, whole; an error names what no panel of its type has. */
export function fieldConfigOf(panel: Panel): FieldConfigSource {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const custom = customOf(panel.type);
  const known = new Set([...Object.keys(STANDARD), 'custom', ...custom.map((id) => `custom.${id}`)]);
  const used = [
    ...Object.keys(defaults),
    ...Object.keys(defaults.custom ?? {}).map((id) => `custom.${id}`),
    ...overrides.flatMap((it) => it.properties.map(({ id }) => id)),
  ];
  const strange = used.filter((id) => !known.has(id));
  if (strange.length > 0) {
    throw new Error(`no field of a ${panel.type} has the option ${[...new Set(strange)].join(', ')}`);
  }
  return {
    defaults: { thresholds: THRESHOLDS, ...DEFAULTS[panel.type], ...withLowest(defaults) },
    overrides: overrides.map((it) => ({
      ...it,
      properties: it.properties.map((property) =>
        property.id === 'thresholds' ? { ...property, value: lowest(property.value) } : property
      ),
    })),
  };
}

/** JSON has no infinity: the first step's value is null. */
function lowest<T extends { steps: Array<{ value: number | null }> }>(thresholds: T): T {
  const steps = thresholds.steps.map((step, index) =>
    index === 0 && step.value === null ? { ...step, value: Number.NEGATIVE_INFINITY } : step
  );
  return { ...thresholds, steps };
}

function withLowest(defaults: FieldConfig): FieldConfig {
  return defaults.thresholds ? { ...defaults, thresholds: lowest(defaults.thresholds) } : defaults;
}
