import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, run } from './commands.ts';
import type { Finished } from './commands.ts';

export interface GuideCommand {
  /** Of the guide's file. */
  readonly line: number;
  /** The nearest heading above. */
  readonly section: string;
  /** As it stands in the guide; continued lines are joined. */
  readonly text: string;
}

/** The lines of every fence marked `sh`: what a guide tells its reader to type. Other fences are not run. */
export function guideCommands(markdown: string): readonly GuideCommand[] {
  const commands: GuideCommand[] = [];
  let section = '';
  let fence: string | undefined;
  let pending: { readonly line: number; readonly text: string } | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    const mark = /^\s*```(\S*)/.exec(line);
    if (mark) {
      fence = fence === undefined ? mark[1] : undefined;
      continue;
    }
    if (fence === undefined) section = /^#+ +(.*)$/.exec(line)?.[1] ?? section;
    if (fence !== 'sh' || (pending === undefined && /^\s*(#|$)/.test(line))) continue;
    const text = `${pending?.text ?? ''}${line.trim().replace(/\\$/, '')}`;
    pending = { line: pending?.line ?? index + 1, text };
    if (line.endsWith('\\')) continue;
    commands.push({ ...pending, section });
    pending = undefined;
  }
  return commands;
}

/**
 * A guide whose commands a test runs, section by section, as they stand there. Ask for `notRun` at the end: a command that
 * somebody adds to the guide fails the test until it is run too.
 */
export class Guide {
  readonly path: string;
  readonly #commands: readonly GuideCommand[];
  readonly #ran = new Set<GuideCommand>();

  private constructor(path: string, commands: readonly GuideCommand[]) {
    this.path = path;
    this.#commands = commands;
  }

  /** `path` from the top of the checkout. */
  static async read(path: string): Promise<Guide> {
    const commands = guideCommands(await readFile(join(root, path), 'utf8'));
    if (commands.length === 0) throw new Error(`${path} has no fence marked sh`);
    return new Guide(path, commands);
  }

  get notRun(): readonly string[] {
    return this.#commands
      .filter((command) => !this.#ran.has(command))
      .map(({ line, text }) => `${this.path}:${line}: ${text}`);
  }

  /**
   * Runs the commands of one section in order, each in a shell of its own. A command that does not end with 0 is an error
   * that names its line. `execute` says where: by default on this machine, from the top of the checkout.
   */
  async follow(
    section: string,
    execute: (script: string) => Promise<Finished> = (script) => run(['sh', '-euc', script]),
  ): Promise<readonly Finished[]> {
    const commands = this.#commands.filter((command) => command.section === section);
    if (commands.length === 0) throw new Error(`${this.path} has no commands under '${section}'`);
    const results: Finished[] = [];
    for (const command of commands) {
      this.#ran.add(command);
      const result = await execute(command.text);
      if (result.exitCode !== 0) {
        throw new Error(
          `${this.path}:${command.line}: '${command.text}' ended with ${result.exitCode ?? result.signal}:\n${result.output}`,
        );
      }
      results.push(result);
    }
    return results;
  }
}
