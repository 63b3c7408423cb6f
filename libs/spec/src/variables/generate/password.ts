import { randomInt } from 'node:crypto';
import { invalidParameters } from './generation-error.ts';
import type { GenerationOptions } from './read-options.ts';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
const DEFAULT_LENGTH = 20;
const MAX_LENGTH = 100_000;

/** The length that the options ask for; 0 means the default. */
export function passwordLength(options: GenerationOptions): number {
  const length = options.integer('length') ?? 0;
  if (length < 0) throw invalidParameters('password', 'Length option cannot be negative');
  if (length > MAX_LENGTH) throw invalidParameters('password', `Length option cannot exceed ${MAX_LENGTH}`);
  return length === 0 ? DEFAULT_LENGTH : length;
}

export function randomPassword(length: number): string {
  return Array.from({ length }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
}
