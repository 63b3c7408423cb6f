import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { ConformanceCheck } from './contract-checks.ts';

export interface ExecutableUnderTest {
  readonly argv: readonly [string, ...string[]];
  /** Answered by every CPI without the infrastructure. Default `has_vm`'s. */
  readonly absentVmCid: string;
}

const context = { director_uuid: 'conformance', request_id: 'cpi-100000' };
/** A Director starts CPIs with nothing else. */
const bareEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
const directorTypes = [
  'CpiError',
  'NotImplemented',
  'NotSupported',
  'CloudError',
  'VMNotFound',
  'NetworkNotFound',
  'NoDiskSpace',
  'DiskNotAttached',
  'DiskNotFound',
  'VMCreationFailed',
].map((name) => `Bosh::Clouds::${name}`);

/** The process contract of a CPI executable: one document out, exit status 0, errors as documents. */
export function processChecks(cpi: ExecutableUnderTest): readonly ConformanceCheck[] {
  const runner = new NodeCommandRunner();

  async function answer(stdin: string): Promise<JsonObject> {
    const { stdout } = await runner.run(cpi.argv, { stdin, env: bareEnvironment, timeoutMs: 120_000 });
    const value: unknown = JSON.parse(stdout);
    if (!isJsonObject(value)) throw new Error(`the answer is not an object: ${stdout.slice(0, 200)}`);
    for (const key of ['result', 'error', 'log']) {
      if (!(key in value)) throw new Error(`the answer has no '${key}'`);
    }
    if (typeof value['log'] !== 'string') throw new Error("'log' is not a text");
    return value;
  }

  async function call(request: Readonly<Record<string, Json>>): Promise<JsonObject> {
    return answer(JSON.stringify(request));
  }

  async function refuses(stdin: string, ...types: readonly string[]): Promise<void> {
    const { error, result } = await answer(stdin);
    if (!isJsonObject(error)) throw new Error(`no error but ${JSON.stringify(result)}`);
    if (typeof error['ok_to_retry'] !== 'boolean') throw new Error("'ok_to_retry' is not a boolean");
    if (typeof error['message'] !== 'string' || error['message'] === '') throw new Error('no message');
    const type = JSON.stringify(error['type'] ?? null);
    if (!types.some((allowed) => type === JSON.stringify(allowed))) throw new Error(`the type is ${type}`);
  }

  return [
    {
      name: 'info answers in a bare environment with all three keys, with and without api_version',
      run: async () => {
        for (const version of [{}, { api_version: 1 }, { api_version: 2 }]) {
          const { error, result } = await call({ method: 'info', arguments: [], context, ...version });
          if (error !== null) throw new Error(JSON.stringify(error));
          if (!isJsonObject(result) || typeof result['api_version'] !== 'number')
            throw new Error(`api_version is missing: ${JSON.stringify(result)}`);
        }
      },
    },
    {
      name: 'has_vm answers a boolean in both API versions and tolerates unknown keys in the context of a VM',
      run: async () => {
        for (const version of [1, 2]) {
          const { result, error } = await call({
            method: 'has_vm',
            arguments: [cpi.absentVmCid],
            context: { ...context, vm: { stemcell: { api_version: 3 } } },
            api_version: version,
          });
          if (result !== false) throw new Error(`it is ${JSON.stringify(result)}, ${JSON.stringify(error)}`);
        }
      },
    },
    {
      name: 'an unknown method is answered with NotImplemented',
      run: () =>
        refuses(
          JSON.stringify({ method: 'no_such_method', arguments: [], context, api_version: 2 }),
          'Bosh::Clouds::NotImplemented',
        ),
    },
    {
      name: 'a request that is not JSON, no object, or has no method is answered with an error',
      run: async () => {
        for (const text of ['', 'null', '[]', '{', '{"arguments":[],"context":{}}']) {
          await refuses(text, 'Bosh::Clouds::CpiError');
        }
      },
    },
    {
      name: 'wrong arguments are answered with an error that a Director knows',
      run: async () => {
        const requests: Readonly<Record<string, Json>>[] = [
          { method: 'has_vm', arguments: null },
          { method: 'has_vm', arguments: [] },
          { method: 'has_vm', arguments: [''] },
          { method: 'has_vm', arguments: [7] },
          { method: 'create_disk', arguments: ['large', {}, null] },
          { method: 'create_disk', arguments: [0, {}, null] },
          { method: 'create_vm', arguments: ['agent', 'stemcell'] },
          { method: 'attach_disk', arguments: [cpi.absentVmCid, ''] },
        ];
        for (const request of requests) {
          await refuses(JSON.stringify({ ...request, context, api_version: 2 }), ...directorTypes);
        }
      },
    },
    {
      name: 'an absent VM is an error of a type that a Director knows',
      run: () =>
        refuses(
          JSON.stringify({ method: 'reboot_vm', arguments: [cpi.absentVmCid], context, api_version: 2 }),
          ...directorTypes,
        ),
    },
  ];
}
