/** `node driver.mjs order.json`: draws boards in a headless Chromium, and writes pictures and a report. */

import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { type Browser, type BrowserContext, chromium } from 'playwright-core';

import type { Board } from './board';
import type { Request } from './page';
import type { BoardReport } from './report';
import { serve } from './server';

interface Order extends Omit<Request, 'board' | 'variables'> {
  /** Prometheus' address. */
  prometheus: string;
  /** Chromium's file. */
  chromium: string;
  /** Files of boards, and values of their variables. */
  boards: Array<{ file: string; variables: Record<string, string> }>;
  /** The folder for pictures and the report. */
  out: string;
}

interface Drawn extends BoardReport {
  seconds: number;
  picture: string;
  bytes: number;
}

/** Nothing that a page needs, and nothing that Chromium would ask the network for. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--hide-scrollbars',
  '--font-render-hinting=none',
];

/** Higher than any board: what is out of sight is not laid out, and would not be judged. */
const TALL = 8000;
/** How long a board may take. */
const LIMIT = 60_000;

async function main(): Promise<void> {
  const file = process.argv[2];
  if (file === undefined) {
    throw new Error('usage: node driver.mjs order.json');
  }
  const order = JSON.parse(await readFile(file, 'utf8')) as Order;
  const server = await serve(order.prometheus, path.dirname(process.argv[1] ?? '.'));
  const browser = await launch(order.chromium);
  try {
    const context = await browser.newContext({
      viewport: { width: order.width, height: TALL },
      timezoneId: 'UTC',
      locale: 'en-US',
      reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(LIMIT);
    const boards: Drawn[] = [];
    for (const { file: name, variables } of order.boards) {
      const { from, to, width, theme, scrape } = order;
      const board = JSON.parse(await readFile(name, 'utf8')) as Board;
      const request = { board, from, to, width, theme, scrape, variables };
      boards.push(await draw(context, server.address, request, order.out));
    }
    await writeFile(path.join(order.out, 'report.json'), JSON.stringify(boards, null, 1));
  } finally {
    await browser.close();
    server.close();
  }
}

function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({ executablePath, args: FLAGS });
}

async function draw(context: BrowserContext, address: string, request: Request, out: string): Promise<Drawn> {
  const { board } = request;
  const begin = performance.now();
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(address);
  const report = await Promise.race([
    page.evaluate((it) => window.draw(it), request),
    new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error(`it is not drawn after ${LIMIT / 1000} s`)), LIMIT).unref();
    }),
  ]).catch((error: Error) => failed(board, error));
  for (const detail of errors) {
    report.complaints.push({ panel: board.title, kind: 'error', detail });
  }
  await page.setViewportSize({ width: request.width, height: report.height });
  const picture = path.join(out, `${board.uid}.png`);
  await page.screenshot({ path: picture, fullPage: true, animations: 'disabled' });
  await page.close();
  const { size: bytes } = await stat(picture);
  return { ...report, seconds: (performance.now() - begin) / 1000, picture, bytes };
}

/** Of a board that could not be drawn at all. */
function failed({ uid, title }: Board, { message }: Error): BoardReport {
  const complaint = { panel: title, kind: 'error' as const, detail: message.split('\n')[0] ?? message };
  return { uid, title, height: 1, variables: [], panels: [], complaints: [complaint] };
}

await main().catch((error: unknown) => {
  // Without the page's own stack, which names nothing that is in the source.
  console.error(error instanceof Error ? error.message.replace(/\n {4}at .*/g, '') : error);
  process.exitCode = 1;
});
