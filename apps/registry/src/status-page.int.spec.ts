import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN, READER, mint, startRegistry } from '@microbosh/registry-server/testing';
import type { RunningRegistry } from '@microbosh/registry-server/testing';
import { browserMissing, visitWithoutScripts } from './testing/browser.ts';

const missing = browserMissing();

describe('in a browser without JavaScript', () => {
  let registry: RunningRegistry;
  beforeAll(async () => {
    registry = await startRegistry({ tls: false });
  });
  afterAll(() => registry.stop());
  const visit = (path: string, auth: string) =>
    visitWithoutScripts(`${registry.bound.url}${path}`, {
      authorization: `Basic ${Buffer.from(auth).toString('base64')}`,
    });

  it.skipIf(missing !== undefined)(`the status page shows the instances ${missing ?? ''}`, async () => {
    const id = '<b>vm&1';
    const path = `/instances/${encodeURIComponent(id)}/settings`;
    await registry.call('PUT', path, { auth: ADMIN, body: '{"secret":"t0psecret"}' });
    await mint(registry, id);
    await registry.call('GET', path);

    const page = await visit('/status', READER);

    const lines = page.text.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining(['Registry: instances', id, 'Last write', 'Denied reads', 'never']),
    );
    expect(page.html).toContain('<td class="number denied">1</td>');
    expect(page.html).not.toContain('t0psecret');
    expect(page.complaints.filter((line) => !line.includes('favicon'))).toEqual([]);
  });

  it.skipIf(missing !== undefined)(`the description of the API is rendered ${missing ?? ''}`, async () => {
    const page = await visit('/docs', READER);

    expect(page.text).toContain('/instances/{id}/settings');
    expect(page.complaints.filter((line) => !line.includes('favicon'))).toEqual([]);
  });

  it.skipIf(missing !== undefined)(`nothing is shown to who may not read ${missing ?? ''}`, async () => {
    const page = await visit('/status', 'reader:wrong');

    expect(page.text).not.toContain('Registry: instances');
  });
});
