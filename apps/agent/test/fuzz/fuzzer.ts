import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import {
  isMethodName,
  parseArguments,
  parseRequest,
  type AgentRequest,
  type MethodName,
} from '@microbosh/agent-protocol';
import { isJsonObject, type Json } from '@microbosh/errors';
import { NodeCommandRunner, type CommandRunner } from '@microbosh/host';
import { startTestAgent, type TestAgent } from '../../src/testing/test-agent.ts';
import { Dice, randomRequest, type FuzzRequest, type Pool } from './requests.ts';

export interface FuzzReport {
  readonly requests: number;
  readonly authenticated: number;
  /** Requests that were valid and had their method run. */
  readonly executed: number;
  readonly effects: number;
  readonly byStatus: Readonly<Record<string, number>>;
  /** What must not be; empty is a success. */
  readonly violations: readonly string[];
}

/** Effects on the machine that a method may have: operations of the host and programs. */
const documented: Partial<Record<MethodName, readonly string[]>> = {
  prepare: ['sync'],
  apply: ['sync'],
  compile_package: ['sync', 'tar', 'setpriv'],
  compile_package_with_signed_url: ['sync', 'tar', 'setpriv'],
  fetch_logs: ['tar', 'journalctl'],
  fetch_logs_with_signed_url: ['tar', 'journalctl'],
  bundle_logs: ['tar', 'journalctl', 'give_file'],
  add_persistent_disk: ['add_hint'],
  remove_persistent_disk: ['remove_hint'],
  mount_disk: ['mount'],
  unmount_disk: ['unmount'],
  migrate_disk: ['migrate'],
  add_dynamic_disk: ['add_dynamic'],
  remove_dynamic_disk: ['remove_dynamic'],
  update_settings: ['update_settings'],
  associate_disks: ['associate_disks'],
  ssh: ['add_ssh_user', 'remove_ssh_users'],
  delete_arp_entries: ['flush_neighbour'],
  sync_dns: ['write_hosts'],
  sync_dns_with_signed_url: ['write_hosts'],
  shutdown: ['power_off'],
  prepare_network_change: ['forget_network_identity'],
  prepare_configure_networks: ['forget_network_identity'],
};

/** These may end the agent, a second later. */
const restarting: ReadonlySet<string> = new Set([
  'update_settings',
  'prepare_network_change',
  'configure_networks',
]);

/** Places below the base directory that a method may change; every other method changes nothing. */
const places: Partial<Record<MethodName, readonly string[]>> = {
  prepare: ['data/jobs', 'data/packages', 'data/blobs', 'jobs', 'packages'],
  apply: ['data', 'jobs', 'packages', 'instance', 'monit', 'bosh/spec.json', 'bosh/apply_intent.json'],
  start: ['monit', 'instance', 'data'],
  stop: ['monit', 'instance', 'data'],
  drain: ['data/sys', 'monit', 'instance'],
  run_script: ['data/sys'],
  run_errand: ['data/sys'],
  compile_package: ['data', 'packages'],
  compile_package_with_signed_url: ['data', 'packages'],
  fetch_logs: ['data/tmp', 'data/blobs'],
  fetch_logs_with_signed_url: ['data/tmp', 'data/blobs'],
  bundle_logs: ['data/tmp'],
  remove_file: ['data/tmp'],
  upload_blob: ['data/sensitive_blobs'],
  sync_dns: ['instance', 'data/blobs/tmp'],
  sync_dns_with_signed_url: ['instance', 'data/blobs/tmp'],
  update_settings: ['bosh/tasks.json'],
  configure_networks: ['bosh/tasks.json'],
};

/** Sends requests to an agent whose machine records every effect, and looks at every answer and at every effect. */
export async function fuzzAgent(options: {
  readonly requests: number;
  readonly seed: number;
  readonly onProgress?: (done: number) => void;
}): Promise<FuzzReport> {
  const programs: string[] = [];
  const restarts: string[] = [];
  const real = new NodeCommandRunner();
  const runner: CommandRunner = {
    run: async (argv, runOptions) => {
      programs.push(argv[0]);
      // Only what packs files of the test itself is run; the rest is noted.
      if (argv[0] === 'tar') return real.run(argv, runOptions);
      return { stdout: '', stderr: '', exitCode: 0 };
    },
  };
  const agent = await startTestAgent({ runner, restart: () => restarts.push('restart') });
  const run = new FuzzRun(agent, programs, restarts, new Dice(options.seed));
  try {
    await run.prepare();
    for (let done = 0; done < options.requests;) {
      done += await run.round(Math.min(100, options.requests - done));
      options.onProgress?.(done);
    }
    return run.report();
  } finally {
    run.close();
    await agent.close();
  }
}

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

const hostFiles = ['/etc/hosts', '/etc/passwd', '/etc/group', '/etc/shadow'];

class FuzzRun {
  readonly #agent: TestAgent;
  readonly #programs: string[];
  readonly #restarts: string[];
  readonly #dice: Dice;
  readonly #connections = new Agent({ keepAlive: true, maxSockets: 8 });
  readonly #violations: string[] = [];
  readonly #byStatus: Record<string, number> = {};
  readonly #hostBefore = digestOf(hostFiles);
  #pool: Pool = { authorization: `Basic ${Buffer.from('mbus:s3cret-pw').toString('base64')}`, valid: {} };
  #requests = 0;
  #authenticated = 0;
  #executed = 0;
  #effects = 0;
  #mayRestart = 0;

  constructor(agent: TestAgent, programs: string[], restarts: string[], dice: Dice) {
    this.#agent = agent;
    this.#programs = programs;
    this.#restarts = restarts;
    this.#dice = dice;
  }

  async prepare(): Promise<void> {
    const work = mkdtempSync(join(tmpdir(), 'fuzz-'));
    try {
      const files: Readonly<Record<string, string>> = {
        'web/monit': '# nothing to watch\n',
        'web/bin/pre-start': '#!/bin/sh\necho "$1"\n',
        'web/bin/run': '#!/bin/sh\necho errand\n',
        'web/bin/drain': '#!/bin/sh\necho 0\n',
        packaging: 'true\n',
      };
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(join(work, name, '..'), { recursive: true });
        writeFileSync(join(work, name), content, { mode: 0o755 });
      }
      const archive = execFileSync('tar', ['-C', work, '-czf', '-', '.']);
      this.#pool = { ...this.#pool, valid: validArguments(createHash('sha1').update(archive).digest('hex')) };
      this.#archive = archive;
      await this.#offerArchive();
      mkdirSync(join(this.#agent.layout.bosh, 'log'), { recursive: true });
      writeFileSync(join(this.#agent.layout.bosh, 'log', 'current'), 'line\n');
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }

  #archive: Buffer = Buffer.alloc(0);

  /** An apply that succeeds takes the blob away, as it should. */
  async #offerArchive(): Promise<void> {
    const headers = { authorization: this.#pool.authorization };
    await this.#send({ method: 'PUT', path: '/blobs/ab/archive', headers, body: this.#archive });
  }

  close(): void {
    this.#connections.destroy();
  }

  /** First those that must change nothing, at a time; then one after the other those that may. */
  async round(count: number): Promise<number> {
    const requests = Array.from({ length: count }, () => randomRequest(this.#dice, this.#pool));
    const idle = requests.filter((item) => this.#meaningOf(item) === undefined);
    this.#forgetEffects();
    const before = this.#tree();
    for (let at = 0; at < idle.length; at += 8) {
      await Promise.all(idle.slice(at, at + 8).map((item) => this.#check(item)));
    }
    this.#expectEffects('an invalid request', [], before, []);
    for (const item of requests) {
      const meaning = this.#meaningOf(item);
      if (meaning === undefined) continue;
      this.#forgetEffects();
      const treeBefore = this.#tree();
      await this.#check(item);
      this.#executed += 1;
      const isBlob = typeof meaning === 'string';
      const what = isBlob
        ? `PUT ${item.path}`
        : `${meaning.method} ${JSON.stringify(meaning.arguments).slice(0, 200)}`;
      const method = isBlob ? undefined : (meaning.method as MethodName);
      if (method !== undefined && restarting.has(method)) this.#mayRestart += 1;
      this.#expectEffects(
        what,
        method === undefined ? [] : (documented[method] ?? []),
        treeBefore,
        method === undefined ? ['data/blobs'] : (places[method] ?? []),
      );
      if (method === 'apply') await this.#offerArchive();
    }
    // Bundles of logs and blobs add up, and every look at the tree takes longer.
    const { tmp, blobs, sensitiveBlobs } = this.#agent.layout;
    for (const dir of [tmp, blobs, sensitiveBlobs]) {
      for (const entry of readdirSync(dir, { withFileTypes: true })) {
        if (entry.isFile() && entry.name !== 'archive') rmSync(join(dir, entry.name));
      }
    }
    return count;
  }

  /** The request that a method will run for, or the blob that will be written; undefined when nothing may happen. */
  #meaningOf(item: FuzzRequest): AgentRequest | string | undefined {
    if (item.headers['authorization'] !== this.#pool.authorization) return undefined;
    if (item.headers['expect'] === 'else') return undefined;
    const path = item.path.split(/[?#]/, 1)[0] ?? '';
    if (item.method === 'PUT' && path.startsWith('/blobs/')) return path;
    if (item.method !== 'POST' || path !== '/agent') return undefined;
    try {
      const sent = parseRequest((item.body ?? Buffer.alloc(0)).toString('utf8'));
      if (!isMethodName(sent.method)) return undefined;
      parseArguments(sent.method, sent.arguments);
      return sent;
    } catch {
      return undefined;
    }
  }

  async #check(item: FuzzRequest): Promise<void> {
    this.#requests += 1;
    const isAuthorized = item.headers['authorization'] === this.#pool.authorization;
    if (isAuthorized) this.#authenticated += 1;
    const shown = `${item.method} ${item.path} ${(item.body ?? Buffer.alloc(0)).toString('utf8').slice(0, 300)}`;
    let answer: Answer;
    try {
      answer = await this.#send(item);
    } catch (error) {
      this.#violations.push(`no answer (${String(error)}): ${shown}`);
      return;
    }
    this.#byStatus[answer.status] = (this.#byStatus[answer.status] ?? 0) + 1;
    const problem = this.#problemOf(item, answer, isAuthorized);
    if (problem !== undefined) this.#violations.push(`${problem}: ${shown}`);
    else if (item.method === 'POST') await this.#follow(answer, shown);
  }

  #problemOf(item: FuzzRequest, { status, body }: Answer, isAuthorized: boolean): string | undefined {
    const path = item.path.split(/[?#]/, 1)[0] ?? '';
    const isAgent = path === '/agent';
    const isBlob = path.startsWith('/blobs/');
    if (item.headers['expect'] === 'else')
      return status === 417 || status === 404 || status === 401 || status === 301
        ? undefined
        : `status ${status}`;
    const isClean = !/\/\/|\/\.\.?(\/|$)/.test(path) && path !== '/blobs';
    if (!isClean)
      return status === 301 && body.length === 0
        ? undefined
        : `status ${status} for a path that is not clean`;
    if (!isAgent && !isBlob) return status === 404 && body.length === 0 ? undefined : `status ${status}`;
    if (!isAuthorized)
      return status === 401 && body.length === 0 ? undefined : `status ${status} without credentials`;
    if (isBlob) {
      const allowed = item.method === 'PUT' ? [201, 500] : item.method === 'GET' ? [200, 404] : [404];
      return allowed.includes(status) ? undefined : `status ${status} for a blob`;
    }
    if (item.method !== 'POST') return status === 404 && body.length === 0 ? undefined : `status ${status}`;
    const isRequest = canParse(item.body ?? Buffer.alloc(0));
    if (!isRequest)
      return status === 500 && body.length === 0 ? undefined : `status ${status} for what is no request`;
    if (status !== 200) return `status ${status}`;
    return envelopeProblem(body);
  }

  /** A task is followed to its end: that answer has an envelope too. */
  async #follow({ status, body }: Answer, shown: string): Promise<void> {
    if (status !== 200) return;
    let id = taskOf(body);
    for (let attempt = 0; id !== undefined; attempt += 1) {
      if (attempt > 3_000) {
        this.#violations.push(`the task does not end: ${shown}`);
        return;
      }
      if (attempt > 3) await new Promise((resolve) => setTimeout(resolve, Math.min(attempt, 20)));
      const next = await this.#send({
        ...{ method: 'POST', path: '/agent', headers: { authorization: this.#pool.authorization } },
        body: Buffer.from(JSON.stringify({ method: 'get_task', arguments: [id] })),
      });
      const problem = next.status === 200 ? envelopeProblem(next.body) : `status ${next.status}`;
      if (problem !== undefined) this.#violations.push(`get_task: ${problem}: ${shown}`);
      id = taskOf(next.body);
    }
  }

  async #send(item: FuzzRequest): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          ...{
            agent: this.#connections,
            host: '127.0.0.1',
            port: this.#agent.agent.port,
            ca: this.#agent.ca,
          },
          method: item.method,
          path: item.path.replace(/ /g, '%20'),
          headers: { ...item.headers, 'content-length': String(item.body?.length ?? 0) },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }),
          );
        },
      );
      sent.setTimeout(60_000, () => sent.destroy(new Error('no answer within 60 s')));
      sent.on('error', reject);
      sent.end(item.body);
    });
  }

  #forgetEffects(): void {
    for (const list of [this.#agent.effects, this.#programs]) list.splice(0);
  }

  #expectEffects(
    what: string,
    allowed: readonly string[],
    before: ReadonlyMap<string, string>,
    changeable: readonly string[],
  ): void {
    const seen = [...this.#agent.effects.map(([operation]) => operation), ...this.#programs];
    this.#effects += seen.length;
    for (const effect of new Set(seen)) {
      if (!allowed.includes(effect)) this.#violations.push(`effect '${effect}' of ${what}`);
    }
    const after = this.#tree();
    const paths = new Set([...before.keys(), ...after.keys()]);
    for (const path of paths) {
      if (before.get(path) === after.get(path)) continue;
      const isAllowed = changeable.some((place) => path === place || path.startsWith(`${place}/`));
      if (!isAllowed) this.#violations.push(`'${path}' was changed by ${what}`);
    }
  }

  /** Every file below the base directory with its size, time and kind. */
  #tree(): ReadonlyMap<string, string> {
    const { base } = this.#agent.layout;
    const tree = new Map<string, string>();
    const visit = (dir: string) => {
      for (const name of readdirSync(dir)) {
        const path = join(dir, name);
        const info = lstatSync(path, { throwIfNoEntry: false });
        if (!info) continue;
        if (info.isDirectory()) visit(path);
        else tree.set(relative(base, path), `${info.mode} ${info.size} ${info.mtimeMs} ${info.ino}`);
      }
    };
    visit(base);
    return tree;
  }

  report(): FuzzReport {
    if (digestOf(hostFiles) !== this.#hostBefore)
      this.#violations.push('the machine of the test was changed');
    if (this.#restarts.length > this.#mayRestart) this.#violations.push('the agent was to restart unasked');
    return {
      ...{ requests: this.#requests, authenticated: this.#authenticated, executed: this.#executed },
      ...{ effects: this.#effects, byStatus: this.#byStatus, violations: this.#violations },
    };
  }
}

function canParse(body: Buffer): boolean {
  try {
    parseRequest(body.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

function envelopeProblem(body: Buffer): string | undefined {
  let document: unknown;
  try {
    document = JSON.parse(body.toString('utf8'));
  } catch {
    return 'the answer is not JSON';
  }
  if (!isJsonObject(document)) return 'the answer is no object';
  const keys = Object.keys(document).join();
  if (keys === 'value') return undefined;
  const { exception } = document;
  if (keys !== 'exception' || !isJsonObject(exception)) return `the envelope has the keys ${keys}`;
  if (typeof exception.message !== 'string' || exception.message === '')
    return 'the exception has no message';
  const known = ['message', 'code', 'retryable', 'advice'];
  return Object.keys(exception).every((key) => known.includes(key))
    ? undefined
    : 'the exception has other keys';
}

function taskOf(body: Buffer): string | undefined {
  const { value } = JSON.parse(body.toString('utf8')) as { value?: Json };
  const isRunning = isJsonObject(value ?? null) && (value as { state?: Json }).state === 'running';
  const id = isRunning ? (value as { agent_task_id?: Json }).agent_task_id : undefined;
  return typeof id === 'string' ? id : undefined;
}

function digestOf(paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(readFileSync(path));
  return hash.digest('hex');
}

function validArguments(sha1: string): Pool['valid'] {
  const empty = {
    deployment: 'd',
    configuration_hash: 'x',
    networks: {},
    packages: {},
    job: { templates: [] },
  };
  const archive = { blobstore_id: 'archive', sha1 };
  const spec = {
    ...empty,
    job: { name: 'g', templates: [{ name: 'web', version: '1' }] },
    packages: { web: { name: 'web', version: '1', blobstore_id: 'archive', sha1 } },
    rendered_templates_archive: archive,
  };
  const payload = Buffer.from('secret');
  const checksum = createHash('sha1').update(payload).digest('hex');
  const absent = '00000000-0000-4000-8000-000000000000';
  const refused = 'http://127.0.0.1:9/blob';
  return {
    get_task: [[absent]],
    cancel_task: [[absent]],
    get_state: [[], ['full']],
    prepare: [[spec]],
    apply: [[empty], [spec]],
    drain: [
      ['shutdown', {}],
      ['update', empty],
    ],
    run_script: [
      ['pre-start', {}],
      ['pre-start', { env: { A: 'b' } }],
    ],
    run_errand: [[], ['web']],
    compile_package: [['archive', sha1, 'pkg', '1', {}]],
    compile_package_with_signed_url: [
      [
        {
          package_get_signed_url: 'ftp://x',
          upload_signed_url: refused,
          digest: sha1,
          name: 'p',
          version: '1',
        },
      ],
    ],
    fetch_logs: [
      ['agent', []],
      ['job', ['**/*.log']],
    ],
    fetch_logs_with_signed_url: [[{ signed_url: 'ftp://x', log_type: 'agent' }]],
    bundle_logs: [[{ log_type: 'agent', owning_user: 'nobody' }], [{ log_type: 'job', filters: ['*'] }]],
    remove_file: [['/etc/passwd']],
    upload_blob: [[{ blob_id: 'secret', checksum, payload: payload.toString('base64') }]],
    add_persistent_disk: [
      ['disk-3', '/dev/sdz'],
      ['disk-3', { path: '/dev/sdz' }],
    ],
    remove_persistent_disk: [['disk-3']],
    mount_disk: [['disk-1'], ['disk-2']],
    unmount_disk: [['disk-1'], ['disk-2']],
    migrate_disk: [[], ['disk-1', 'disk-2']],
    add_dynamic_disk: [['disk-4', '/dev/sdy']],
    remove_dynamic_disk: [['disk-4']],
    update_settings: [[{ trusted_certs: '', disk_associations: [{ name: 'db', cid: 'disk-1' }] }]],
    associate_disks: [[{ diskAssociations: [{ name: 'db', cid: 'disk-1' }] }]],
    ssh: [
      ['setup', { user: 'bosh_fuzz', public_key: 'ssh-rsa A' }],
      ['cleanup', { user_regex: '^bosh_' }],
    ],
    delete_arp_entries: [[{ ips: ['10.0.0.1'] }]],
    sync_dns: [['archive', sha1, 1]],
    sync_dns_with_signed_url: [[{ signed_url: 'ftp://x', multi_digest: sha1, version: 1 }]],
  };
}
