import fc from 'fast-check';
import { isOperationalError } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { ArtifactManifestInvalid } from './artifact-document.ts';
import { parseJobManifest } from './job-manifest.ts';
import { parseReleaseManifest } from './release-manifest.ts';
import { parseStemcellManifest } from './stemcell-manifest.ts';

describe('release.MF', () => {
  it('is read with its text as written', () => {
    const manifest = parseReleaseManifest(
      `name: bosh
version: 1.10
commit_hash: 0123456
uncommitted_changes: true
jobs:
- {name: nats, version: 00e5, fingerprint: 00e5, sha1: "sha256:ab", packages: [x]}
packages:
- {name: nats, version: ff, fingerprint: ff, sha1: 1234, dependencies: [golang]}
- {name: golang, version: ee, fingerprint: ee, sha1: 12e4, dependencies: []}
compiled_packages:
- {name: nats, version: ff, fingerprint: ff, sha1: cd, stemcell: ubuntu-noble/1.10, dependencies: []}
license: {version: x, fingerprint: x, sha1: x}
`,
      'release.MF',
    );

    expect(manifest).toEqual({
      name: 'bosh',
      version: '1.10',
      commitHash: '0123456',
      uncommittedChanges: true,
      jobs: [{ name: 'nats', version: '00e5', fingerprint: '00e5', sha1: 'sha256:ab' }],
      packages: [
        { name: 'nats', version: 'ff', fingerprint: 'ff', sha1: '1234', dependencies: ['golang'] },
        { name: 'golang', version: 'ee', fingerprint: 'ee', sha1: '12e4', dependencies: [] },
      ],
      compiledPackages: [
        {
          name: 'nats',
          version: 'ff',
          fingerprint: 'ff',
          sha1: 'cd',
          dependencies: [],
          stemcell: 'ubuntu-noble/1.10',
        },
      ],
      license: { fingerprint: 'x', sha1: 'x' },
    });
  });

  it('may have binary annotations, as old Ruby wrote them', () => {
    const manifest = parseReleaseManifest(
      'name: a\nversion: "1"\njobs:\n- name: j\n  version: !binary |-\n    YWJj\n  fingerprint: !binary |-\n    YWJj\n  sha1: !!binary |-\n    YWJj\n',
      'release.MF',
    );

    expect(manifest.jobs[0]).toEqual({ name: 'j', version: 'abc', fingerprint: 'abc', sha1: 'abc' });
  });

  it.each([
    ['name: a\nname: b\nversion: 1\n', "release.MF:2:1: Map has the key 'name' twice"],
    ['version: 1\n', "release.MF:1:1: 'name' must be provided"],
    ['- a\n', 'release.MF:1:1: the document must be a map'],
    ['name: a\nversion: 1\njobs: {}\n', "'jobs' must be a list"],
    ['name: a\nversion: 1\njobs: [{}]\n', "release.MF:3:8: 'name' must be provided"],
    ['name: [a]\nversion: 1\n', "'name' must be text"],
    ['name: a\nversion: 1\nuncommitted_changes: maybe\n', "'uncommitted_changes' must be true or false"],
  ])('refuses %j', (text, wanted) => {
    expect(() => parseReleaseManifest(text, 'release.MF')).toThrow(wanted);
  });
});

describe('job.MF', () => {
  it('is read with its properties, templates and links', () => {
    expect(
      parseJobManifest(
        `name: nats
templates: {ctl.erb: bin/ctl, a/b.erb: config/b}
packages: [nats]
properties:
  nats.port: {description: Port, default: 4222}
  nats.user: {}
  nats.none:
  nats.nothing: {default: ~}
consumes: [{name: db, type: conn, optional: true}]
provides: [{name: nats, type: nats, properties: [nats.port]}]
`,
        'job.MF',
      ),
    ).toEqual({
      name: 'nats',
      templates: { 'ctl.erb': 'bin/ctl', 'a/b.erb': 'config/b' },
      packages: ['nats'],
      properties: {
        'nats.port': { description: 'Port', default: 4222 },
        'nats.user': {},
        'nats.none': {},
        'nats.nothing': { default: null },
      },
      consumes: [{ name: 'db', type: 'conn', optional: true }],
      provides: [{ name: 'nats', type: 'nats', properties: ['nats.port'] }],
    });
  });

  it.each([
    ['../x', 'bin/ctl', "Invalid template source '../x': must be a safe local path"],
    ['a/../../x', 'bin/ctl', 'Invalid template source'],
    ['/etc/x', 'bin/ctl', 'Invalid template source'],
    ['x', '/bin/ctl', "Invalid template destination '/bin/ctl': must be a safe local path"],
    ['x', 'a/../../b', 'Invalid template destination'],
  ])('refuses the template %s -> %s', (source, target, wanted) => {
    const text = `name: x\ntemplates: {${JSON.stringify(source)}: ${JSON.stringify(target)}}\n`;

    expect(() => parseJobManifest(text, 'job.MF')).toThrow(ArtifactManifestInvalid);
    expect(() => parseJobManifest(text, 'job.MF')).toThrow(wanted);
  });

  it('accepts paths that turn around inside the directory', () => {
    expect(parseJobManifest('name: x\ntemplates: {a/../b: c/./d}\n', 'job.MF').templates).toEqual({
      'a/../b': 'c/./d',
    });
  });
});

describe('stemcell.MF', () => {
  it('of today is read', () => {
    expect(
      parseStemcellManifest(
        `name: bosh-openstack-kvm-ubuntu-noble
version: "1.10"
api_version: 3
bosh_protocol: "1"
sha1: da39
operating_system: ubuntu-noble
stemcell_formats: [openstack-qcow2, openstack-raw]
cloud_properties: {disk: 5120, auto_disk_config: true}
`,
        'stemcell.MF',
      ),
    ).toEqual({
      name: 'bosh-openstack-kvm-ubuntu-noble',
      version: '1.10',
      apiVersion: 3,
      operatingSystem: 'ubuntu-noble',
      stemcellFormats: ['openstack-qcow2', 'openstack-raw'],
      sha1: 'da39',
      cloudProperties: { disk: 5120, auto_disk_config: true },
    });
  });

  it('of old times is read: no API version, no properties, version 1.10 as written', () => {
    expect(parseStemcellManifest('name: s\nversion: 1.10\n', 'stemcell.MF')).toEqual({
      name: 's',
      version: '1.10',
      apiVersion: 1,
      stemcellFormats: [],
      cloudProperties: null,
    });
  });

  it.each([
    ['name: s\nversion: 1\napi_version: two\n', "stemcell.MF:3:14: 'api_version' must be a whole number"],
    ['name: s\nversion: 1\ncloud_properties: [a]\n', "'cloud_properties' must be a map"],
    ['name: s\n', "'version' must be provided"],
  ])('refuses %j', (text, wanted) => {
    expect(() => parseStemcellManifest(text, 'stemcell.MF')).toThrow(wanted);
  });
});

describe('every manifest of an artifact', () => {
  it('answers any text with a manifest or an operational error', () => {
    const piece = fc.constantFrom(
      'name: a\n',
      'version: 1\n',
      'jobs:\n',
      'packages:\n',
      'templates:\n',
      'properties:\n',
      '- ',
      '  ',
      'x: y\n',
      '{',
      '}',
      '[',
      ']',
      '!binary ',
      '~\n',
      'api_version: ',
      '1\n',
      'cloud_properties: ',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 15 }), (pieces) => {
        for (const parse of [parseReleaseManifest, parseJobManifest, parseStemcellManifest]) {
          try {
            expect(parse(pieces.join(''), 'x.MF').name).not.toBe('');
          } catch (error) {
            if (!isOperationalError(error)) throw error;
          }
        }
      }),
      { numRuns: 600 },
    );
  });
});
