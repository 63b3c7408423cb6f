import { readdir, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { decodeState } from '../state/state-document.ts';

const maxDepth = 5;

/** The environments whose state files are in these folders, or below them. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  _options: CommandOptions,
): Promise<number> {
  const found: JsonObject[] = [];
  for (const folder of args.length === 0 ? ['.'] : args) {
    for await (const file of stateFiles(resolve(context.cwd, folder), 0)) {
      const environment = await describe(file);
      if (environment !== undefined) found.push({ state: relative(context.cwd, file), ...environment });
    }
  }
  if (context.global.json) context.console.json({ type: 'environments', environments: found });
  else context.console.block(asText(found));
  return exitCodes.done;
}

async function* stateFiles(folder: string, depth: number): AsyncGenerator<string> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isFile() && entry.name.endsWith('-state.json')) yield path;
    const isSearched = entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules';
    if (isSearched && !entry.name.endsWith('.json.d') && depth < maxDepth) yield* stateFiles(path, depth + 1);
  }
}

/** Undefined: another program's file of that name. */
async function describe(file: string): Promise<JsonObject | undefined> {
  const text = await readFile(file, 'utf8');
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isJsonObject(document) || typeof document['director_id'] !== 'string') return undefined;
  const { state } = decodeState(text, file, '');
  return {
    deployment: state.own.deployment ?? null,
    vm: state.current_vm_cid || null,
    address: state.own.vm?.address ?? null,
    disks: (state.disks ?? []).map(({ cid }) => cid),
    deployed_at: state.own.deployed_at ?? null,
    complete: state.own.deployed !== undefined || state.own.deployed_at !== undefined,
  };
}

function asText(found: readonly JsonObject[]): string {
  if (found.length === 0) return 'No environments.\n';
  const text = (value: unknown) => (typeof value === 'string' ? value : '-');
  return found
    .map(
      (environment) =>
        `${text(environment['state'])}\n  deployment ${text(environment['deployment'])}, VM ${text(environment['vm'])}, address ${text(environment['address'])}, deployed at ${text(environment['deployed_at'])}\n`,
    )
    .join('');
}
