import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Json, JsonObject } from '@microbosh/errors';

export type FakeAnswer =
  | { readonly return: Json; readonly events?: readonly JsonObject[] }
  | { readonly error: { readonly class: string; readonly desc: string } }
  /** The connection ends without an answer. */
  | 'hang-up'
  | 'silence';

/** A QMP server that serves one client at a time, like QEMU, and answers from a table. */
export class FakeQemu {
  readonly commands: { readonly execute: string; readonly arguments?: JsonObject }[] = [];
  readonly #server: Server;
  readonly #path: string;
  readonly #answers: (command: string, args: JsonObject) => FakeAnswer;
  readonly #waiting: Socket[] = [];
  #client: Socket | undefined;

  private constructor(path: string, answers: (command: string, args: JsonObject) => FakeAnswer) {
    this.#path = path;
    this.#answers = answers;
    this.#server = createServer((socket) => {
      socket.on('error', () => undefined);
      if (this.#client) this.#waiting.push(socket);
      else this.#serve(socket);
    });
  }

  static async listen(
    path: string,
    answers: (command: string, args: JsonObject) => FakeAnswer,
  ): Promise<FakeQemu> {
    const fake = new FakeQemu(path, answers);
    await new Promise<void>((resolve) => fake.#server.listen(path, resolve));
    return fake;
  }

  async close(): Promise<void> {
    this.#client?.destroy();
    for (const socket of this.#waiting) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.#path, { force: true });
  }

  #serve(socket: Socket): void {
    this.#client = socket;
    let buffer = '';
    socket.write('{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0}},"capabilities":[]}}\r\n');
    socket.on('data', (chunk) => {
      buffer += chunk.toString('utf8');
      for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
        const line = buffer.slice(0, end);
        buffer = buffer.slice(end + 1);
        this.#answer(socket, JSON.parse(line) as { execute: string; id: number; arguments?: JsonObject });
      }
    });
    socket.on('close', () => {
      this.#client = undefined;
      const next = this.#waiting.shift();
      if (next) this.#serve(next);
    });
  }

  #answer(socket: Socket, request: { execute: string; id: number; arguments?: JsonObject }): void {
    const { execute, id } = request;
    if (execute === 'qmp_capabilities') {
      socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);
      return;
    }
    this.commands.push({ execute, ...(request.arguments && { arguments: request.arguments }) });
    const answer = this.#answers(execute, request.arguments ?? {});
    if (answer === 'silence') return;
    if (answer === 'hang-up') {
      socket.destroy();
      return;
    }
    if ('error' in answer) {
      socket.write(`${JSON.stringify({ error: answer.error, id })}\r\n`);
      return;
    }
    const lines = [{ return: answer.return, id }, ...(answer.events ?? [])];
    // In two pieces: a line may arrive in parts.
    const text = lines.map((line) => `${JSON.stringify(line)}\r\n`).join('');
    socket.write(text.slice(0, 7));
    setImmediate(() => socket.write(text.slice(7)));
  }
}
