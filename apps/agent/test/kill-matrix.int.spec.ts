import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '@microbosh/agent-client';
import type { ApplySpec } from '@microbosh/spec';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf, type Layout } from '../src/layout.ts';
import { writeDummySettings } from '../src/testing/test-agent.ts';

const program = join(import.meta.dirname, '../src/testing/killable-agent.ts');
const maxSteps = process.env['KILLS'] === 'all' ? 2_000 : 400;
const timeoutMs = process.env['KILLS'] === 'all' ? 3_600_000 : 240_000;
const cache = mkdtempSync(join(tmpdir(), 'kill-cache-'));
afterAll(() => rmSync(cache, { recursive: true, force: true }));

/** One machine whose agent is killed again and again. */
class Lane {
  readonly base = mkdtempSync(join(tmpdir(), 'kill-'));
  readonly layout: Layout = layoutOf(this.base);
  readonly #ca = writeDummySettings(this.base);
  readonly #work = mkdtempSync(join(tmpdir(), 'kill-work-'));
  #child: ChildProcess | undefined;
  #client: AgentClient | undefined;

  get client(): AgentClient {
    if (!this.#client) throw new Error('the agent has not been started');
    return this.#client;
  }

  async start(): Promise<void> {
    const child = fork(program, [this.base], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: cache },
    });
    this.#child = child;
    const { port } = await message<{ port: number }>(child);
    this.#client = new AgentClient({
      mbus: `https://mbus:s3cret-pw@127.0.0.1:${port}`,
      ...{ ca: this.#ca, replyTo: 'test' },
      timing: { pollIntervalMs: 20, toleratedPollFailures: 0 },
    });
  }

  /** Does something with an agent that dies at a step of it; false when it came to its end before. */
  async killedAt(at: number, what: () => Promise<unknown>): Promise<boolean> {
    const child = this.#child;
    if (!child) throw new Error('the agent has not been started');
    const armed = message(child);
    child.send({ killAt: at });
    await armed;
    const gone = new Promise<true>((resolve) => child.once('exit', () => resolve(true)));
    const finished = await Promise.race([
      gone,
      what().then(
        () => false as const,
        () => undefined,
      ),
    ]);
    if (finished === false) {
      const disarmed = message(child);
      child.send({ killAt: 0 });
      await disarmed;
      return false;
    }
    await gone;
    await this.client.close();
    await this.start();
    return true;
  }

  async upload(
    id: string,
    files: Readonly<Record<string, string>>,
  ): Promise<{ blobstore_id: string; sha1: string }> {
    const packed = this.#packed.get(id) ?? this.#pack(files);
    this.#packed.set(id, packed);
    await this.client.putBlob(id, { path: packed.path });
    return { blobstore_id: id, sha1: packed.sha1 };
  }

  readonly #packed = new Map<string, { readonly path: string; readonly sha1: string }>();

  #pack(files: Readonly<Record<string, string>>): { readonly path: string; readonly sha1: string } {
    const dir = mkdtempSync(join(this.#work, 'tar-'));
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(dir, name, '..'), { recursive: true });
      writeFileSync(join(dir, name), content);
      if (content.startsWith('#!')) chmodSync(join(dir, name), 0o755);
    }
    const path = `${dir}.tgz`;
    execFileSync('tar', ['-C', dir, '-czf', path, '.']);
    return { path, sha1: createHash('sha1').update(readFileSync(path)).digest('hex') };
  }

  /** Two jobs and two packages; one of each is the same in every version. */
  async spec(version: string): Promise<ApplySpec> {
    const archive = await this.upload(`archive-${version}`, {
      'web/monit': `# ${version}\n`,
      'web/config/version': version,
      'db/config/version': version,
    });
    const tool = await this.upload(`tool-${version}`, { version });
    const same = await this.upload('same', { version: 'same' });
    return {
      ...{ deployment: version, name: 'g', index: 0, id: '0', az: 'unknown' },
      networks: { default: { type: 'manual', ip: '10.0.0.6' } },
      configuration_hash: version,
      job: {
        name: 'g',
        templates: [
          { name: 'web', version },
          { name: 'db', version },
        ],
      },
      packages: {
        tool: { name: 'tool', version, ...tool },
        same: { name: 'same', version: '1', ...same },
      },
      rendered_templates_archive: archive,
    };
  }

  /** Every version that shows anywhere: one when the machine is what one spec says. */
  versions(): ReadonlySet<string> {
    const { jobs, packages, spec, instance } = this.layout;
    const content = (...path: string[]) => readFileSync(join(...path), 'utf8');
    const applied = JSON.parse(content(spec)) as ApplySpec;
    return new Set([
      applied.deployment,
      content(instance, 'deployment'),
      content(packages, 'tool', 'version'),
      ...['web', 'db'].flatMap((job) => [
        content(jobs, job, 'config', 'version'),
        content(jobs, job, 'packages', 'tool', 'version'),
      ]),
    ]);
  }

  /** What must never be left. */
  leftovers(): readonly string[] {
    const { dataJobs, dataPackages, jobs, packages, blobs, compile, applyIntent } = this.layout;
    const hidden = [dataJobs, dataPackages, jobs, packages].flatMap((dir) =>
      existsSync(dir) ? readdirSync(dir).filter((name) => name.startsWith('.')) : [],
    );
    const inside = [join(blobs, 'tmp'), compile].flatMap((dir) => (existsSync(dir) ? readdirSync(dir) : []));
    return [...hidden, ...inside, ...(existsSync(applyIntent) ? ['the intent'] : [])];
  }

  async close(): Promise<void> {
    await this.#client?.close();
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
    rmSync(this.base, { recursive: true, force: true });
    rmSync(this.#work, { recursive: true, force: true });
  }
}

async function message<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Error('the agent has ended'));
    child.once('exit', onExit);
    child.once('message', (content) => {
      child.off('exit', onExit);
      resolve(content as T);
    });
  });
}

describe('the agent, killed at every step', () => {
  let lanes: Lane[] = [];

  beforeEach(async () => {
    lanes = [new Lane(), new Lane()];
    await Promise.all(lanes.map((lane) => lane.start()));
  });
  afterEach(async () => Promise.all(lanes.map((lane) => lane.close())));

  /** The steps, dealt out to lanes that run side by side; answers how many there were. */
  async function everyStep(body: (lane: Lane, at: number) => Promise<boolean>): Promise<number> {
    let next = 1;
    let end = maxSteps;
    await Promise.all(
      lanes.map(async (lane) => {
        while (next < end) {
          const at = next;
          next += 1;
          if (!(await body(lane, at))) end = Math.min(end, at);
        }
      }),
    );
    expect(end).toBeLessThan(maxSteps);
    if (process.env['KILLS'] === 'all') console.log(`${expect.getState().currentTestName}: ${end - 1} steps`);
    return end - 1;
  }

  it(
    'has applied the old spec or the new one',
    async () => {
      const current = new Map<Lane, string>(lanes.map((lane) => [lane, 'a']));
      for (const lane of lanes) await lane.client.apply(await lane.spec('a'));
      const seen = new Set<string>();
      const steps = await everyStep(async (lane, at) => {
        const old = current.get(lane) ?? '';
        const wanted = old === 'a' ? 'b' : 'a';
        const spec = await lane.spec(wanted);

        const killed = await lane.killedAt(at, () => lane.client.apply(spec));

        const versions = [...lane.versions()];
        expect([at, versions.length, lane.leftovers()]).toEqual([at, 1, []]);
        if (killed) {
          seen.add(versions[0] === old ? 'old' : 'new');
          // Whatever it is, a repetition makes it the new one; the next round goes the other way.
          await lane.client.apply(await lane.spec(wanted));
        }
        expect([...lane.versions()]).toEqual([wanted]);
        expect(readdirSync(join(lane.layout.dataPackages, 'tool'))).toHaveLength(1);
        current.set(lane, wanted);
        return killed;
      });
      expect(steps).toBeGreaterThan(30);
      expect([...seen].sort()).toEqual(['new', 'old']);
    },
    timeoutMs,
  );

  it(
    'leaves the machine as it was when it dies in a compilation, which can be repeated',
    async () => {
      for (const lane of lanes) await lane.client.apply(await lane.spec('a'));
      const steps = await everyStep(async (lane, at) => {
        const dependency = await lane.upload('dep', { value: 'forty-two' });
        const source = await lane.upload('src', {
          packaging: `set -e\ncp ${lane.layout.packages}/dep/value $BOSH_INSTALL_TARGET/answer\n`,
        });
        const compile = () =>
          lane.client.compilePackage({
            ...{ blobId: source.blobstore_id, digest: source.sha1, name: 'app', version: `v${at}` },
            dependencies: { dep: { name: 'dep', version: `${at}`, ...dependency } },
          });
        const links = readdirSync(lane.layout.packages).map((name) =>
          readlinkSync(join(lane.layout.packages, name)),
        );

        const killed = await lane.killedAt(at, compile);

        expect([at, [...lane.versions()], lane.leftovers()]).toEqual([at, ['a'], []]);
        expect(
          readdirSync(lane.layout.packages).map((name) => readlinkSync(join(lane.layout.packages, name))),
        ).toEqual(links);
        const result = await compile();
        const archive = join(lane.base, 'result.tgz');
        await lane.client.getBlob(result.blobstoreId, archive, { digest: result.sha1 });
        expect(execFileSync('tar', ['-xzOf', archive, './answer']).toString()).toBe('forty-two');
        return killed;
      });
      expect(steps).toBeGreaterThan(15);
    },
    timeoutMs,
  );
});
