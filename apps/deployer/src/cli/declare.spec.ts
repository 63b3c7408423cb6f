import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import type { CommandModule, CommandOptions } from './context.ts';
import { addGlobalOptions, declareCommand, stateOption, variableOptions } from './declare.ts';

async function parse(argv: readonly string[]) {
  let seen: { args: readonly string[]; options: CommandOptions } | undefined;
  const program = new Command('microbosh').version('1').enablePositionalOptions().exitOverride();
  program.configureOutput({ writeErr: () => undefined });
  addGlobalOptions(program);
  const load = (): Promise<CommandModule> => Promise.reject(new Error('not loaded in this test'));
  declareCommand(
    program,
    async (_load, args, options) => {
      seen = { args, options };
    },
    { usage: 'create-env <manifest>', summary: 'x', options: [stateOption, ...variableOptions], load },
  );
  await program.parseAsync([...argv], { from: 'user' });
  return seen;
}

describe('command line', () => {
  it('keeps the values of a repeated flag in their order', async () => {
    const seen = await parse(['create-env', 'm.yml', '-o', 'b', '-v', 'x=1', '-o', 'a', '-v', 'y=2']);

    expect(seen?.options).toMatchObject({ opsFile: ['b', 'a'], var: ['x=1', 'y=2'] });
    expect(seen?.options).not.toHaveProperty('varFile');
    expect(seen?.args).toEqual(['m.yml']);
  });

  it.each([[['--json', 'create-env', 'm.yml']], [['create-env', 'm.yml', '--json']]])(
    'takes a global switch before and after the command: %j',
    async (argv) => {
      expect((await parse(argv))?.options.json).toBe(true);
    },
  );

  it('accepts switches of the original that have no effect here', async () => {
    expect((await parse(['create-env', 'm.yml', '--parallel', '5', '--sha2']))?.args).toEqual(['m.yml']);
  });

  it('refuses surplus arguments and unknown flags', async () => {
    await expect(parse(['create-env', 'm.yml', 'other'])).rejects.toThrow(/too many arguments/);
    await expect(parse(['create-env', 'm.yml', '--statte', 'x'])).rejects.toThrow(/unknown option/);
  });
});
