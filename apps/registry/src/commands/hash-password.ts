import { text } from 'node:stream/consumers';
import { scryptHasher } from '@microbosh/registry-server';
import type { Streams } from '../cli.ts';
import { ConfigRefused } from '../config/problems.ts';

/** Standard input, not an argument: arguments are seen by everybody on the machine. */
export async function run(streams: Streams): Promise<number> {
  const password = (await text(streams.stdin)).replace(/\r?\n$/, '');
  if (password === '') throw new ConfigRefused(['Give the password on standard input.']);
  streams.stdout.write(`${await scryptHasher.hash(password)}\n`);
  return 0;
}
