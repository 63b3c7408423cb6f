import { randomInt } from 'node:crypto';
import { access, constants } from 'node:fs/promises';
import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { CommandFailed, NodeCommandRunner, type CommandRunner, type SecretRegister } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import type { CallContext, Cpi, CpiInfo, CreatedVm } from './contract.ts';
import {
  CpiAnswerInvalid,
  CpiCrashed,
  CpiNotExecutable,
  CpiTimedOut,
  NotImplemented,
  errorFromWire,
} from './errors.ts';
import { decodeResponse, encodeContext, encodeRequest, redactRequest, type CpiResponse } from './wire.ts';

export interface ProcessCpiOptions {
  readonly executable: string;
  /** Our own executables take the path of their cpi.json; those of CPI releases take nothing. */
  readonly args?: readonly string[];
  /** `BOSH_PACKAGES_DIR` and `BOSH_JOBS_DIR` of an installed CPI release. */
  readonly env?: Readonly<Record<string, string>>;
  /** Per call. Default one hour: uploads of images are slow, but a hung call must not hang the deploy for ever. */
  readonly timeoutMs?: number;
  /** Ends the call under way and refuses further ones; beside the signal of each call. */
  readonly signal?: AbortSignal;
  /** Send `context.microbosh.token`: only to our own CPIs, others take it for configuration. Default false. */
  readonly sendsToken?: boolean;
  readonly secrets?: SecretRegister;
  /** Lines for the debug log, redacted: requests, standard error as it comes, the field `log`. */
  readonly log?: (line: string) => void;
  readonly runner?: CommandRunner;
}

const highestApiVersion = 2;
const maxAnswerBytes = 16 << 20;
const anyExitCode = Array.from({ length: 256 }, (_, code) => code);

/**
 * Drives any CPI executable by its contract, v1 or v2: one process per call, in a process group of its own that is
 * killed at the time limit and on cancellation. `info` is asked once. An answer is taken whatever the exit status is; no
 * answer is a crash, told with the end of standard error.
 */
export class ProcessCpi implements Cpi {
  readonly #options: ProcessCpiOptions;
  readonly #runner: CommandRunner;
  #info: Promise<CpiInfo> | undefined;

  constructor(options: ProcessCpiOptions) {
    this.#options = options;
    this.#runner = options.runner ?? new NodeCommandRunner();
  }

  async info(context: CallContext): Promise<CpiInfo> {
    this.#info ??= this.#askInfo(context);
    try {
      return await this.#info;
    } catch (error) {
      this.#info = undefined;
      throw error;
    }
  }

  async createStemcell(
    context: CallContext,
    imagePath: string,
    cloudProperties: JsonObject | null,
  ): Promise<string> {
    return this.#cid(
      'create_stemcell',
      await this.#call(context, 'create_stemcell', [imagePath, cloudProperties]),
    );
  }

  async deleteStemcell(context: CallContext, stemcellCid: string): Promise<void> {
    await this.#call(context, 'delete_stemcell', [stemcellCid]);
  }

  async createVm(
    context: CallContext,
    agentId: string,
    stemcellCid: string,
    cloudProperties: JsonObject,
    networks: NetworksSpec,
    diskCids: readonly string[],
    env: JsonObject,
  ): Promise<CreatedVm> {
    const args = [agentId, stemcellCid, cloudProperties, networks as unknown as Json, diskCids, env];
    const result = await this.#call(context, 'create_vm', args);
    const [cid, answered] = Array.isArray(result) ? (result as readonly Json[]) : [result];
    const known = isJsonObject(answered) && Object.keys(answered).length > 0;
    return {
      cid: this.#cid('create_vm', cid ?? null),
      ...(known && { networks: answered as unknown as NetworksSpec }),
    };
  }

  async deleteVm(context: CallContext, vmCid: string): Promise<void> {
    await this.#call(context, 'delete_vm', [vmCid]);
  }

  async hasVm(context: CallContext, vmCid: string): Promise<boolean> {
    return this.#boolean('has_vm', await this.#call(context, 'has_vm', [vmCid]));
  }

  async rebootVm(context: CallContext, vmCid: string): Promise<void> {
    await this.#call(context, 'reboot_vm', [vmCid]);
  }

  async setVmMetadata(
    context: CallContext,
    vmCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#call(context, 'set_vm_metadata', [vmCid, metadata]);
  }

  async createDisk(
    context: CallContext,
    sizeMiB: number,
    cloudProperties: JsonObject,
    vmCid: string | null,
  ): Promise<string> {
    return this.#cid(
      'create_disk',
      await this.#call(context, 'create_disk', [sizeMiB, cloudProperties, vmCid]),
    );
  }

  async deleteDisk(context: CallContext, diskCid: string): Promise<void> {
    await this.#call(context, 'delete_disk', [diskCid]);
  }

  async hasDisk(context: CallContext, diskCid: string): Promise<boolean> {
    return this.#boolean('has_disk', await this.#call(context, 'has_disk', [diskCid]));
  }

  async attachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<Json> {
    return this.#call(context, 'attach_disk', [vmCid, diskCid]);
  }

  async detachDisk(context: CallContext, vmCid: string, diskCid: string): Promise<void> {
    await this.#call(context, 'detach_disk', [vmCid, diskCid]);
  }

  async getDisks(context: CallContext, vmCid: string): Promise<readonly string[]> {
    const result = await this.#call(context, 'get_disks', [vmCid]);
    if (Array.isArray(result) && result.every((item) => typeof item === 'string')) return result;
    throw this.#unexpected('get_disks', result);
  }

  async setDiskMetadata(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#call(context, 'set_disk_metadata', [diskCid, metadata]);
  }

  async resizeDisk(context: CallContext, diskCid: string, newSizeMiB: number): Promise<void> {
    await this.#call(context, 'resize_disk', [diskCid, newSizeMiB]);
  }

  async snapshotDisk(
    context: CallContext,
    diskCid: string,
    metadata: Readonly<Record<string, string>>,
  ): Promise<string> {
    return this.#cid('snapshot_disk', await this.#call(context, 'snapshot_disk', [diskCid, metadata]));
  }

  async deleteSnapshot(context: CallContext, snapshotCid: string): Promise<void> {
    await this.#call(context, 'delete_snapshot', [snapshotCid]);
  }

  async calculateVmCloudProperties(
    context: CallContext,
    requirements: { readonly cpu: number; readonly ram: number; readonly ephemeral_disk_size: number },
  ): Promise<JsonObject> {
    const method = 'calculate_vm_cloud_properties';
    const result = await this.#call(context, method, [requirements]);
    if (isJsonObject(result)) return result;
    throw this.#unexpected(method, result);
  }

  async #askInfo(context: CallContext): Promise<CpiInfo> {
    try {
      const result = await this.#send(context, 'info', [], 1);
      const formats = isJsonObject(result) ? (result['stemcell_formats'] ?? []) : undefined;
      const version = isJsonObject(result) ? (result['api_version'] ?? 1) : undefined;
      if (
        !Array.isArray(formats) ||
        !formats.every((format) => typeof format === 'string') ||
        typeof version !== 'number'
      )
        throw this.#unexpected('info', result);
      return { stemcell_formats: formats, api_version: version };
    } catch (error) {
      if (error instanceof NotImplemented) return { stemcell_formats: [], api_version: 1 };
      throw error;
    }
  }

  async #call(context: CallContext, method: string, args: readonly Json[]): Promise<Json> {
    const { api_version: reported } = await this.info(context);
    return this.#send(context, method, args, Math.min(reported, highestApiVersion));
  }

  async #send(
    context: CallContext,
    method: string,
    args: readonly Json[],
    apiVersion: number,
  ): Promise<Json> {
    const requestId = context.requestId === '' ? `cpi-${randomInt(100_000, 1_000_000)}` : context.requestId;
    const request = {
      method,
      arguments: args,
      context: encodeContext({ ...context, requestId }, { withToken: this.#options.sendsToken ?? false }),
      apiVersion,
    };
    this.#log(`${requestId} request ${JSON.stringify(redactRequest(request))}`);
    const signals = [context.signal, this.#options.signal].filter((signal) => signal !== undefined);
    const signal = signals.length === 0 ? undefined : AbortSignal.any(signals);
    const { result, error, log } = await this.#run(encodeRequest(request), requestId, method, signal);
    for (const line of log.split('\n')) if (line !== '') this.#log(`${requestId} log ${line}`);
    if (error !== null) {
      this.#log(`${requestId} error ${error.type} ${error.message}`);
      const message = this.#redact(error.message);
      throw errorFromWire({ ...error, message }, { cid: args[0] ?? null });
    }
    return result;
  }

  async #run(
    request: string,
    requestId: string,
    method: string,
    signal: AbortSignal | undefined,
  ): Promise<CpiResponse> {
    const { executable, args = [], timeoutMs = 3_600_000 } = this.#options;
    await assertExecutable(executable);
    const deadline = AbortSignal.timeout(timeoutMs);
    const stderr = new LineSplitter((line) => this.#log(`${requestId} stderr ${line}`));
    try {
      const {
        stdout,
        exitCode,
        stderr: tail,
      } = await this.#runner.run([executable, ...args], {
        stdin: request,
        env: this.#environment(),
        signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
        timeoutMs: timeoutMs + 10_000,
        maxOutputBytes: maxAnswerBytes,
        okExitCodes: anyExitCode,
        onOutput: (stream, chunk) => {
          if (stream === 'stderr') stderr.push(chunk);
        },
      });
      return this.#answer(method, stdout, exitCode, tail);
    } catch (error) {
      signal?.throwIfAborted();
      if (deadline.aborted) {
        throw new CpiTimedOut(
          `The CPI did not answer '${method}' within ${timeoutMs / 1000} s and was ended`,
          {
            cause: error,
            advice: 'See in the cloud what the call has done; running the command again reconciles it.',
          },
        );
      }
      if (!(error instanceof CommandFailed)) throw error;
      throw new CpiCrashed(`The CPI ended without an answer to '${method}'${this.#tailOf(error.stderr)}`, {
        details: { method },
      });
    } finally {
      stderr.end();
    }
  }

  #answer(method: string, stdout: string, exitCode: number, stderr: string): CpiResponse {
    if (stdout.trim() === '') {
      throw new CpiCrashed(
        `The CPI ended with exit status ${exitCode} and without an answer to '${method}'${this.#tailOf(stderr)}`,
        { details: { method, exitCode } },
      );
    }
    try {
      return decodeResponse(stdout);
    } catch (error) {
      if (!(error instanceof CpiAnswerInvalid)) throw error;
      throw new CpiAnswerInvalid(
        `The CPI's answer to '${method}' cannot be used: ${this.#redact(error.message)}; standard output begins with: ${this.#redact(stdout.slice(0, 300))}${this.#tailOf(stderr)}`,
        {
          details: { method, exitCode },
          ...(method.startsWith('create_') && {
            advice: 'The call may have made a resource that nobody knows: look for it in the cloud.',
          }),
        },
      );
    }
  }

  #environment(): Record<string, string> {
    const inherited: Record<string, string> = {};
    for (const [name, value] of Object.entries(process.env)) if (value !== undefined) inherited[name] = value;
    return { ...inherited, PATH: completePath(inherited['PATH']), ...this.#options.env };
  }

  #cid(method: string, result: Json): string {
    if (typeof result === 'string' && result !== '') return result;
    throw this.#unexpected(method, result);
  }

  #boolean(method: string, result: Json): boolean {
    if (typeof result === 'boolean') return result;
    throw this.#unexpected(method, result);
  }

  #unexpected(method: string, result: Json): CpiAnswerInvalid {
    const text = this.#redact(JSON.stringify(result)).slice(0, 300);
    return new CpiAnswerInvalid(`Unexpected result of the CPI's method '${method}': ${text}`, {
      details: { method },
      ...(method.startsWith('create_') && {
        advice: 'The call may have made a resource that nobody knows: look for it in the cloud.',
      }),
    });
  }

  #tailOf(stderr: string): string {
    const lines = this.#redact(stderr).trimEnd().split('\n').slice(-20);
    return lines.join('').trim() === '' ? '' : `; standard error ends with:\n${lines.join('\n')}`;
  }

  #log(line: string): void {
    this.#options.log?.(this.#redact(line));
  }

  #redact(text: string): string {
    return this.#options.secrets?.redact(text) ?? text;
  }
}

/** CPIs call tools of the system by name; some callers start us with a short PATH. */
function completePath(path = ''): string {
  const parts = path.split(':').filter((part) => part !== '');
  for (const part of ['/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']) {
    if (!parts.includes(part)) parts.push(part);
  }
  return parts.join(':');
}

async function assertExecutable(path: string): Promise<void> {
  try {
    await access(path, constants.X_OK);
  } catch (error) {
    throw new CpiNotExecutable(`Failed to run cpi: '${path}' is not executable`, {
      cause: error,
      advice: 'Check that the CPI release was installed completely; run the command again to install it.',
    });
  }
}

/** Hands on whole lines; a line without end is cut at 64 KiB. */
class LineSplitter {
  readonly #emit: (line: string) => void;
  #rest = '';

  constructor(emit: (line: string) => void) {
    this.#emit = emit;
  }

  push(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('utf8')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#emit(line);
    if (this.#rest.length > 65_536) this.end();
  }

  end(): void {
    if (this.#rest !== '') this.#emit(this.#rest);
    this.#rest = '';
  }
}
