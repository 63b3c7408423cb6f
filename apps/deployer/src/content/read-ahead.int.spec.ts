import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventBus } from '../events/event-bus.ts';
import { ReadAhead, showSteps } from './read-ahead.ts';

const names = ['a', 'b', 'c', 'd'];

describe('archives', () => {
  let cacheDir: string;
  let close: () => void = () => undefined;
  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'read-ahead-'));
  });
  afterEach(async () => {
    close();
    await rm(cacheDir, { recursive: true });
  });

  async function serve(answer: (name: string, response: ServerResponse) => void): Promise<string> {
    const server = createServer((request, response) => answer(request.url?.slice(1) ?? '', response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    close = () => {
      server.closeAllConnections();
      server.close();
    };
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const refs = (origin: string) =>
    names.map((name) => ({
      url: `${origin}/${name}`,
      sha1: createHash('sha1').update(`content of ${name}`).digest('hex'),
    }));

  it('come two at a time, and their steps one after the other, in the order of the manifest', async () => {
    let open: [string, ServerResponse][] = [];
    const pairs: string[][] = [];
    const origin = await serve((name, response) => {
      open.push([name, response]);
      // Nobody is answered before there are two.
      if (open.length < 2) return;
      pairs.push(open.map(([one]) => one).sort());
      for (const [one, waiting] of open) waiting.end(`content of ${one}`);
      open = [];
    });
    const events = new EventBus();
    const steps: string[] = [];
    events.subscribe((event) => {
      if (event.type === 'started' && event.kind === 'step') steps.push(event.name);
      if (event.type === 'finished' && steps.at(-1) !== undefined) steps.push('finished');
    });

    const ahead = new ReadAhead(cacheDir, new AbortController().signal);
    const coming = refs(origin).map((ref) => ahead.start(ref, ({ path }) => readFile(path, 'utf8')));
    const contents = await events.stage('validating', async (stage) => {
      const opened: string[] = [];
      for (const [index, archive] of coming.entries()) {
        const name = names[index] ?? '';
        const shown = await showSteps(archive, stage, { download: `get ${name}`, read: `read ${name}` });
        opened.push(shown.opened);
      }
      return opened;
    });
    await ahead.stop();

    expect(contents).toEqual(names.map((name) => `content of ${name}`));
    expect(pairs).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
    const inOrder = names.flatMap((name) => [`get ${name}`, 'finished', `read ${name}`, 'finished']);
    expect(steps.slice(0, inOrder.length)).toEqual(inOrder);
  });

  it('are given up together when one cannot be had', async () => {
    const asked: string[] = [];
    const closed: string[] = [];
    const origin = await serve((name, response) => {
      asked.push(name);
      response.once('close', () => closed.push(name));
      // The second one never ends.
      if (name === 'a') response.writeHead(404).end();
      else response.write('content');
    });
    const ahead = new ReadAhead(cacheDir, new AbortController().signal);
    const [first, ...others] = refs(origin).map((ref) =>
      ahead.start(ref, ({ path }) => readFile(path, 'utf8')),
    );

    await expect(first?.opened).rejects.toThrow('404');
    await ahead.stop();

    for (const archive of others) await expect(archive.opened).rejects.toThrow();
    await expect.poll(() => closed).toContain('b');
    expect(asked).not.toContain('d');
  });
});
