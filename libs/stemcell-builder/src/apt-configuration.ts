import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import type { CommandRunner } from '@microbosh/host';
import { StemcellRequestInvalid } from './errors.ts';

/** Where this machine's apt gets packages from, and how. */
export interface AptConfiguration {
  /** Files of the format sources.list(5). */
  readonly sourceFiles: readonly string[];
  /** Lines of the format apt.conf(5) that concern fetching. */
  readonly acquireOptions: readonly string[];
}

/** mmdebstrap does not read the host's apt configuration by itself; no host of a mirror is written down anywhere else. */
export async function readAptConfiguration(runner: CommandRunner): Promise<AptConfiguration> {
  const paths = await runner.run([
    'apt-config',
    'shell',
    'LIST',
    'Dir::Etc::sourcelist/f',
    'PARTS',
    'Dir::Etc::sourceparts/d',
  ]);
  const values = parseShellAssignments(paths.stdout);
  const sourceFiles: string[] = [];
  const list = values.get('LIST');
  if (list !== undefined && (await hasContent(list))) sourceFiles.push(list);
  const parts = values.get('PARTS');
  for (const name of await namesIn(parts)) {
    const path = join(parts ?? '', name);
    if (/\.(list|sources)$/.test(name) && (await hasContent(path))) sourceFiles.push(path);
  }
  if (sourceFiles.length === 0) {
    throw new StemcellRequestInvalid('The apt of this machine has no package sources', {
      advice: 'Add the Debian archive, or a mirror of it, to /etc/apt/sources.list.d.',
    });
  }
  const dump = await runner.run(['apt-config', 'dump']);
  return { sourceFiles, acquireOptions: acquireOptionsOf(dump.stdout) };
}

/** `NAME='value'` lines, as `apt-config shell` prints them. */
export function parseShellAssignments(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const match of text.matchAll(/^(\w+)='(.*)'$/gm)) {
    values.set(match[1] ?? '', (match[2] ?? '').replaceAll("'\\''", "'"));
  }
  return values;
}

export function acquireOptionsOf(dump: string): string[] {
  return dump
    .split('\n')
    .filter((line) => /^Acquire::(Check-|http|https|Retries)/.test(line) && !line.includes('""'));
}

async function namesIn(directory: string | undefined): Promise<string[]> {
  if (directory === undefined) return [];
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function hasContent(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
