import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { errorCode } from '@microbosh/errors';
import { parseLegacyDeployments } from '@microbosh/spec';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { MicroRefused } from '../errors.ts';
import { MicroConfig } from '../micro/micro-config.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { currentStemcell } from '../state/environment-state.ts';
import { legacyFileOf } from '../state/legacy-import.ts';
import { StateStore } from '../state/state-store.ts';

interface Row {
  readonly name: string;
  readonly vm: string;
  readonly stemcell: string;
}

/** All deployments that were ever selected, and those in an old state file of the working directory. */
export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const config = await MicroConfig.open(options, context);
  const rows = [...(await selectedRows(config, context)), ...(await legacyRows(context))];
  if (rows.length === 0) {
    throw new MicroRefused('No deployments', {
      advice: 'Deploy one: microbosh micro deployment NAME, then microbosh micro deploy STEMCELL.',
    });
  }
  if (context.global.json) context.console.json({ deployments: rows.map((row) => ({ ...row })) });
  else context.console.block(`${table(rows)}\nDeployments total: ${rows.length}\n`);
  return exitCodes.done;
}

async function selectedRows(config: MicroConfig, context: CommandContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const manifest of new Set(Object.values(config.deployments))) {
    const paths = environmentPaths(manifest, undefined, context.cwd);
    if (!existsSync(paths.state)) continue;
    const { current } = await StateStore.open(paths);
    rows.push({
      name: current.own.deployment ?? manifest,
      vm: current.current_vm_cid || 'n/a',
      stemcell: currentStemcell(current)?.name ?? 'n/a',
    });
  }
  return rows;
}

async function legacyRows(context: CommandContext): Promise<Row[]> {
  const file = legacyFileOf('micro_bosh.yml', context.cwd);
  try {
    return parseLegacyDeployments(await readFile(file, 'utf8'), file).map((row) => ({
      name: row.name,
      vm: row.vmCid || 'n/a',
      stemcell: row.stemcellName || 'n/a',
    }));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function table(rows: readonly Row[]): string {
  const all = [{ name: 'Name', vm: 'VM name', stemcell: 'Stemcell name' }, ...rows];
  const width = (pick: (row: Row) => string) => Math.max(...all.map((row) => pick(row).length));
  const [name, vm, stemcell] = [
    width((row) => row.name),
    width((row) => row.vm),
    width((row) => row.stemcell),
  ];
  const line = `+${'-'.repeat(name + 2)}+${'-'.repeat(vm + 2)}+${'-'.repeat(stemcell + 2)}+`;
  const cells = all.map(
    (row) => `| ${row.name.padEnd(name)} | ${row.vm.padEnd(vm)} | ${row.stemcell.padEnd(stemcell)} |`,
  );
  return [line, cells[0], line, ...cells.slice(1), line, ''].join('\n');
}
