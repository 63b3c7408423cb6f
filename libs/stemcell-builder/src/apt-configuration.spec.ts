import { describe, expect, it } from 'vitest';
import { acquireOptionsOf, parseShellAssignments } from './apt-configuration.ts';

describe('apt configuration', () => {
  it('reads assignments with quotes in them', () => {
    const values = parseShellAssignments("LIST='/etc/apt/sources.list'\nPARTS='/o'\\''neil/parts/'\n");

    expect(values.get('LIST')).toBe('/etc/apt/sources.list');
    expect(values.get('PARTS')).toBe("/o'neil/parts/");
  });

  it('takes over what concerns fetching, and nothing that is empty', () => {
    const dump = [
      'APT::Architecture "amd64";',
      'Acquire::Check-Date "false";',
      'Acquire::http::Proxy "http://proxy.test:3128/";',
      'Acquire::https "";',
      'Acquire::Languages "none";',
    ].join('\n');

    expect(acquireOptionsOf(dump)).toEqual([
      'Acquire::Check-Date "false";',
      'Acquire::http::Proxy "http://proxy.test:3128/";',
    ]);
  });
});
