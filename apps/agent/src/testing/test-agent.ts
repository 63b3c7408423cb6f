import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '@microbosh/errors';
import { startAgent, type AgentOptions, type RunningAgent } from '../compose.ts';
import { createDummyHost, type HostEffect } from '../dummy-host.ts';
import { layoutOf, type Layout } from '../layout.ts';
import type { Log } from '../ports/log.ts';

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export interface TestAgent {
  readonly layout: Layout;
  readonly mbus: string;
  readonly ca: string;
  readonly effects: HostEffect[];
  readonly agent: RunningAgent;
  /** Ends the agent and starts another one on the same base directory. */
  restart(): Promise<TestAgent>;
  close(): Promise<void>;
}

/** Self-signed RSA pair for 127.0.0.1. */
export function testCertificate(dir: string): { readonly certificate: string; readonly private_key: string } {
  const [key, cert] = [join(dir, 'agent.key'), join(dir, 'agent.crt')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=agent'],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  return { certificate: readFileSync(cert, 'utf8'), private_key: readFileSync(key, 'utf8') };
}

/** Settings of a dummy machine that serves HTTPS on a free port of 127.0.0.1. */
export function writeDummySettings(base: string, given: DummySettings = {}): string {
  mkdirSync(join(base, 'bosh'), { recursive: true });
  const cert = testCertificate(join(base, 'bosh'));
  const mbus = given.mbus ?? 'https://mbus:s3cret-pw@127.0.0.1:0';
  const settings = {
    agent_id: 'agent-1',
    vm: { name: 'vm-1' },
    mbus,
    networks: { default: { type: 'manual', ip: '10.0.0.6', default: ['dns', 'gateway'] } },
    disks: { persistent: { 'disk-1': '/dev/sdc', 'disk-2': '/dev/sdd' } },
    blobstore: given.blobstore ?? {
      provider: 'local',
      options: { blobstore_path: '/var/vcap/micro_bosh/data/cache' },
    },
    env: { bosh: { mbus: { ...(mbus.startsWith('nats:') ? {} : { cert }), ...given.boshMbus } } },
  };
  writeFileSync(join(base, 'bosh', 'dummy-cpi-agent-env.json'), JSON.stringify(settings), { mode: 0o600 });
  return cert.certificate;
}

export interface DummySettings {
  readonly mbus?: string;
  /** Members of `env.bosh.mbus`. */
  readonly boshMbus?: JsonObject;
  readonly blobstore?: JsonObject;
}

export type TestAgentOptions = DummySettings &
  Partial<Pick<AgentOptions, 'log' | 'runner' | 'httpsLimits' | 'restart' | 'supervisor' | 'monit'>>;

/** An agent in this process, on a dummy machine below a temporary base directory. */
export async function startTestAgent(options: TestAgentOptions = {}): Promise<TestAgent> {
  const base = mkdtempSync(join(tmpdir(), 'agent-'));
  const ca = writeDummySettings(base, options);
  const { log, runner, httpsLimits, restart, supervisor, monit } = options;
  const given = Object.fromEntries(
    Object.entries({ log, runner, httpsLimits, restart, supervisor, monit }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  const start = async (): Promise<TestAgent> => {
    const effects: HostEffect[] = [];
    const host = createDummyHost(base, effects);
    await host.bootstrap.run();
    const agent = await startAgent({
      baseDir: base,
      supervisor: 'builtin',
      host,
      log: silentLog,
      restart: () => undefined,
      ...given,
    });
    return {
      layout: layoutOf(base),
      mbus: `https://mbus:s3cret-pw@127.0.0.1:${agent.port}`,
      ca,
      effects,
      agent,
      restart: async () => {
        await agent.close();
        return start();
      },
      close: async () => {
        await agent.close();
        rmSync(base, { recursive: true, force: true });
      },
    };
  };
  return start();
}
