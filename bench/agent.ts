import { execFileSync, fork, spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import { AgentClient } from '../libs/agent-client/src/index.ts';
import type { ApplySpec } from '../libs/spec/src/index.ts';
import { writeDummySettings } from '../apps/agent/src/testing/test-agent.ts';
import { medianMs, timeMs } from './result.ts';
import type { BenchResult, Figure } from './result.ts';

const blobMiB = 500;
const packages = 20;
const user = 'mbus:s3cret-pw';
const root = join(import.meta.dirname, '..');

/** The agent as a program, beside the least that could do the same work, on the same certificate. */
export async function run(): Promise<BenchResult> {
  const base = mkdtempSync(join(tmpdir(), 'bench-agent-'));
  const children: ChildProcess[] = [];
  try {
    const port = await freePort();
    const mbus = `https://${user}@127.0.0.1:${port}`;
    const ca = writeDummySettings(base, { mbus });
    children.push(
      spawn(
        process.execPath,
        [join(root, 'apps/agent/src/main.ts'), '-P', 'dummy', '-M', 'builtin', '-b', base],
        {
          stdio: 'ignore',
        },
      ),
    );
    const peers = fork(join(import.meta.dirname, 'agent/peers.ts'), [base], { stdio: 'inherit' });
    children.push(peers);
    const bare = await new Promise<{ hello: number; blobs: number }>((resolve) =>
      peers.once('message', resolve),
    );
    const client = new AgentClient({ mbus, ca, replyTo: 'bench', timing: { pollIntervalMs: 5 } });
    await client.waitUntilReady({ timeoutMs: 60_000 });
    const figures = [
      ...(await pings(port, bare.hello, ca)),
      ...(await states(client)),
      ...(await compilation(client, base, children[0]?.pid ?? 0)),
      ...blobs(base, { agent: port, bare: bare.blobs }),
    ];
    await client.close();
    return { name: 'agent', figures };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(base, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Requests per second over kept connections, in turns; the best of each, for a busy machine only takes away. */
async function pings(agent: number, hello: number, ca: string): Promise<readonly Figure[]> {
  const body = JSON.stringify({ method: 'ping', arguments: [], reply_to: 'bench' });
  const headers = {
    authorization: `Basic ${Buffer.from(user).toString('base64')}`,
    'content-type': 'application/json',
  };
  const rate = async (port: number, method: 'GET' | 'POST', path: string) => {
    const pool = new Pool(`https://127.0.0.1:${port}`, { connections: 16, connect: { ca } });
    let answered = 0;
    const endAt = performance.now() + 2_500;
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (performance.now() < endAt) {
          const response = await pool.request({
            method,
            path,
            headers,
            ...(method === 'POST' ? { body } : {}),
          });
          await response.body.dump();
          answered += 1;
        }
      }),
    );
    await pool.close();
    return answered / 2.5;
  };
  const ratios: number[] = [];
  let [ours, theirs] = [0, 0];
  for (let round = 0; round < 5; round += 1) {
    const bare = await rate(hello, 'POST', '/hello');
    const own = await rate(agent, 'POST', '/agent');
    ratios.push(own / bare);
    [ours, theirs] = [Math.max(ours, own), Math.max(theirs, bare)];
  }
  ratios.sort((a, b) => a - b);
  return [
    { label: 'bare fastify hello over TLS, best of 5', value: theirs, unit: 'req/s' },
    { label: 'ping over TLS, best of 5', value: ours, unit: 'req/s' },
    { label: 'ping beside hello, median of 5 pairs', value: ratios[2] ?? 0, unit: 'x', aim: '>= 0.7 x' },
  ];
}

async function states(client: AgentClient): Promise<readonly Figure[]> {
  const spec: ApplySpec = {
    ...{ deployment: 'bench', name: 'bench', index: 0, id: '0', az: 'unknown' },
    networks: { default: { type: 'manual', ip: '10.0.0.6' } },
    configuration_hash: 'bench',
    rendered_templates_archive: { blobstore_id: '', sha1: '' },
    ...{ job: { name: 'bench', templates: [] }, packages: {} },
  };
  await client.apply(spec);
  const apply = await medianMs(15, () => client.apply(spec));
  for (let warm = 0; warm < 50; warm += 1) await client.getState('full');
  const state = await medianMs(300, () => client.getState('full'));
  return [
    { label: 'get_state full, p50 with the way there and back', value: state, unit: 'ms', aim: '<= 3 ms' },
    { label: 'apply of an unchanged spec, p50', value: apply, unit: 'ms', aim: '<= 50 ms' },
  ];
}

/** Twenty packages that compute for a moment, beside a shell loop that unpacks, runs and packs the same ones. */
async function compilation(client: AgentClient, base: string, agentPid: number): Promise<readonly Figure[]> {
  const work = join(base, 'packages-of-bench');
  const script =
    'head -c 300000000 /dev/zero | sha512sum > $BOSH_INSTALL_TARGET/sum\ncp src/* $BOSH_INSTALL_TARGET\n';
  const sources: { readonly name: string; readonly path: string; readonly sha1: string }[] = [];
  for (let index = 0; index < packages; index += 1) {
    const [name, dir] = [`p${index}`, join(work, `p${index}`)];
    mkdirSync(join(dir, 'src'), { recursive: true });
    writeFileSync(join(dir, 'packaging'), script);
    writeFileSync(join(dir, 'src', 'content'), randomFillSync(Buffer.alloc(200_000)));
    const path = join(work, `${name}.tgz`);
    execFileSync('tar', ['-C', dir, '-czf', path, '.']);
    sources.push({ name, path, sha1: createHash('sha1').update(readFileSync(path)).digest('hex') });
    await client.putBlob(`source-${name}`, { path });
  }
  const loop = `set -e; cd "$0"; for p in p*.tgz; do rm -rf b i; mkdir b i; tar -C b -xzf $p; (cd b; BOSH_INSTALL_TARGET=../i nice -n 5 bash -x packaging); tar -C i -czf out-$p.result .; done`;
  const ownBefore = cpuSeconds(process.pid);
  const shellMs = await timeMs(() => execFileSync('bash', ['-c', loop, work], { stdio: 'ignore' }));
  const shellCpu = cpuSeconds(process.pid) - ownBefore;
  const cpuBefore = cpuSeconds(agentPid);
  const ourMs = await timeMs(() =>
    Promise.all(
      sources.map(({ name, sha1 }) =>
        client.compilePackage({
          blobId: `source-${name}`,
          digest: sha1,
          name,
          version: '1',
          dependencies: {},
        }),
      ),
    ),
  );
  const ourCpu = cpuSeconds(agentPid) - cpuBefore;
  const againMs = await timeMs(() =>
    Promise.all(
      sources.map(({ name, sha1 }) =>
        client.compilePackage({
          blobId: `source-${name}`,
          digest: sha1,
          name,
          version: '1',
          dependencies: {},
        }),
      ),
    ),
  );
  return [
    {
      label: `shell loop over ${packages} packages, with the agent's priority`,
      value: shellMs / 1000,
      unit: 's',
    },
    { label: `compile_package of the same, together`, value: ourMs / 1000, unit: 's' },
    { label: 'beside the shell loop', value: ourMs / shellMs, unit: 'x', aim: '<= 0.7 x on 2 cores' },
    { label: 'CPU time beside the shell loop', value: ourCpu / shellCpu, unit: 'x' },
    { label: 'the same again, nothing is compiled', value: againMs / 1000, unit: 's' },
  ];
}

/** User and system time of a process and of its children that have ended. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map(Number);
  return fields.reduce((sum, ticks) => sum + ticks, 0) / 100;
}

function blobs(base: string, ports: { readonly agent: number; readonly bare: number }): readonly Figure[] {
  const file = join(base, 'large');
  const block = Buffer.alloc(20 << 20);
  writeFileSync(file, '');
  for (let written = 0; written < blobMiB; written += 20) appendFileSync(file, randomFillSync(block));
  const curl = (port: number, ...args: readonly string[]) => {
    const started = performance.now();
    execFileSync('curl', ['-sfk', '-u', user, ...args, `https://127.0.0.1:${port}/blobs/ab/large`]);
    return performance.now() - started;
  };
  const best = (port: number, ...args: readonly string[]) =>
    Math.min(...[0, 1, 2].map(() => curl(port, ...args)));
  const up = { bare: best(ports.bare, '-T', file), agent: best(ports.agent, '-T', file) };
  const down = { bare: best(ports.bare, '-o', '/dev/null'), agent: best(ports.agent, '-o', '/dev/null') };
  return [
    { label: `upload of ${blobMiB} MiB to a bare node:https`, value: up.bare / 1000, unit: 's' },
    { label: 'upload to the agent, beside it', value: up.agent / up.bare, unit: 'x', aim: '<= 1.3 x' },
    { label: `download of ${blobMiB} MiB from a bare node:https`, value: down.bare / 1000, unit: 's' },
    {
      label: 'download from the agent, beside it',
      value: down.agent / down.bare,
      unit: 'x',
      aim: '<= 1.3 x',
    },
  ];
}
