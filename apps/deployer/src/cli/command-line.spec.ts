import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { buildProgram } from './program.ts';

const page = readFileSync(join(import.meta.dirname, '../../../../docs/reference/command-line.md'), 'utf8');

function leaves(command: Command, path = ''): { readonly path: string; readonly command: Command }[] {
  return command.commands.flatMap((inner) => {
    const name = `${path}${inner.name()}`;
    return inner.commands.length > 0 ? leaves(inner, `${name} `) : [{ path: name, command: inner }];
  });
}

const program = () => buildProgram('1', () => Promise.resolve());
const everywhere = new Set(['--json', '--tty', '--no-color', '--non-interactive', '--quiet']);

/** Flags that create-env, delete-env, stop-env, start-env and interpolate have in the original, with an argument. */
const inputs = [
  ['-v', 'a=1'],
  ['--var', 'a=1'],
  ['--var-file', 'a=/x'],
  ['-l', '/x'],
  ['--vars-file', '/x'],
  ['--vars-env', 'P'],
  ['--vars-store', '/x'],
  ['-o', '/x'],
  ['--ops-file', '/x'],
];
const globals = [
  ['-n'],
  ['--non-interactive'],
  ['--tty'],
  ['--no-color'],
  ['--json'],
  ['--sha2'],
  ['--parallel', '5'],
  ['--config', '/x'],
  ['--column', 'x'],
  ['-e', 'x'],
  ['--environment', 'x'],
  ['--ca-cert', '/x'],
  ['--client', 'x'],
  ['--client-secret', 'x'],
  ['-d', 'x'],
  ['--deployment', 'x'],
];
const original: Readonly<Record<string, readonly (readonly string[])[]>> = {
  'create-env': [
    ['--state', '/x'],
    ['--recreate'],
    ['--recreate-persistent-disks'],
    ['--skip-drain'],
    ['--package-dir', '/x'],
    ...inputs,
  ],
  'delete-env': [['--state', '/x'], ['--skip-drain'], ['--package-dir', '/x'], ...inputs],
  'stop-env': [['--state', '/x'], ['--skip-drain'], ...inputs],
  'start-env': [['--state', '/x'], ...inputs],
  interpolate: [['--path', '/x'], ['--var-errs'], ['--var-errs-unused'], ...inputs],
};

describe('the command line', () => {
  it.each(
    Object.entries(original).flatMap(([command, flags]) =>
      [...flags, ...globals].map((flag) => [command, flag]),
    ),
  )('has the flag of the original: %s %j', async (command, flag) => {
    let ran = false;
    const subject = buildProgram('1', async () => {
      ran = true;
    });

    await subject.parseAsync([command as string, 'm.yml', ...(flag as string[])], { from: 'user' });

    expect(ran).toBe(true);
  });

  it('is in the reference: every command with its aliases and every option', () => {
    const missing = leaves(program()).flatMap(({ path, command }) => {
      const section = page.split('\n## ').find((text) => text.startsWith(`${path}\n`)) ?? '';
      const names = command.aliases().map((alias) => `\`${alias}\``);
      const flags = command.options
        .filter((option) => !option.hidden && !everywhere.has(option.long ?? ''))
        .map((option) => `- \`${option.flags}\`: ${option.description}`);
      return [command.description(), ...names, ...flags]
        .filter((text) => !section.includes(text))
        .map((text) => `${path}: ${text}`);
    });

    expect(missing).toEqual([]);
  });

  it('is all that the reference has', () => {
    const known = new Set(leaves(program()).map(({ path }) => path));
    const sections = [...page.matchAll(/^## (.*)$/gm)].map(([, name = '']) => name);

    expect(sections.filter((name) => !known.has(name) && name !== 'Everywhere')).toEqual([]);
  });
});
