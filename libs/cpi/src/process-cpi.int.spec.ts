import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isJsonObject } from '@microbosh/errors';
import { SecretRegister } from '@microbosh/host';
import type { CallContext } from './contract.ts';
import { contractChecks } from './conformance/contract-checks.ts';
import { runChecks } from './conformance/run-checks.ts';
import { CpiAnswerInvalid, CpiCrashed, CpiNotExecutable, CpiTimedOut, VmNotFound } from './errors.ts';
import { ProcessCpi, type ProcessCpiOptions } from './process-cpi.ts';
import { withRetries } from './retrying-cpi.ts';

const executable = join(import.meta.dirname, '../testdata/memory-cpi.py');
const context: CallContext = { directorUuid: 'd', requestId: '', stemcellApiVersion: 3, token: 'token-1' };
const networks = { default: { type: 'manual', ip: '10.0.0.5' } } as const;

let directory: string;
let state: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-process-cpi-'));
  state = join(directory, 'state.json');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function cpiIn(mode: string, options: Partial<ProcessCpiOptions> = {}): ProcessCpi {
  return new ProcessCpi({ executable, env: { MEMORY_CPI_STATE: state, MEMORY_CPI_MODE: mode }, ...options });
}

async function calls(): Promise<readonly unknown[]> {
  const value: unknown = JSON.parse(await readFile(state, 'utf8'));
  return isJsonObject(value) && Array.isArray(value['calls']) ? (value['calls'] as unknown[]) : [];
}

describe('a CPI of another language', () => {
  it('passes the contract through its process', async () => {
    const results = await runChecks(
      contractChecks(cpiIn(''), {
        imagePath: '/image',
        stemcellCloudProperties: null,
        vmCloudProperties: {},
        networks,
        diskCloudProperties: {},
        diskSizeMiB: 64,
        knowsTokens: false,
        absent: { vm: 'vm-0', disk: 'disk-0', stemcell: 'stemcell-0' },
      }),
    );

    expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
  });

  it('is asked for info once, and spoken to in the version that it reports', async () => {
    const cpi = cpiIn('v1');

    const stemcell = await cpi.createStemcell(context, '/image', null);
    const vm = await cpi.createVm(context, 'agent', stemcell, {}, networks, [], {});
    const disk = await cpi.createDisk(context, 64, {}, vm.cid);
    const hint = await cpi.attachDisk(context, vm.cid, disk);

    expect(vm.cid).toMatch(/^vm-/);
    expect(hint).toBeNull();
    expect(await calls()).toEqual([
      ['info', 1, 0],
      ['create_stemcell', 1, 2],
      ['create_vm', 1, 6],
      ['create_disk', 1, 3],
      ['attach_disk', 1, 2],
    ]);
  });

  it('that answers create_vm of v2 with a bare text is understood', async () => {
    const cpi = cpiIn('string-for-v2');
    const stemcell = await cpi.createStemcell(context, '/image', null);

    const vm = await cpi.createVm(context, 'agent', stemcell, {}, networks, [], {});

    expect(vm.cid).toMatch(/^vm-[0-9a-f-]{36}$/);
  });

  it('is believed when it answers and ends with another status than 0', async () => {
    await expect(cpiIn('exit-code').hasVm(context, 'vm-1')).resolves.toBe(false);
  });

  it('that crashes is told with the end of its standard error', async () => {
    const failure = cpiIn('crash').hasVm(context, 'vm-1');

    await expect(failure).rejects.toBeInstanceOf(CpiCrashed);
    await expect(failure).rejects.toThrow(/exit status 3[^]*Traceback: something broke/);
  });

  it('that prints anything beside its answer is refused', async () => {
    await expect(cpiIn('banner').hasVm(context, 'vm-1')).rejects.toBeInstanceOf(CpiAnswerInvalid);
  });

  it('that hangs is ended at the time limit', async () => {
    const started = performance.now();

    await expect(cpiIn('hang', { timeoutMs: 2000 }).hasVm(context, 'vm-1')).rejects.toBeInstanceOf(
      CpiTimedOut,
    );

    expect(performance.now() - started).toBeLessThan(30_000);
  });

  it('is ended when the call is cancelled', async () => {
    const cpi = cpiIn('hang');
    await cpi.info(context);
    const cancel = new AbortController();
    const call = cpi.hasVm({ ...context, signal: cancel.signal }, 'vm-1');

    cancel.abort(new Error('stopped by the operator'));

    await expect(call).rejects.toThrow('stopped by the operator');
  });

  it('is called again within bounds when its error is ok to retry', async () => {
    const retried: string[] = [];
    const cpi = withRetries(
      cpiIn('retry-once'),
      { attempts: 3, delayMs: 1 },
      { onRetry: (method) => retried.push(method) },
    );
    const stemcell = await cpi.createStemcell(context, '/image', null);

    const vm = await cpi.createVm(context, 'agent', stemcell, {}, networks, [], {});

    expect(vm.cid).toMatch(/^vm-/);
    expect(retried).toEqual(['createVm']);
  });

  it('is not called again for an error that is final', async () => {
    const cpi = withRetries(cpiIn(''), { attempts: 3, delayMs: 1 });

    await expect(cpi.rebootVm(context, 'vm-1')).rejects.toBeInstanceOf(VmNotFound);

    expect(await calls()).toEqual([
      ['info', 1, 0],
      ['reboot_vm', 2, 1],
    ]);
  });

  it('does not get a secret into logs and errors', async () => {
    const secrets = new SecretRegister();
    secrets.add('correct-horse-battery');
    const lines: string[] = [];
    const cpi = cpiIn('leak-secret', { secrets, log: (line) => lines.push(line) });

    const failure = await cpi.rebootVm(context, 'vm-1').catch((error: unknown) => error);

    expect(String(failure)).toContain('<redacted>');
    expect(String(failure)).not.toContain('correct-horse');
    expect(lines.some((line) => line.includes('the password is <redacted>'))).toBe(true);
    expect(lines.join('\n')).not.toContain('correct-horse');
  });

  it('that is not there is named', async () => {
    const cpi = new ProcessCpi({ executable: join(directory, 'cpi') });

    await expect(cpi.info(context)).rejects.toBeInstanceOf(CpiNotExecutable);
  });
});
