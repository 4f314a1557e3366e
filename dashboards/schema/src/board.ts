/**
 * A board as Grafana's published schema has it, with the parts that the schema leaves open (options,
 * custom field settings, overrides, queries) narrowed to those of the kinds of panels that are used.
 * So a key that Grafana does not know is an error wherever it stands.
 */

import type {
  AnnotationQuery,
  Dashboard,
  FieldConfig,
  MatcherConfig,
  Panel,
  RowPanel,
} from '@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** A type as JSON has it: members of an enum are their values. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends number
    ? T
    : T extends ReadonlyArray<infer E>
      ? Array<Plain<E>>
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : T;

/** What the Prometheus data source takes; it publishes no schema. */
interface Query {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  editorMode: 'code' | 'builder';
  expr: string;
  legendFormat: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  exemplar?: boolean;
}

/** An annotation of the Prometheus data source. */
type Annotation = AnnotationQuery & {
  expr: string;
  step: string;
  tagKeys: string;
  textFormat: string;
  titleFormat: string;
  useValueForTime: boolean;
};

/** Members of a setting's value may be missing: Grafana fills in its defaults. */
type Property<Custom> =
  | { [K in keyof FieldConfig & string]-?: { id: K; value: Plain<NonNullable<FieldConfig[K]>> } }[keyof FieldConfig &
      string]
  | { [K in keyof Custom & string]-?: { id: `custom.${K}`; value: Partial<Plain<NonNullable<Custom[K]>>> } }[keyof Custom &
      string];

type Transformation =
  | { id: 'merge'; options: Record<string, never> }
  | {
      id: 'organize';
      options: {
        excludeByName: Record<string, boolean>;
        indexByName: Record<string, number>;
        renameByName: Record<string, string>;
      };
    }
  | { id: 'filterFieldsByName'; options: { include: { names: string[] } } };

interface Link {
  title: string;
  url: string;
  targetBlank: boolean;
}

/** Options are those of Grafana 10, so what came later may be missing. */
interface Of<Kind extends string, Options, Custom>
  extends Omit<Plain<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets' | 'transformations'> {
  type: Kind;
  options: Partial<Plain<Options>>;
  targets: Query[];
  transformations?: Transformation[];
  fieldConfig: {
    defaults: Omit<Plain<FieldConfig>, 'custom' | 'links'> & { custom: Partial<Plain<Custom>>; links?: Link[] };
    overrides: Array<{ matcher: Plain<MatcherConfig>; properties: Array<Property<Custom>> }>;
  };
}

/** `show` is Grafana 10's; newer ones have `mode` instead. */
type HeatmapOptions = heatmap.Options & { tooltip: { show: boolean } };

type AnyPanel =
  | Plain<RowPanel>
  | Of<'stat', stat.Options, Record<string, never>>
  | Of<'bargauge', bargauge.Options, Record<string, never>>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Of<'table', table.Options, table.FieldConfig>
  | Of<'heatmap', HeatmapOptions, heatmap.FieldConfig>;

/** A dashboard. */
export type Board = Omit<Plain<Dashboard>, 'panels' | 'annotations'> & {
  panels: AnyPanel[];
  annotations: { list: Array<Plain<Annotation>> };
};
