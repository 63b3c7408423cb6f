import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { NodeCommandRunner } from '@microbosh/host';
import { ownCertificate } from '../clouds/own-certificate.ts';

const runner = new NodeCommandRunner();
const source = join(import.meta.dirname, 'vcsim');

/** Builds the simulator through the Go module proxy; throws when this machine cannot. */
export async function buildVcsim(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const program = join(directory, 'vcsim');
  await runner.run(['go', 'build', '-C', source, '-o', program, '.'], { timeoutMs: 1_500_000 });
  return program;
}

/** Where the simulator's types are: a judge of the order of elements that is not ours. */
export async function govmomiTypes(): Promise<string> {
  const format = ['-f', '{{.Dir}}'];
  const argv = ['go', 'list', '-C', source, '-m', ...format, 'github.com/vmware/govmomi'] as const;
  const { stdout } = await runner.run([...argv]);
  const types = join(stdout.trim(), 'vim25/types');
  return `${await readFile(join(types, 'types.go'), 'utf8')}\n${await readFile(join(types, 'if.go'), 'utf8')}`;
}

/** A vCenter with one cluster and two datastores, on loopback. */
export class Vcsim {
  readonly host: string;
  readonly password: string;
  readonly ca: string;
  /** Of the certificate, for a proxy in front. */
  readonly key: string;
  readonly #process: ChildProcess;

  private constructor(host: string, password: string, tls: { ca: string; key: string }, child: ChildProcess) {
    this.host = host;
    this.password = password;
    this.ca = tls.ca;
    this.key = tls.key;
    this.#process = child;
  }

  static async start(program: string, work: string): Promise<Vcsim> {
    const { certificatePath, keyPath, cert, key } = await ownCertificate(work);
    const password = randomBytes(12).toString('hex');
    const env = { ...process.env, VCSIM_PASSWORD: password, TMPDIR: work };
    const child = spawn(program, [certificatePath, keyPath], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout });
    const host = await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      child.once('exit', (status) => reject(new Error(`vcsim ended with status ${status}`)));
    });
    return new Vcsim(host, password, { ca: cert, key }, child);
  }

  /** The simulator ends with its standard input, and removes its files. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin?.end();
    await ended;
  }
}
