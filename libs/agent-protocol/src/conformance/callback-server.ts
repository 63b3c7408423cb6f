import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Where signed URLs of the suite lead: serves blobs, takes uploads, wants the header that the request named. */
export class CallbackServer {
  readonly #server: Server;
  readonly #host: string;
  readonly #blobs = new Map<string, Buffer>();
  /** Sent with every signed URL; a request without it is refused. */
  readonly headers = { 'x-conformance': 'signed' } as const;

  private constructor(server: Server, host: string) {
    this.#server = server;
    this.#host = host;
  }

  /** Listens on every address; `host` is how the agent reaches it. */
  static async start(host: string): Promise<CallbackServer> {
    const server = createServer();
    const callback = new CallbackServer(server, host);
    server.on('request', (request, response) => {
      const name = (request.url ?? '').split('?', 1)[0] ?? '';
      const isSigned =
        request.headers['x-conformance'] === 'signed' && (request.url ?? '').endsWith('?signature=s');
      if (!isSigned) {
        response.writeHead(403).end();
        request.resume();
        return;
      }
      if (request.method === 'GET') {
        const content = callback.#blobs.get(name);
        response.writeHead(content ? 200 : 404).end(content);
        return;
      }
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        callback.#blobs.set(name, Buffer.concat(chunks));
        response.writeHead(201).end();
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, resolve);
    });
    return callback;
  }

  url(name: string): string {
    const host = this.#host.includes(':') ? `[${this.#host}]` : this.#host;
    return `http://${host}:${(this.#server.address() as AddressInfo).port}/${name}?signature=s`;
  }

  offer(name: string, content: Buffer): string {
    this.#blobs.set(`/${name}`, content);
    return this.url(name);
  }

  received(name: string): Buffer {
    const content = this.#blobs.get(`/${name}`);
    if (!content) throw new Error('nothing was uploaded to the signed URL');
    return content;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
