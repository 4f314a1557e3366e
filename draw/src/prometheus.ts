/** Prometheus' HTTP API, behind the page's own server. */

/** Where the page's server leads to Prometheus. */
const ROOT = '/prometheus/api/v1/';

export interface Series {
  labels: Record<string, string>;
  /** In milliseconds. */
  times: number[];
  values: number[];
}

interface Answer {
  status: string;
  error?: string;
  data?: unknown;
}

interface Result {
  resultType: 'matrix' | 'vector' | 'scalar' | 'string';
  result: unknown;
}

type Sample = [number, string];

async function ask(path: string, parameters: Record<string, string>): Promise<unknown> {
  return data(
    await fetch(ROOT + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(parameters),
    })
  );
}

/** What an answer has, if it is one. */
async function data(response: Response): Promise<unknown> {
  const text = await response.text();
  let answer: Answer | null;
  try {
    answer = JSON.parse(text) as Answer | null;
  } catch {
    throw new Error(`Prometheus answered ${response.status}: ${JSON.stringify(text.slice(0, 200))}`);
  }
  if (answer?.status !== 'success') {
    throw new Error(answer?.error ?? `Prometheus answered ${response.status} without a status`);
  }
  return answer.data;
}

const seconds = (milliseconds: number): string => String(milliseconds / 1000);

export async function queryInstant(expr: string, at: number): Promise<Series[]> {
  return series(await ask('query', { query: expr, time: seconds(at) }));
}

export async function queryRange(expr: string, from: number, to: number, step: number): Promise<Series[]> {
  // Prometheus evaluates at whole steps of the epoch, as Grafana asks it to, so that a graph stays the
  // same from one look to the next.
  const align = (time: number): number => Math.floor(time / step) * step;
  const parameters = { query: expr, start: seconds(align(from)), end: seconds(align(to)), step: seconds(step) };
  return series(await ask('query_range', parameters));
}

export async function labelValues(label: string, match: string | undefined, from: number, to: number): Promise<string[]> {
  const query = new URLSearchParams({ start: seconds(from), end: seconds(to) });
  if (match) {
    query.set('match[]', match);
  }
  const response = await fetch(`${ROOT}label/${encodeURIComponent(label)}/values?${query}`);
  const values = await data(response);
  if (!Array.isArray(values)) {
    throw new Error(`Prometheus gave no list of values of ${label}`);
  }
  return values as string[];
}

function series(answer: unknown): Series[] {
  const { resultType, result } = (answer ?? {}) as Partial<Result>;
  if (resultType === undefined || !Array.isArray(result)) {
    throw new Error('Prometheus gave no result');
  }
  const one = (metric: Record<string, string>, samples: Sample[]): Series => ({
    labels: metric,
    times: samples.map(([time]) => Math.round(time * 1000)),
    values: samples.map(([, value]) => number(value)),
  });
  switch (resultType) {
    case 'matrix':
      return (result as Array<{ metric: Record<string, string>; values?: Sample[] }>).map((it) =>
        one(it.metric, it.values ?? [])
      );
    case 'vector':
      return (result as Array<{ metric: Record<string, string>; value: Sample }>).map((it) => one(it.metric, [it.value]));
    case 'scalar':
      return [one({}, [result as unknown as Sample])];
    default:
      throw new Error(`an answer of type ${resultType} cannot be drawn`);
  }
}

function number(text: string): number {
  switch (text) {
    case '+Inf':
      return Number.POSITIVE_INFINITY;
    case '-Inf':
      return Number.NEGATIVE_INFINITY;
    default:
      return Number(text);
  }
}
