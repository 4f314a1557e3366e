/** Dashboard variables: their values, and their places in queries and texts. */

import type { Board, Variable } from './board';
import { labelValues, queryInstant } from './prometheus';

/** What Grafana calls the choice of all values. */
const ALL = '$__all';

/** A variable with the values that it has now. */
export interface Chosen {
  variable: Variable;
  /** All values that it can have. */
  options: string[];
  values: string[];
  isAll: boolean;
}

export type Scoped = Record<string, { value: unknown; text?: unknown } | undefined>;

export interface Range {
  from: number;
  to: number;
}

/** `$name`, `[[name:format]]`, `${name.path:format}`. */
const PLACE = /\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}/g;

export class Variables {
  private readonly chosen = new Map<string, Chosen>();
  /** Names that stand in a text and mean nothing. */
  readonly unknown = new Set<string>();

  /** Settles each variable, in the order in which they depend on one another. */
  static async settle(board: Board, range: Range, wished: Record<string, string>): Promise<Variables> {
    const all = new Variables();
    for (const variable of board.templating?.list ?? []) {
      all.chosen.set(variable.name, await choose(variable, all, range, wished[variable.name]));
    }
    return all;
  }

  list(): Chosen[] {
    return [...this.chosen.values()];
  }

  /** For a query: values are escaped, several become a pattern. */
  inQuery(text: string, scoped: Scoped): string {
    return this.replace(text, scoped, (chosen) => forQuery(chosen));
  }

  /** For people, or in a link: as Grafana does where no data source decides. */
  inText(text: string, scoped: Scoped = {}): string {
    return this.replace(text, scoped, ({ values, isAll }) => {
      if (isAll) {
        return 'All';
      }
      return values.length === 1 ? (values[0] ?? '') : `{${values.join(',')}}`;
    });
  }

  private replace(text: string, scoped: Scoped, plain: (chosen: Chosen) => string): string {
    return text.replace(PLACE, (whole, bare, brackets, bracketFormat, braces, path, braceFormat) => {
      const name = (bare ?? brackets ?? braces) as string;
      const format = (bracketFormat ?? braceFormat) as string | undefined;
      const scope = scoped[name];
      if (scope) {
        return String(path ? at(scope.value, path as string) : scope.value);
      }
      const chosen = this.chosen.get(name);
      if (chosen) {
        return format ? formatted(chosen, format) : plain(chosen);
      }
      // `$1` is label_replace()'s.
      if (!/^\d+$/.test(name)) {
        this.unknown.add(whole as string);
      }
      return whole as string;
    });
  }
}

/** `a.b["c"]` of a value. */
function at(value: unknown, path: string): unknown {
  const keys = path.match(/[^.[\]"']+/g) ?? [];
  return keys.reduce<unknown>((it, key) => (it as Record<string, unknown> | undefined)?.[key], value) ?? '';
}

function forQuery({ variable, values, isAll }: Chosen): string {
  if (isAll && variable.allValue) {
    return variable.allValue;
  }
  if (!variable.multi && !variable.includeAll) {
    return (values[0] ?? '').replace(/\\/g, '\\\\').replace(/'/g, "\\\\'").replace(/"/g, '\\"');
  }
  const escaped = values.map((value) => value.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&'));
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
}

function formatted(chosen: Chosen, format: string): string {
  const { variable, values, isAll } = chosen;
  const raw = isAll && variable.allValue ? [variable.allValue] : values;
  switch (format) {
    case 'raw':
      return raw.join(',');
    case 'csv':
      return raw.join(',');
    case 'pipe':
      return raw.join('|');
    case 'text':
      return isAll ? 'All' : values.join(' + ');
    case 'regex': {
      if (isAll && variable.allValue) {
        return variable.allValue;
      }
      const escaped = values.map((value) => value.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&'));
      return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
    }
    case 'queryparam':
      return (isAll ? [ALL] : values)
        .map((value) => `var-${variable.name}=${encodeURIComponent(value)}`)
        .join('&');
    case 'percentencode':
      return encodeURIComponent(raw.join(','));
    default:
      throw new Error(`the variable format :${format} is not known here`);
  }
}

async function choose(variable: Variable, before: Variables, range: Range, wish: string | undefined): Promise<Chosen> {
  const options = await optionsOf(variable, before, range);
  const saved = [variable.current?.value ?? []].flat();
  const known = saved.filter((value) => value === ALL || options.includes(value));
  let values = wish === undefined ? known : wish === '' ? [] : wish.split(',');
  if (variable.type === 'textbox' || variable.type === 'constant') {
    values = wish === undefined ? options : [wish];
  }
  if (values.length === 0) {
    values = variable.includeAll ? [ALL] : options.slice(0, 1);
  }
  const isAll = values.includes(ALL) || (values.length === 1 && values[0] === 'All' && !!variable.includeAll);
  return { variable, options, values: isAll ? options : values, isAll };
}

async function optionsOf(variable: Variable, before: Variables, range: Range): Promise<string[]> {
  const query = typeof variable.query === 'string' ? variable.query : (variable.query?.query ?? '');
  switch (variable.type) {
    case 'datasource':
      if (['tempo', 'jaeger'].includes(query)) {
        // For links alone, and there may be none.
        return [];
      }
      if (query !== 'prometheus') {
        throw new Error(`$${variable.name}: a data source of type ${query} is not known here`);
      }
      return ['Prometheus'];
    case 'custom':
    case 'interval':
      return query.split(',').map((it) => it.trim().split(' : ').pop() ?? '');
    case 'constant':
    case 'textbox':
      return [query];
    case 'query':
      return sorted(picked(await queried(before.inQuery(query, {}), range), variable.regex), variable.sort ?? 0);
    default:
      throw new Error(`$${variable.name}: a variable of type ${variable.type} is not known here`);
  }
}

async function queried(query: string, range: Range): Promise<string[]> {
  const values = /^label_values\((?:(.+),\s*)?([a-zA-Z_$][\w$]*)\s*\)\s*$/.exec(query);
  if (values) {
    return labelValues(values[2] ?? '', values[1], range.from, range.to);
  }
  const result = /^query_result\((.+)\)\s*$/.exec(query);
  if (result) {
    const all = await queryInstant(result[1] ?? '', range.to);
    return all.map(({ labels, values, times }) => {
      const { __name__: name = '', ...rest } = labels;
      const list = Object.entries(rest).map(([key, value]) => `${key}="${value}"`);
      return `${name}{${list.join(',')}} ${values[0]} ${times[0]}`;
    });
  }
  throw new Error(`a variable's query is not known here: ${query}`);
}

/** What a variable's regular expression takes of each value: the group `value` or the first, or all. */
function picked(values: string[], regex: string | undefined): string[] {
  if (!regex) {
    return [...new Set(values)];
  }
  const slashes = /^\/(.*)\/(\w*)$/s.exec(regex);
  const pattern = slashes ? new RegExp(slashes[1] ?? '', slashes[2]?.replace('g', '')) : new RegExp(`^${regex}$`);
  const taken = values.flatMap((value) => {
    const match = pattern.exec(value);
    return match ? [match.groups?.['value'] ?? match[1] ?? value] : [];
  });
  return [...new Set(taken)];
}

function sorted(values: string[], sort: number): string[] {
  const order = [...values];
  switch (sort) {
    case 0:
      return order;
    case 1:
    case 2:
      order.sort();
      break;
    case 3:
    case 4:
      order.sort((a, b) => Number.parseFloat(a) - Number.parseFloat(b));
      break;
    default:
      order.sort((a, b) => a.localeCompare(b, 'en', { sensitivity: 'base', numeric: sort >= 7 }));
  }
  return sort % 2 === 0 ? order.reverse() : order;
}
