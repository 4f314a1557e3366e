/** The page: draws a board at `window.draw(…)`, and returns what is to be said of it. */

import './page.css';

import { createTheme, dateTime, dateMath, type TimeRange, renderMarkdown } from '@grafana/data';
import { GlobalStyles, PanelChrome, ThemeContext } from '@grafana/ui';
import { Component, type ReactElement, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';

import type { Board } from './board';
import { fillStandard } from './fields';
import { faults } from './judge';
import { BarGaugePanel } from './panels/bargauge';
import { StatPanel } from './panels/stat';
import { TablePanel } from './panels/table';
import { TimeSeriesPanel } from './panels/timeseries';
import { DRAWN, prepare, type Ready, type ReadyBoard, SILENT } from './prepare';
import type { BoardReport, Complaint } from './report';
import { fillTransformers } from './transform';

/** Space around the board. */
const MARGIN = 16;

export interface Request {
  board: Board;
  from: string;
  to: string;
  width: number;
  theme: 'dark' | 'light';
  scrape: number;
  variables: Record<string, string>;
}

declare global {
  interface Window {
    draw: (request: Request) => Promise<BoardReport>;
  }
}

fillStandard();
fillTransformers();

window.draw = async (request) => {
  const theme = createTheme({ colors: { mode: request.theme } });
  const width = request.width - 2 * MARGIN;
  const range = rangeOf(request.from, request.to);
  const ready = await prepare({ ...request, range, width }, theme);
  await Promise.all(['400 12px Inter', '500 12px Inter'].map((font) => document.fonts.load(font)));
  const failed: Complaint[] = [];
  const onFailed = (panel: string, error: Error): void => {
    failed.push({ panel, kind: 'error', detail: error.message });
  };
  const root = document.getElementById('root');
  if (!root) {
    throw new Error('the page has no root');
  }
  createRoot(root).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <BoardView ready={ready} onFailed={onFailed} />
    </ThemeContext.Provider>
  );
  await settled();
  const seen = ready.panels.flatMap((panel, index): Complaint[] => {
    const element = document.querySelector(`[data-panel="${index}"]`);
    return element ? faults(element).map((fault) => ({ panel: panel.name, ...fault })) : [];
  });
  return {
    uid: ready.board.uid,
    title: ready.board.title,
    height: Math.ceil(root.getBoundingClientRect().height),
    variables: ready.variables.list().map(({ variable, values, isAll }) => {
      return `${variable.name}=${isAll ? 'All' : values.join(',')}`;
    }),
    panels: ready.panels
      .filter(({ panel }) => !SILENT.includes(panel.type))
      .map(({ name, panel, asked }) => ({
        title: name,
        type: panel.type,
        isDrawn: DRAWN.includes(panel.type),
        queries: asked.length,
        series: asked.reduce((sum, it) => sum + it.series, 0),
        samples: asked.reduce((sum, it) => sum + it.samples, 0),
      })),
    complaints: [...ready.complaints, ...failed, ...seen],
  };
};

function rangeOf(from: string, to: string): TimeRange {
  const time = (text: string, isEnd: boolean): TimeRange['from'] => {
    const parsed = dateMath.toDateTime(text, { roundUp: isEnd, timezone: 'utc' }) ?? dateTime(text);
    if (!parsed.isValid()) {
      throw new Error(`${text} is no time`);
    }
    return parsed;
  };
  return { from: time(from, false), to: time(to, true), raw: { from, to } };
}

/** Waits until nothing has changed in the page for a while: graphs are drawn a few frames later. */
async function settled(): Promise<void> {
  let changed = performance.now();
  const observer = new MutationObserver(() => {
    changed = performance.now();
  });
  observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  const begin = performance.now();
  while (performance.now() - changed < 300 && performance.now() - begin < 10_000) {
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  observer.disconnect();
}

function BoardView({ ready, onFailed }: { ready: ReadyBoard; onFailed: (panel: string, error: Error) => void }): ReactElement {
  return (
    <div style={{ padding: MARGIN }}>
      <Head ready={ready} />
      <div style={{ position: 'relative', height: ready.height }}>
        {ready.panels.map((panel, index) => (
          <div
            key={index}
            data-panel={index}
            style={{
              position: 'absolute',
              left: panel.left,
              top: panel.top,
              width: panel.width,
              height: panel.height,
            }}
          >
            <Guard onFailed={(error) => onFailed(panel.name, error)}>
              <PanelView ready={panel} board={ready} />
            </Guard>
          </div>
        ))}
      </div>
    </div>
  );
}

/** The board's title, its variables and its time range. */
function Head({ ready }: { ready: ReadyBoard }): ReactElement {
  const shown = ready.variables.list().filter(({ variable }) => variable.hide !== 2);
  const format = 'YYYY-MM-DD HH:mm';
  return (
    <header>
      <h1>{ready.board.title}</h1>
      {shown.map(({ variable, values, isAll }) => (
        <div className="variable" key={variable.name}>
          <span>{variable.label || variable.name}</span>
          <b>{isAll ? 'All' : values.join(' + ') || '–'}</b>
        </div>
      ))}
      <time>
        {ready.range.from.utc().format(format)} to {ready.range.to.utc().format('HH:mm')} UTC
      </time>
    </header>
  );
}

function PanelView({ ready, board }: { ready: Ready; board: ReadyBoard }): ReactElement {
  const { panel, name, width, height } = ready;
  if (panel.type === 'row') {
    return <div className="row-title">{name}</div>;
  }
  const description = panel.description && ready.replaceVariables(panel.description);
  return (
    <PanelChrome
      title={panel.title ? name : ''}
      description={description}
      width={width}
      height={height}
      padding={panel.type === 'table' ? 'none' : 'md'}
    >
      {(innerWidth, innerHeight) => <Content ready={ready} board={board} width={innerWidth} height={innerHeight} />}
    </PanelChrome>
  );
}

function Content({ ready, board, width, height }: { ready: Ready; board: ReadyBoard; width: number; height: number }): ReactNode {
  const { panel, frames, fieldConfig, marks, replaceVariables, asked } = ready;
  if (panel.type === 'text') {
    const { content = '', mode = 'markdown' } = (panel.options ?? {}) as { content?: string; mode?: string };
    const text = replaceVariables(content);
    return <div className="text" dangerouslySetInnerHTML={{ __html: mode === 'html' ? text : renderMarkdown(text) }} />;
  }
  const errors = [ready.error, ...asked.map((it) => it.error)].filter((it) => it !== undefined);
  if (errors.length > 0) {
    return <div className="notice error">{errors.join('\n')}</div>;
  }
  if (!DRAWN.includes(panel.type)) {
    const series = asked.reduce((sum, it) => sum + it.series, 0);
    const samples = asked.reduce((sum, it) => sum + it.samples, 0);
    return (
      <div className="notice">
        {`A ${panel.type} in Grafana. It is not drawn here: the library does not offer it.\n` +
          `Its queries give ${series} series and ${samples.toLocaleString('en')} samples.`}
      </div>
    );
  }
  const isEmpty = !frames.some((frame) => frame.length > 0 && frame.fields.length > 0);
  if (isEmpty && !(fieldConfig.defaults.noValue && ['stat', 'bargauge'].includes(panel.type))) {
    return <div className="notice">No data</div>;
  }
  const props = { panel, frames, fieldConfig, range: board.range, width, height, marks, replaceVariables };
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeriesPanel {...props} />;
    case 'stat':
      return <StatPanel {...props} />;
    case 'bargauge':
      return <BarGaugePanel {...props} />;
    default:
      return <TablePanel {...props} />;
  }
}

/** Keeps one panel's failure from the others. */
class Guard extends Component<{ children: ReactNode; onFailed: (error: Error) => void }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override componentDidCatch(error: Error): void {
    this.props.onFailed(error);
  }

  override render(): ReactNode {
    const { error } = this.state;
    return error ? <div className="notice error">{error.message}</div> : this.props.children;
  }
}
