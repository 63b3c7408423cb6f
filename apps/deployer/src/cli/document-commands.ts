import type { Command } from 'commander';
import { declareCommand, variableOptions } from './declare.ts';
import type { Dispatch } from './declare.ts';

/** Commands that only read and print documents: interpolate, vars, schema. */
export function declareDocumentCommands(program: Command, dispatch: Dispatch): void {
  declareCommand(program, dispatch, {
    usage: 'interpolate <path>',
    aliases: ['int'],
    summary:
      'print a document with its operations applied and its variables replaced; - reads standard input',
    options: [
      { flags: '--path <op-path>', summary: 'print only the value at this path' },
      { flags: '--var-errs', summary: 'fail when a variable has no value' },
      { flags: '--var-errs-unused', summary: 'fail when a given variable is not used' },
      ...variableOptions,
    ],
    load: () => import('../commands/interpolate.ts'),
  });

  const vars = program.command('vars').description('look after generated variables');
  declareCommand(vars, dispatch, {
    usage: 'check <manifest>',
    summary:
      'report values that expire soon or no longer fit their definition; exit code 2 when there are any',
    options: [
      { flags: '--days <number>', summary: 'report certificates that end within so many days (default 30)' },
      { flags: '--fix', summary: 'generate again what is found, and everything that a CA among it signs' },
      ...variableOptions,
    ],
    load: () => import('../commands/vars-check.ts'),
  });
  declareCommand(vars, dispatch, {
    usage: 'rotate <manifest> <names...>',
    summary: 'generate variables again, certificates together with those that they sign',
    options: [
      { flags: '--only', summary: 'leave certificates alone that a named CA signs' },
      ...variableOptions,
    ],
    load: () => import('../commands/vars-rotate.ts'),
  });
  declareCommand(vars, dispatch, {
    usage: 'encrypt <store>',
    summary: 'encrypt a vars-store in place, with the key of MICROBOSH_VARS_KEY_FILE or MICROBOSH_VARS_KEY',
    load: async () => (await import('../commands/vars-encryption.ts')).encrypt,
  });
  declareCommand(vars, dispatch, {
    usage: 'decrypt <store>',
    summary: 'decrypt a vars-store in place',
    load: async () => (await import('../commands/vars-encryption.ts')).decrypt,
  });

  const schema = program.command('schema').description('print schemas for editors');
  declareCommand(schema, dispatch, {
    usage: 'manifest',
    summary: 'print the JSON Schema of the manifest',
    options: [{ flags: '--micro', summary: 'of micro_bosh.yml instead' }],
    load: () => import('../commands/schema-manifest.ts'),
  });
}
