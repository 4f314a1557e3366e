/** The page's own server on loopback. What the page asks of Prometheus goes through it. */

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';

const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Boards</title>
<link rel="stylesheet" href="/page.css"></head>
<body><div id="root"></div><script type="module" src="/page.js"></script></body></html>`;

/** Grafana's server has the icons, and the library does not: an "i" in a circle, and nothing. */
const INFO = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill-rule="evenodd"
d="M12 2a10 10 0 1 0 .1 0ZM12 4a8 8 0 1 1-.1 0ZM11 11h2v6h-2ZM11 7h2v2h-2Z"/></svg>`;
const NOTHING = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"/>';

const TYPES: Record<string, string> = { '.js': 'text/javascript', '.css': 'text/css' };

/** How long an answer of Prometheus may take, in milliseconds: less than a board may. */
const LIMIT = 30_000;
/** The most bytes that an answer may have. */
const MAX_BYTES = 64 << 20;

export interface Server {
  address: string;
  close: () => void;
}

export async function serve(prometheus: string, folder: string): Promise<Server> {
  const server = http.createServer((request, response) => {
    answer(request, response, prometheus, folder).catch((error: unknown) => {
      response.writeHead(502, { 'Content-Type': 'text/plain' });
      response.end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { address: `http://127.0.0.1:${port}/`, close: () => server.close() };
}

async function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  prometheus: string,
  folder: string
): Promise<void> {
  const url = request.url ?? '/';
  if (url.startsWith('/prometheus/')) {
    await pass(request, response, new URL(url.slice('/prometheus'.length), prometheus));
    return;
  }
  if (url === '/') {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE);
    return;
  }
  if (url.endsWith('.svg')) {
    response.writeHead(200, { 'Content-Type': 'image/svg+xml' }).end(url.includes('info-circle') ? INFO : NOTHING);
    return;
  }
  const type = TYPES[path.extname(url)];
  if (url !== '/page.js' && url !== '/page.css') {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'Content-Type': type }).end(await readFile(path.join(folder, url)));
}

async function pass(request: http.IncomingMessage, response: http.ServerResponse, url: URL): Promise<void> {
  let body = '';
  for await (const part of request.setEncoding('utf8')) {
    body += part as string;
  }
  const isPost = request.method === 'POST';
  const answered = await fetch(url, {
    method: isPost ? 'POST' : 'GET',
    signal: AbortSignal.timeout(LIMIT),
    ...(isPost ? { body, headers: { 'Content-Type': 'application/x-www-form-urlencoded' } } : {}),
  });
  const whole = await bytesOf(answered);
  response.writeHead(answered.status, { 'Content-Type': 'application/json' });
  response.end(whole);
}

/** The body, unless it is more than any board can show. */
async function bytesOf(answered: Response): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answered.body ?? []) {
    size += part.byteLength;
    if (size > MAX_BYTES) {
      throw new Error(`Prometheus' answer has more than ${MAX_BYTES >> 20} MiB`);
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}
