import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { succeed } from './commands.ts';
import type { Example } from './example.ts';

/** A VM of the local provider seen from outside, through /proc: the processes of its PID namespace. */
export class VmView {
  readonly cid: string;
  readonly initPid: number;
  readonly #namespace: string;

  private constructor(cid: string, initPid: number) {
    this.cid = cid;
    this.initPid = initPid;
    this.#namespace = readlinkSync(`/proc/${initPid}/ns/pid`);
  }

  /** The one VM of this copy of the example: the process with PID 1 whose mounts come from its folder. */
  static async of(example: Example): Promise<VmView> {
    const { current_vm_cid: cid } = await example.state();
    for (const pid of pids()) {
      const status = read(`/proc/${pid}/status`);
      const inner = /^NSpid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
      if (inner.length < 2 || inner.at(-1) !== '1') continue;
      if (read(`/proc/${pid}/mountinfo`).includes(example.localRoot)) return new VmView(cid, pid);
    }
    throw new Error(`no running VM of ${example.localRoot}`);
  }

  /** Commands of all processes in the VM, by pid of this machine. */
  processes(): Map<number, string> {
    const found = new Map<number, string>();
    for (const pid of pids()) {
      try {
        if (readlinkSync(`/proc/${pid}/ns/pid`) !== this.#namespace) continue;
      } catch {
        continue;
      }
      found.set(pid, read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim());
    }
    return found;
  }

  /** pid, on this machine, of the one process whose command contains the text. */
  pidOf(text: string): number {
    const matching = [...this.processes()].filter(([, command]) => command.includes(text));
    if (matching.length !== 1) throw new Error(`${matching.length} processes run '${text}'`);
    return (matching[0] as [number, string])[0];
  }

  /** Runs a shell script as root in all namespaces of the VM; answers its output without the last newline. */
  async run(script: string): Promise<string> {
    const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--cgroup'];
    const { stdout } = await succeed(
      ['nsenter', '--target', String(this.initPid), ...namespaces, 'sh', '-c', script],
      { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }, timeoutMs: 60_000 },
    );
    return stdout.trimEnd();
  }

  /** Device that is mounted at a path inside the VM. */
  mountSource(path: string): string | undefined {
    const line = read(`/proc/${this.initPid}/mounts`)
      .split('\n')
      .find((candidate) => candidate.split(' ')[1] === path);
    return line?.split(' ')[0];
  }
}

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
