import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { protocolReference } from './reference.ts';

it('the published reference is what the schemas say', () => {
  const page = join(import.meta.dirname, '../../../docs/reference/agent-protocol.md');

  expect(readFileSync(page, 'utf8')).toBe(protocolReference());
});
