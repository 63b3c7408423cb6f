import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { CertificateValue, ReadinessCheck } from '@microbosh/spec';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCa, makeServerCertificate } from '../../access/certificates.ts';
import { EventBus } from '../../events/event-bus.ts';
import type { DeployRun } from '../deploy-run.ts';
import { checkReadiness } from './instance-steps.ts';

const now = new Date();
let ca: CertificateValue;
let leaf: CertificateValue;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  ca = await makeCa('service CA', now);
  leaf = await makeServerCertificate(ca, '127.0.0.1', now);
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A service that answers with these statuses in turn, then with the last one. */
async function serviceWith(...statuses: number[]): Promise<string> {
  const rest = [...statuses];
  const server = createServer({ cert: leaf.certificate, key: leaf.private_key }, (request, response) => {
    request.resume();
    const status = rest.length > 1 ? rest.shift() : rest[0];
    response.writeHead(status ?? 500).end('{"name": "any body will do"}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/readyz`;
}

/** Resolves with what was said meanwhile. */
async function waitFor(url: string, change: Partial<ReadinessCheck> = {}): Promise<string[]> {
  const check: ReadinessCheck = { url, expectStatus: 200, timeoutMs: 400, ca: ca.certificate, ...change };
  const said: string[] = [];
  const events = new EventBus();
  events.subscribe((event) => {
    if (event.type === 'progress' && event.message !== undefined) said.push(event.message);
  });
  const run: Pick<DeployRun, 'events' | 'signal' | 'pause'> & {
    readonly inputs: unknown;
    readonly effects: unknown;
  } = {
    events,
    inputs: { model: { readiness: [check] } },
    effects: { throwIfCancelled: () => undefined },
    signal: new AbortController().signal,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 20))),
  };
  await events.stage('deploying', (stage) => checkReadiness(run as DeployRun, url, stage));
  return said;
}

describe('the readiness of the service', () => {
  it('is the status that the manifest expects, whatever came before it', async () => {
    expect(await waitFor(await serviceWith(502, 503, 200), { timeoutMs: 20_000 })).toEqual([
      'it answers with HTTP status 502 instead of 200',
      'it answers with HTTP status 503 instead of 200',
    ]);
  });

  it('is not an answer with another status, and the error says which', async () => {
    await expect(waitFor(await serviceWith(404))).rejects.toMatchObject({
      code: 'E_SERVICE_NOT_READY',
      message: expect.stringContaining('HTTP status 404 instead of 200') as string,
    });
  });

  it('is not what a stranger answers: the certificate is verified', async () => {
    const other = await makeCa('another CA', now);

    await expect(waitFor(await serviceWith(200), { ca: other.certificate })).rejects.toThrow(
      /not ready after .* (unable|self)/,
    );
  });

  it('is not a port that nobody listens on', async () => {
    await expect(waitFor('https://127.0.0.1:1/')).rejects.toThrow(/not ready after .*ECONNREFUSED/);
  });
});
