import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '@microbosh/agent-client';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTestAgent, type TestAgent } from '../src/testing/test-agent.ts';

let agent: TestAgent;
let client: AgentClient;
let work: string;
let restarts: string[];

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'tasks-'));
  restarts = [];
  agent = await startTestAgent({ restart: (reason) => restarts.push(reason) });
  client = connect();
});
afterEach(async () => {
  await client.close();
  await agent.close();
  rmSync(work, { recursive: true, force: true });
});

function connect(): AgentClient {
  return new AgentClient({ mbus: agent.mbus, ca: agent.ca, replyTo: 'test', timing: { pollIntervalMs: 20 } });
}

async function restart(): Promise<void> {
  await client.close();
  agent = await agent.restart();
  client = connect();
}

it('answers a task that restarted the agent afterwards, and does not run it again', async () => {
  const update = { mbus: { urls: ['nats://u:s3cret@127.0.0.1:4222'] } };
  expect(await client.call('update_settings', [update])).toBe('ok');
  await expect.poll(() => restarts, { timeout: 5_000 }).toEqual(['the message bus or the blobstore changed']);
  const recorded = readFileSync(agent.layout.tasks, 'utf8');
  const [id = ''] = Object.keys(JSON.parse(recorded) as object);
  expect(recorded).not.toContain(Buffer.from('s3cret').toString('base64').slice(0, 8));

  await restart();

  expect(await client.waitForTask(id)).toBe('ok');
  expect(agent.effects).toEqual([]);
});

it('takes up a task that a dead agent had begun, once', async () => {
  const id = '11111111-1111-4111-8111-111111111111';
  const request = {
    method: 'update_settings',
    arguments: [{ trusted_certs: '' }],
    reply_to: '',
    protocol: 0,
  };
  const Payload = Buffer.from(JSON.stringify(request)).toString('base64');
  writeFileSync(
    agent.layout.tasks,
    JSON.stringify({ [id]: { TaskID: id, Method: 'update_settings', Payload } }),
  );

  await restart();
  expect(await client.waitForTask(id)).toBe('ok');
  expect(agent.effects).toEqual([['update_settings']]);

  await restart();
  await expect(client.getTask(id)).rejects.toThrow(`Task with id ${id} could not be found`);
  expect(agent.effects).toEqual([]);
});

it('compiles two packages at once and writes their output while they run', async () => {
  const flags = join(work, 'flags');
  mkdirSync(flags);
  const compile = async (name: string, other: string) => {
    const dir = mkdtempSync(join(work, 'source-'));
    // Each waits for the other: one after the other they would not end well.
    const script = `echo begun; touch ${flags}/${name}; for i in $(seq 300); do test -e ${flags}/${other} && test -e ${flags}/read && exit 0; sleep 0.05; done; exit 1\n`;
    writeFileSync(join(dir, 'packaging'), script);
    const path = join(work, `${name}.tgz`);
    execFileSync('tar', ['-C', dir, '-czf', path, '.']);
    await client.putBlob(name, { path });
    const digest = createHash('sha1').update(readFileSync(path)).digest('hex');
    return client.compilePackage({ blobId: name, digest, name, version: '1', dependencies: {} });
  };
  const both = Promise.all([compile('one', 'two'), compile('two', 'one')]);
  const log = join(agent.layout.logs, 'compilation', 'one', 'packaging.stdout.log');
  await expect
    .poll(() => execFileSync('sh', ['-c', `cat ${log} 2>/dev/null || true`]).toString(), { timeout: 10_000 })
    .toContain('begun');
  writeFileSync(join(flags, 'read'), '');

  expect(await both).toHaveLength(2);
});

it('goes back to the previous set when the switch to a new one fails', async () => {
  const spec = async (version: string) => {
    const dir = mkdtempSync(join(work, 'job-'));
    mkdirSync(join(dir, 'web'));
    writeFileSync(join(dir, 'web', 'monit'), `# ${version}\n`);
    writeFileSync(join(dir, 'web', 'version'), version);
    const path = join(work, `job-${version}.tgz`);
    execFileSync('tar', ['-C', dir, '-czf', path, '.']);
    await client.putBlob(`job-${version}`, { path });
    const sha1 = createHash('sha1').update(readFileSync(path)).digest('hex');
    return {
      ...{ deployment: version, name: 'g', index: 0, id: '0', az: 'z', configuration_hash: version },
      ...{ networks: {}, packages: {}, job: { name: 'g', templates: [{ name: 'web', version }] } },
      rendered_templates_archive: { blobstore_id: `job-${version}`, sha1 },
    };
  };
  await client.apply(await spec('1'));
  await client.start();
  const control = () => readFileSync(join(agent.layout.monitJobs, '0000_web.monitrc'), 'utf8');
  expect(control()).toBe('# 1\n');
  // In the way of the last step of the switch, when links and spec are the new ones already.
  const obstacle = join(agent.layout.instance, 'deployment');
  rmSync(obstacle);
  mkdirSync(obstacle);
  const broken = await spec('2');

  await expect(client.apply(broken)).rejects.toThrow(/EISDIR|EEXIST|ENOTEMPTY|directory/);

  expect(existsSync(agent.layout.applyIntent)).toBe(false);
  rmSync(obstacle, { recursive: true });
  expect(readFileSync(join(agent.layout.jobs, 'web', 'version'), 'utf8')).toBe('1');
  expect(control()).toBe('# 1\n');
  expect((await client.getState()).deployment).toBe('1');
  await client.apply(await spec('2'));
  expect(readFileSync(join(agent.layout.jobs, 'web', 'version'), 'utf8')).toBe('2');
});
