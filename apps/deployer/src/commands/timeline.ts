import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { renderTimelineHtml, renderTimelineText, timelineOf } from '../output/timeline.ts';
import { olderLog } from '../state/bounded-log.ts';
import { environmentPaths } from '../state/environment-paths.ts';

/** What the runs on this environment did, step by step, with times. */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const paths = environmentPaths(args[0] ?? '', textOption(options, 'state'), context.cwd);
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const lines = `${await read(olderLog(paths.events))}${await read(paths.events)}`
    .split('\n')
    .filter((line) => line !== '');
  const runs = timelineOf(lines.map(parse).filter((event) => event !== undefined));
  const html = textOption(options, 'html');
  if (html !== undefined) {
    await writeFileDurably(resolve(context.cwd, html), renderTimelineHtml(runs));
    return exitCodes.done;
  }
  context.console.block(renderTimelineText(runs));
  return exitCodes.done;
}

/** The last line may be half of one: its writer was killed. */
function parse(line: string): JsonObject | undefined {
  try {
    const event: unknown = JSON.parse(line);
    return isJsonObject(event) ? event : undefined;
  } catch {
    return undefined;
  }
}
