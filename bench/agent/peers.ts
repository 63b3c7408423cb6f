import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fastify } from 'fastify';

/** What the agent is measured against: a fastify that says hello, and a node:https that hashes and writes. */
const base = process.argv[2] ?? '';
const tls = {
  cert: readFileSync(join(base, 'bosh', 'agent.crt')),
  key: readFileSync(join(base, 'bosh', 'agent.key')),
};

const hello = fastify({ https: tls });
hello.post('/hello', async () => ({ value: 'pong' }));
await hello.listen({ host: '127.0.0.1', port: 0 });

const file = join(base, 'bare-blob');
const blobs = createServer(tls, (request, response) => {
  const serve = async () => {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-length': statSync(file).size });
      return pipeline(createReadStream(file), response);
    }
    const hash = createHash('sha1');
    request.on('data', (chunk: Buffer) => hash.update(chunk));
    await pipeline(request, createWriteStream(file));
    response.writeHead(201, { etag: hash.digest('hex') }).end();
  };
  serve().catch(() => response.destroy());
});
await new Promise<void>((resolve) => blobs.listen(0, '127.0.0.1', resolve));
const portOf = (address: AddressInfo | string | null) => (address as AddressInfo).port;
process.send?.({ hello: portOf(hello.server.address()), blobs: portOf(blobs.address()) });
