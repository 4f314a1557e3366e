/** What is told of a board after it was drawn; `xtask` reads it as JSON. */

/** A fault of a board. */
export interface Complaint {
  /** The panel's title, or `$variable`, or `annotation NAME`. */
  panel: string;
  /** The query's letter, where it is about one. */
  query?: string;
  kind: 'empty' | 'error' | 'overlap' | 'cut' | 'small';
  detail: string;
}

export interface PanelReport {
  title: string;
  type: string;
  /** Whether it was drawn; else its queries were asked and nothing more. */
  isDrawn: boolean;
  queries: number;
  series: number;
  samples: number;
}

export interface BoardReport {
  uid: string;
  title: string;
  height: number;
  /** `name=value`, as the board's variables were chosen. */
  variables: string[];
  panels: PanelReport[];
  complaints: Complaint[];
}
