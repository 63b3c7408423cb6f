import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { isJsonObject, messageOf, type JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import { ProcessCpi } from '../process-cpi.ts';
import { contractChecks } from './contract-checks.ts';
import { processChecks } from './process-checks.ts';
import { runChecks } from './run-checks.ts';

const usage = `Usage: npm run cpi-conformance -- --cpi EXECUTABLE [--config CPI.JSON] --input INPUT.JSON [--tokens] [--process-only]

Runs the CPI contract against an executable. INPUT.JSON names what to deploy:
  {"image": "/path/of/image", "stemcell_cloud_properties": {}, "vm_cloud_properties": {}, "networks": {},
   "disk_cloud_properties": {}, "disk_size": 64, "absent": {"vm": "…", "disk": "…", "stemcell": "…"}}
--tokens: the CPI is one of ours and knows idempotency tokens. --process-only: only what needs no infrastructure.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      cpi: { type: 'string' },
      config: { type: 'string' },
      input: { type: 'string' },
      tokens: { type: 'boolean', default: false },
      'process-only': { type: 'boolean', default: false },
    },
  });
  if (values.cpi === undefined || values.input === undefined) {
    process.stderr.write(usage);
    return 2;
  }
  const input = await readInput(values.input);
  const text = (key: string) => (typeof input[key] === 'string' ? input[key] : '');
  const map = (key: string): JsonObject => {
    const value = input[key];
    return isJsonObject(value) ? value : {};
  };
  const absent = {
    vm: 'vm-00000000-0000-4000-8000-000000000000',
    disk: 'disk-00000000-0000-4000-8000-000000000000',
    stemcell: 'stemcell-00000000-0000-4000-8000-000000000000',
    ...map('absent'),
  };
  const args = values.config === undefined ? [] : [values.config];
  const cpi = new ProcessCpi({ executable: values.cpi, args, sendsToken: values.tokens });
  const size = input['disk_size'];
  const checks = [
    ...processChecks({ argv: [values.cpi, ...args], absentVmCid: absent.vm }),
    ...(values['process-only']
      ? []
      : contractChecks(cpi, {
          imagePath: text('image'),
          stemcellCloudProperties: map('stemcell_cloud_properties'),
          vmCloudProperties: map('vm_cloud_properties'),
          networks: map('networks') as unknown as NetworksSpec,
          diskCloudProperties: map('disk_cloud_properties'),
          diskSizeMiB: typeof size === 'number' ? size : 1024,
          knowsTokens: values.tokens,
          absent,
        })),
  ];
  const results = await runChecks(checks, ({ name, durationMs, failure }) => {
    process.stdout.write(`${failure === undefined ? 'ok    ' : 'FAILED'} ${name} (${durationMs} ms)\n`);
    if (failure !== undefined) process.stdout.write(`       ${failure}\n`);
  });
  const failed = results.filter(({ failure }) => failure !== undefined).length;
  process.stdout.write(`${results.length - failed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

async function readInput(path: string): Promise<JsonObject> {
  const value: unknown = JSON.parse(await readFile(path, 'utf8'));
  if (!isJsonObject(value)) throw new Error(`${path} must hold a JSON object`);
  return value;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 2;
}
