import { once } from 'node:events';
import { createServer } from 'node:https';
import { createServer as createPlainServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CertificateValue } from '@microbosh/spec';
import type { AgentTrouble } from '../ports/agent.ts';
import { agentConnector } from './agent-session.ts';
import { makeCa, makeServerCertificate } from './certificates.ts';

const now = new Date();
const years = (count: number) => new Date(now.getTime() + count * 365 * 86_400_000);

let ca: CertificateValue;
let stranger: CertificateValue;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  ca = await makeCa('agent CA', now);
  stranger = await makeCa('another CA', now);
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** An agent that answers everyone who has the password. */
async function agentWith(certificate: CertificateValue): Promise<number> {
  const expected = `Basic ${Buffer.from('mbus:right').toString('base64')}`;
  const server = createServer(
    { cert: certificate.certificate, key: certificate.private_key },
    (request, response) => {
      request.resume();
      if (request.headers.authorization === expected) response.end('{"value":"pong"}');
      else response.writeHead(401).end();
    },
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function troubleWith(
  port: number,
  options: {
    readonly host?: string;
    readonly password?: string;
    readonly trusted?: string;
    readonly serverName?: string;
  } = {},
): Promise<AgentTrouble | 'none'> {
  const session = await agentConnector({})({
    mbus: `https://mbus:${options.password ?? 'right'}@${options.host ?? '127.0.0.1'}:${port}`,
    ca: options.trusted ?? ca.certificate,
    directorUuid: 'deployer',
    ...(options.serverName === undefined ? {} : { serverName: options.serverName }),
  });
  try {
    await session.ping(AbortSignal.timeout(5_000));
    return 'none';
  } catch (error) {
    return session.explain(error);
  } finally {
    await session.close();
  }
}

describe('questions to an agent', () => {
  it('travel over connections that are kept', async () => {
    let connections = 0;
    const certificate = await makeServerCertificate(ca, '127.0.0.1', now);
    const server = createServer(
      { cert: certificate.certificate, key: certificate.private_key },
      (request, response) => {
        request.resume();
        response.end('{"value":"pong"}');
      },
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.on('secureConnection', () => (connections += 1));
    cleanups.push(() => server.close());
    const session = await agentConnector({})({
      mbus: `https://mbus:right@127.0.0.1:${(server.address() as AddressInfo).port}`,
      ca: ca.certificate,
      directorUuid: 'deployer',
    });

    for (let question = 0; question < 10; question += 1) await session.ping(AbortSignal.timeout(5_000));
    await session.close();

    // A question that comes before the end of the last answer takes a second one.
    expect(connections).toBeLessThanOrEqual(2);
  });
});

describe('why an agent does not answer', () => {
  it('is nothing when all is well', async () => {
    expect(await troubleWith(await agentWith(await makeServerCertificate(ca, '127.0.0.1', now)))).toBe(
      'none',
    );
  });

  it('is nothing for a VM whose address the cloud chose: the certificate has the name that was agreed on', async () => {
    const name = 'agent.microbosh.internal';
    const port = await agentWith(await makeServerCertificate(ca, name, now));

    expect(await troubleWith(port, { serverName: name })).toBe('none');
    expect(await troubleWith(port)).toMatchObject({ kind: 'certificate', hopeless: true });
  });

  it.each([
    { what: 'another name', made: () => makeServerCertificate(ca, '10.9.9.9', now), says: /altnames/ },
    {
      what: 'an expiry in the past',
      made: () => makeServerCertificate(ca, '127.0.0.1', years(-11)),
      says: /expired/,
    },
    {
      what: 'a beginning in the future: a clock is wrong',
      made: () => makeServerCertificate(ca, '127.0.0.1', years(2)),
      says: /not yet valid/,
    },
    {
      what: 'another authority',
      made: () => makeServerCertificate(stranger, '127.0.0.1', now),
      says: /unable to verify|unable to get/,
    },
  ])('is a certificate with $what, which waiting does not cure', async ({ made, says }) => {
    const trouble = await troubleWith(await agentWith(await made()));

    expect(trouble).toMatchObject({ kind: 'certificate', hopeless: true });
    expect(trouble === 'none' ? '' : trouble.text).toMatch(says);
  });

  it('is a wrong password, which waiting does not cure and nothing shows', async () => {
    const port = await agentWith(await makeServerCertificate(ca, '127.0.0.1', now));
    const trouble = await troubleWith(port, { password: 'wrong-password' });

    expect(trouble).toMatchObject({ kind: 'credentials', hopeless: true });
    expect(JSON.stringify(trouble)).not.toContain('wrong-password');
  });

  it('is an address without a route: the network may still come', async () => {
    expect(await troubleWith(6868, { host: '255.255.255.255' })).toMatchObject({
      kind: 'no-route',
      hopeless: false,
      text: expect.stringContaining('There is no route to the agent') as string,
    });
  });

  it('is a port that nobody listens on: the agent may still come', async () => {
    const server = createPlainServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');

    expect(await troubleWith(port)).toMatchObject({ kind: 'refused', hopeless: false });
  });

  it('is another host at the address, which waiting does not cure', async () => {
    const server = createPlainServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => server.close());

    expect(await troubleWith((server.address() as AddressInfo).port)).toMatchObject({
      kind: 'tls',
      hopeless: true,
    });
  });
});
