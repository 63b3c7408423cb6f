import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, fetch } from 'undici';
import { root, run, start, succeed } from './commands.ts';
import type { Finished, Running } from './commands.ts';

/** A copy of examples/registry with its own subnet and its own folders, so that several can run side by side. */
export class Example {
  readonly directory: string;
  readonly manifest: string;
  readonly creds: string;
  readonly subnet: string;
  readonly address: string;
  /** Of one command. */
  limitMs = 120_000;
  /** Of one request to the service. */
  requestMs = 10_000;

  private constructor(directory: string, subnet: string) {
    this.directory = directory;
    this.manifest = join(directory, 'manifest.yml');
    this.creds = join(directory, 'creds.yml');
    this.subnet = subnet;
    this.address = `${subnet}.10`;
  }

  static async create(subnet: string): Promise<Example> {
    const example = new Example(await mkdtemp(join(tmpdir(), 'microbosh-e2e-')), subnet);
    await mkdir(join(example.directory, 'home'));
    const text = await readFile(join(root, 'examples/registry/manifest.yml'), 'utf8');
    await writeFile(
      example.manifest,
      text
        .replaceAll('10.245.77', subnet)
        .replaceAll('file://../../dist', `file://${root}/dist`)
        .replace(
          'plugin: local',
          `plugin: local\n  properties:\n    local:\n      root_dir: ${example.localRoot}`,
        ),
    );
    return example;
  }

  /** Where the local provider keeps VMs and disks of this copy. */
  get localRoot(): string {
    return join(this.directory, 'local');
  }

  get stateFile(): string {
    return join(this.directory, 'manifest-state.json');
  }

  get env(): Record<string, string> {
    return { HOME: join(this.directory, 'home'), NO_COLOR: '1' };
  }

  get #options() {
    return { env: this.env, timeoutMs: this.limitMs };
  }

  async edit(change: (text: string) => string): Promise<void> {
    const before = await readFile(this.manifest, 'utf8');
    const after = change(before);
    if (after === before) throw new Error('the edit of the manifest changed nothing');
    await writeFile(this.manifest, after);
  }

  command(name: string, ...args: string[]): readonly [string, ...string[]] {
    return ['bin/microbosh', name, this.manifest, ...args];
  }

  get createArguments(): readonly string[] {
    return ['create-env', this.manifest, '--vars-store', this.creds];
  }

  startCreate(...args: string[]): Running {
    return start(this.command('create-env', '--tty', '--vars-store', this.creds, ...args), this.#options);
  }

  async create(...args: string[]): Promise<Finished> {
    return succeed(this.command('create-env', '--tty', '--vars-store', this.creds, ...args), this.#options);
  }

  async tryCreate(...args: string[]): Promise<Finished> {
    return run(this.command('create-env', '--tty', '--vars-store', this.creds, ...args), this.#options);
  }

  async delete(): Promise<Finished> {
    return succeed(this.command('delete-env', '--tty', '-n'), this.#options);
  }

  async status(): Promise<Record<string, unknown>> {
    const { stdout } = await succeed(this.command('status', '--json'), this.#options);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  async state(): Promise<{
    current_vm_cid: string;
    current_disk_id: string;
    disks: { id: string; cid: string }[];
  }> {
    return JSON.parse(await readFile(this.stateFile, 'utf8')) as Awaited<ReturnType<Example['state']>>;
  }

  /** Calls a method of a CPI's executable, as a Director would; returns its result. */
  async cpi(method: string, args: readonly unknown[], plugin: 'local' | 'qemu' = 'local'): Promise<unknown> {
    const config = join(this.directory, 'cpi.json');
    await writeFile(
      config,
      JSON.stringify({ cloud: { plugin, properties: { [plugin]: { root_dir: this.localRoot } } } }),
    );
    const request = {
      method,
      arguments: args,
      context: { director_uuid: 'e2e', vm: { stemcell: { api_version: 3 } } },
      api_version: 2,
    };
    const { stdout } = await succeed(
      ['sh', '-c', `printf '%s' "$1" | bin/cpi-${plugin} "$2"`, 'sh', JSON.stringify(request), config],
      this.#options,
    );
    const answer = JSON.parse(stdout) as { result: unknown; error: { message: string } | null };
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result;
  }

  /** A value of the evaluated manifest. */
  async value(path: string): Promise<string> {
    const { stdout } = await succeed(
      this.command('interpolate', '--vars-store', this.creds, '--path', path),
      this.#options,
    );
    return stdout.replace(/\n$/, '');
  }

  /** A request to the service, its certificate verified against the CA of the vars-store. */
  async request(
    method: string,
    path: string,
    options: { readonly body?: string; readonly admin?: boolean } = {},
  ): Promise<{ readonly status: number; readonly text: string }> {
    const dispatcher = new Agent({
      connect: { ca: await this.value('/readiness/0/ca') },
      headersTimeout: this.requestMs,
    });
    const headers: Record<string, string> = {};
    if (options.admin) {
      const password = await this.value('/instance_groups/name=registry/properties/registry/password');
      headers['authorization'] = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`;
    }
    try {
      const response = await fetch(`https://${this.address}:25777${path}`, {
        method,
        dispatcher,
        headers,
        ...(options.body === undefined ? {} : { body: options.body }),
        signal: AbortSignal.timeout(this.requestMs),
      });
      return { status: response.status, text: await response.text() };
    } finally {
      await dispatcher.close();
    }
  }

  async putSettings(id: string, settings: string): Promise<void> {
    const { status, text } = await this.request('PUT', `/instances/${id}/settings`, {
      body: settings,
      admin: true,
    });
    if (status !== 200) throw new Error(`PUT answered ${status}: ${text}`);
  }

  async getSettings(id: string): Promise<string> {
    const { status, text } = await this.request('GET', `/instances/${id}/settings`, { admin: true });
    if (status !== 200) throw new Error(`GET answered ${status}: ${text}`);
    return (JSON.parse(text) as { settings: string }).settings;
  }

  /** Removes the copy; the VM must be gone. */
  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  /** For a test that failed half-way: takes down what is still there. */
  async tearDown(): Promise<void> {
    await run(this.command('delete-env', '-n'), this.#options);
    await this.remove();
  }
}
