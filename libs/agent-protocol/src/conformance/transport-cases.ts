import { blobPath } from '../blob-path.ts';
import { expectException, expectThat, expectValue, type Case } from './suite.ts';
import type { WireAnswer } from './wire-agent.ts';

const ping = JSON.stringify({ method: 'ping', arguments: [], reply_to: 'conformance' });

function expectStatus(answer: WireAnswer, ...allowed: readonly number[]): void {
  expectThat(
    allowed.includes(answer.status),
    `the status is ${answer.status} and not ${allowed.join(' or ')}`,
  );
}

function transport(title: string, run: Case['run'], effect: Case['effect'] = 'none'): Case {
  return { method: 'transport', title, effect, run };
}

/** Credentials, paths, methods and the envelope. */
export const transportCases: readonly Case[] = [
  ...(
    [
      ['none', null],
      ['a wrong password', `Basic ${Buffer.from('mbus:certainly wrong').toString('base64')}`],
      ['another scheme', 'Bearer token'],
      ['what is no base64', 'Basic %%%'],
    ] as const
  ).map(([name, authorization]) =>
    transport(`answers 401 and nothing else to credentials: ${name}`, async ({ agent }) => {
      for (const [method, path] of [
        ['POST', '/agent'],
        ['GET', '/blobs/ab/cd'],
      ] as const) {
        const answer = await agent.send(method, path, {
          authorization,
          ...(method === 'POST' ? { body: ping } : {}),
        });
        expectStatus(answer, 401);
        expectThat(answer.body.length === 0, 'the body is not empty');
        expectThat(
          /^Basic/.test(String(answer.headers['www-authenticate'])),
          'WWW-Authenticate is not Basic',
        );
      }
    }),
  ),
  transport('answers 404 to other methods of /agent', async ({ agent }) => {
    for (const method of ['GET', 'PUT', 'DELETE']) expectStatus(await agent.send(method, '/agent'), 404);
  }),
  transport('answers 404 to other paths', async ({ agent }) => {
    for (const path of ['/', '/agentx', '/agent/', '/state'])
      expectStatus(await agent.send('POST', path, { body: ping }), 404);
  }),
  transport('answers 500 to what is no JSON', async ({ agent }) => {
    for (const body of ['', 'nothing', '{"method":', '\u0000']) {
      const answer = await agent.send('POST', '/agent', { body });
      expectStatus(answer, 500);
      expectThat(answer.body.length === 0, 'the body is not empty');
    }
  }),
  transport('names an unknown method', async ({ agent }) => {
    for (const method of ['dance', '', 'PING', '__proto__', 'constructor']) {
      expectException(await agent.call(method, []), /^unknown message /);
    }
  }),
  transport('takes absent and null arguments for none, and ignores surplus ones', async ({ agent }) => {
    for (const request of [
      { method: 'ping' },
      { method: 'ping', arguments: null },
      { method: 'ping', arguments: [] },
      { method: 'ping', arguments: ['surplus', { a: 1 }] },
      { method: 'ping', arguments: [], protocol: 3, reply_to: '', other: true },
    ]) {
      expectValue(await agent.post(JSON.stringify(request)), 'pong');
    }
  }),
  transport('matches keys of a request in any case', async ({ agent }) => {
    expectValue(await agent.post('{"Method":"ping","ARGUMENTS":[]}'), 'pong');
  }),
  transport('answers many requests on one connection and at a time', async ({ agent }) => {
    const answers = await Promise.all(Array.from({ length: 24 }, () => agent.call('ping', [])));
    for (const answer of answers) expectValue(answer, 'pong');
  }),
  transport('answers 404 to a blob that is absent, and to other methods', async ({ agent, run }) => {
    expectStatus(await agent.send('GET', `/blobs/${blobPath(`absent-${run}`)}`), 404);
    expectStatus(await agent.send('DELETE', `/blobs/${blobPath(`absent-${run}`)}`), 404);
    expectStatus(await agent.send('POST', `/blobs/${blobPath(`absent-${run}`)}`, { body: 'x' }), 404);
  }),
  transport('does not lead out of the blobs', async ({ agent }) => {
    for (const path of ['/blobs/../../etc/passwd', '/blobs/a/../../../etc/passwd', '//agent']) {
      expectStatus(await agent.send('GET', path), 301, 307, 308, 404);
    }
    for (const path of ['/blobs/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd', '/blobs/%2e%2e']) {
      const answer = await agent.send('GET', path);
      expectThat(!answer.body.toString().includes('root:'), 'a file of the machine was sent');
      expectStatus(answer, 301, 307, 308, 404, 500);
    }
  }),
  transport(
    'keeps a blob byte for byte, empty and large ones, under any directory of its path',
    async ({ agent, run }) => {
      for (const [index, size] of [0, 1, 65_537, 3_000_000].entries()) {
        const id = `conformance-${run}-${index}`;
        const content = Buffer.alloc(size, `${run}${index}`);
        await agent.putBlob(id, content);
        expectThat((await agent.getBlob(id)).equals(content), `a blob of ${size} bytes came back different`);
        const other = await agent.send('GET', `/blobs/${id}`);
        expectStatus(other, 200);
        expectThat(other.body.equals(content), 'the last segment of the path alone is not the blob');
      }
    },
    'files',
  ),
  transport(
    'replaces a blob that is put again',
    async ({ agent, run }) => {
      const id = `conformance-again-${run}`;
      await agent.putBlob(id, Buffer.from('first, and longer'));
      await agent.putBlob(id, Buffer.from('second'));
      expectThat((await agent.getBlob(id)).toString() === 'second', 'the first content is there');
    },
    'files',
  ),
];
