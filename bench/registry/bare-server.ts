/**
 * What the registry is compared with, as a process: `tls FILE` answers a constant over TLS, `durable FILE` commits each
 * body to SQLite before it answers. Prints its port.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { DatabaseSync } from 'node:sqlite';

const [kind, file = ''] = process.argv.slice(2);

function constant(): RequestListener {
  const body = Buffer.from(JSON.stringify({ status: 'ok', settings: 'x'.repeat(2_048) }));
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
    response.end(body);
  };
}

function durable(): RequestListener {
  const database = new DatabaseSync(file);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  database.exec('CREATE TABLE settings (id TEXT PRIMARY KEY, body BLOB NOT NULL, at INTEGER NOT NULL)');
  const put = database.prepare('INSERT OR REPLACE INTO settings (id, body, at) VALUES (?, ?, ?)');
  return (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      put.run(request.url ?? '', Buffer.concat(chunks), Date.now());
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"status":"ok"}');
    });
  };
}

const server =
  kind === 'durable'
    ? createServer(durable())
    : createTlsServer({ cert: readFileSync(`${file}.crt`), key: readFileSync(`${file}.key`) }, constant());
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address !== 'string') process.stdout.write(`${address.port}\n`);
});
