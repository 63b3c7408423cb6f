import { messageOf } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { gunzipSync } from 'node:zlib';
import type { SettingsSourceOptions } from '../../config/agent-config.ts';
import { SettingsUnavailable } from '../errors.ts';
import { decodeUserData } from '../settings-document.ts';
import type { MachineData, ReadOptions, SettingsSource } from './settings-source.ts';

type GuestInfoOptions = Extract<SettingsSourceOptions, { Type: 'VsphereGuestInfo' }>;

/** The variable `guestinfo.userdata` of a vSphere machine: base64, compressed or not. */
export class VsphereGuestInfoSource implements SettingsSource {
  readonly name = 'VsphereGuestInfo';
  readonly needsNetwork = false;
  readonly #tools: readonly (readonly [string, ...string[]])[];
  readonly #runner: CommandRunner;

  constructor(options: GuestInfoOptions, runner: CommandRunner) {
    this.#runner = runner;
    this.#tools = [[options.RpcToolPath || 'vmware-rpctool'], [options.VmToolsdPath || 'vmtoolsd', '--cmd']];
  }

  async read(options: ReadOptions): Promise<MachineData> {
    const problems: string[] = [];
    for (const tool of this.#tools) {
      try {
        const answer = await this.#runner.run([...tool, 'info-get guestinfo.userdata'], {
          timeoutMs: 10_000,
          ...(options.signal ? { signal: options.signal } : {}),
        });
        return { document: decodeUserData(decodeGuestInfo(answer.stdout), this.name) };
      } catch (error) {
        options.signal?.throwIfAborted();
        problems.push(messageOf(error));
      }
    }
    throw new SettingsUnavailable(`guestinfo.userdata cannot be read: ${problems.join('; ')}`);
  }

  async readPublicKey(): Promise<string | undefined> {
    return undefined;
  }
}

/** Text of a guestinfo value. */
export function decodeGuestInfo(value: string): string {
  const bytes = Buffer.from(value.trim(), 'base64');
  const compressed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return (compressed ? gunzipSync(bytes, { maxOutputLength: 8 << 20 }) : bytes).toString('utf8');
}
