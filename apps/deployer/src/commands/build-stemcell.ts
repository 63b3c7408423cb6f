import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import {
  buildStemcell,
  iaasNames,
  isIaas,
  StemcellRequestInvalid,
  type BuildProgress,
} from '@microbosh/stemcell-builder';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { listOption, textOption } from '../cli/context.ts';

const checkout = join(import.meta.dirname, '../../../..');
/** Installed, the program has no checkout around it: what is not named is in the working directory. */
const isCheckout = existsSync(join(checkout, 'packaging/agent/build'));
/** 2026-01-01T00:00:00Z, unless SOURCE_DATE_EPOCH says otherwise. */
const defaultEpoch = 1_767_225_600;

export async function run(
  context: CommandContext,
  _args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const iaas = textOption(options, 'iaas') ?? '';
  if (!isIaas(iaas)) {
    throw new StemcellRequestInvalid(
      iaas === '' ? 'Say for which IaaS, with --iaas' : `Unknown IaaS '${iaas}'`,
      { advice: `Known: ${iaasNames.join(', ')}.` },
    );
  }
  const path = (name: string, fallback: string) => {
    const given = textOption(options, name);
    return given === undefined
      ? join(isCheckout ? checkout : context.cwd, fallback)
      : resolve(context.cwd, given);
  };
  const agentPackage = path('agent', 'dist/agent/microbosh-agent.deb');
  await requireFile(agentPackage);
  const compilers = options['compilers'] !== false;
  const cacheDirectory = textOption(options, 'cache');
  const micro = textOption(options, 'micro');
  const jobs = listOption(options, 'job');
  if ((micro === undefined) !== (jobs.length === 0)) {
    throw new StemcellRequestInvalid('--micro and --job belong together');
  }
  const built = await buildStemcell(
    new NodeCommandRunner(),
    {
      iaas,
      os: textOption(options, 'os') ?? 'debian-12',
      version: textOption(options, 'stemcellVersion') ?? '0.1',
      agentPackage,
      outputDirectory: path('out', 'dist/stemcells'),
      diskMiB: sizeOption(textOption(options, 'disk')) ?? (compilers ? 3072 : 2048),
      compilers,
      sourceDateEpoch: epochOf(context.env['SOURCE_DATE_EPOCH']),
      signal: context.signal,
      ...(micro !== undefined && { micro: { release: resolve(context.cwd, micro), jobs } }),
      ...(cacheDirectory !== undefined && { cacheDirectory: resolve(context.cwd, cacheDirectory) }),
    },
    progressOf(context),
  );
  context.console.block(`${built.path}\n`);
  context.events.message(
    `${mebibytes(built.sizeBytes)} MiB; image ${mebibytes(built.imageBytes)} MiB, root file system ${mebibytes(built.rootFilesystemBytes)} MiB, sha256 ${built.rootFilesystemSha256}`,
  );
  return 0;
}

function progressOf(context: CommandContext): BuildProgress {
  return {
    step: (name, body) => context.events.step(name, (step) => body((message) => step.progress({ message }))),
  };
}

function sizeOption(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{2,6}$/.test(text)) {
    throw new StemcellRequestInvalid(`'${text}' is not a disk size`, { advice: 'Give a number of MiB.' });
  }
  return Number(text);
}

function epochOf(text: string | undefined): number {
  if (text === undefined || text === '') return defaultEpoch;
  if (!/^\d{1,12}$/.test(text)) {
    throw new StemcellRequestInvalid(`SOURCE_DATE_EPOCH is not a number of seconds: '${text}'`);
  }
  return Number(text);
}

async function requireFile(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    throw new StemcellRequestInvalid(`There is no agent package at ${path}`, {
      cause: error,
      advice: 'Build it with: npm run bundle && packaging/agent/build',
    });
  }
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
