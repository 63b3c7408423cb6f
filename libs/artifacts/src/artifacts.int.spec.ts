import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isOperationalError } from '@microbosh/errors';
import { pack } from 'tar-stream';
import {
  ArchiveDamaged,
  ArchiveUnsafe,
  ArtifactIncomplete,
  ArtifactUnreadable,
  DigestMismatch,
  DownloadFailed,
} from './errors.ts';
import { fetchArtifact } from './fetch-artifact.ts';
import { openRelease } from './open-release.ts';
import { openStemcell } from './open-stemcell.ts';
import { packTarGz } from './pack-archive.ts';
import { archiveBytes, archiveFile, readArchive } from './read-archive.ts';
import { unpackTar } from './unpack-archive.ts';

let work: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'artifacts-'));
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

const tar = (...args: string[]) => execFileSync('tar', args, { cwd: work });
const digestOf = (algorithm: string, path: string) =>
  createHash(algorithm)
    .update(readFileSync(join(work, path)))
    .digest('hex');

function write(path: string, content: string | Buffer): void {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), content);
}

interface ReleaseOptions {
  readonly outer?: string;
  readonly inner?: string;
  readonly jobDigest?: string;
  readonly order?: readonly string[];
}

/** A release made with GNU tar. */
function makeRelease({ outer = '-z', inner = '-z', jobDigest, order = ['.'] }: ReleaseOptions = {}): string {
  write(
    'job/job.MF',
    'name: web\ntemplates: {bin/ctl.erb: bin/ctl}\npackages: [tool]\nproperties: {port: {default: 80}}\n',
  );
  write('job/monit', 'check process web');
  write('job/templates/bin/ctl.erb', '<%= p("port") %>');
  tar('-C', 'job', inner, '-cf', 'web.tgz', './job.MF', './monit', './templates');
  write('package/packaging', 'true\n');
  tar('-C', 'package', inner, '-cf', 'tool.tgz', '.');
  write('release/jobs/web.tgz', readFileSync(join(work, 'web.tgz')));
  write('release/packages/tool.tgz', readFileSync(join(work, 'tool.tgz')));
  write(
    'release/release.MF',
    `name: demo\nversion: 1.10\njobs:\n- {name: web, version: v, fingerprint: v, sha1: '${jobDigest ?? digestOf('sha1', 'web.tgz')}'}\n` +
      `packages:\n- {name: tool, version: v, fingerprint: v, sha1: 'sha256:${digestOf('sha256', 'tool.tgz')}', dependencies: []}\n`,
  );
  tar('-C', 'release', ...(outer === '' ? [] : [outer]), '-cf', 'release.tgz', ...order);
  return join(work, 'release.tgz');
}

describe('openRelease', () => {
  it.each([
    ['gzip', {}],
    ['a plain outer tar', { outer: '' }],
    ['zstd outside', { outer: '--zstd' }],
    ['xz inside', { inner: '-J' }],
    ['bzip2 inside', { inner: '-j' }],
    ['zstd inside', { inner: '--zstd' }],
    ['no leading ./', { order: ['release.MF', 'jobs', 'packages'] }],
    ['the manifest last', { order: ['jobs', 'packages', 'release.MF'] }],
  ])('reads a release packed with %s', async (_name, options: ReleaseOptions) => {
    const path = makeRelease(options);

    const release = await openRelease(path, { workDir: join(work, 'out'), expectedName: 'demo' });

    expect(release.manifest.version).toBe('1.10');
    expect(release.digest).toBe(`sha256:${digestOf('sha256', 'release.tgz')}`);
    expect(release.jobs.get('web')?.monit).toBe('check process web');
    expect([...(release.jobs.get('web')?.templates ?? [])]).toEqual([['bin/ctl.erb', '<%= p("port") %>']]);
    expect(readFileSync(release.packages.get('tool')?.path ?? '')).toEqual(
      readFileSync(join(work, 'tool.tgz')),
    );
  });

  it('verifies the tarball by the strongest of several digests', async () => {
    const path = makeRelease();
    const sha1 = `${'0'.repeat(40)};sha256:${digestOf('sha256', 'release.tgz')}`;

    const release = await openRelease(path, { workDir: join(work, 'out'), sha1 });

    expect(release.manifest.name).toBe('demo');
  });

  it('refuses a tarball with another digest', async () => {
    const path = makeRelease();

    const opening = openRelease(path, { workDir: join(work, 'out'), sha1: `sha256:${'0'.repeat(64)}` });

    await expect(opening).rejects.toThrow(DigestMismatch);
    await expect(opening).rejects.toThrow('Release release.tgz has the sha256 digest');
  });

  it('refuses a part with another digest than the release states', async () => {
    const opening = openRelease(makeRelease({ jobDigest: '0'.repeat(40) }), { workDir: join(work, 'out') });

    await expect(opening).rejects.toThrow(DigestMismatch);
    await expect(opening).rejects.toThrow("release.tgz, entry 'jobs/web.tgz' has the sha1 digest");
  });

  it('refuses a release with another name than the manifest expects', async () => {
    const opening = openRelease(makeRelease(), { workDir: join(work, 'out'), expectedName: 'other' });

    await expect(opening).rejects.toThrow(ArtifactIncomplete);
    await expect(opening).rejects.toThrow("is the release 'demo', and the manifest expects 'other'");
  });

  it('names the part that is missing', async () => {
    makeRelease();
    tar('-C', 'release', '-czf', 'release.tgz', './release.MF', './packages');

    const opening = openRelease(join(work, 'release.tgz'), { workDir: join(work, 'out') });

    await expect(opening).rejects.toThrow("lists 'web' in its release.MF, but holds no 'jobs/web.tgz'");
  });

  it('says that a file is not there', async () => {
    await expect(openRelease(join(work, 'nope.tgz'), { workDir: join(work, 'out') })).rejects.toThrow(
      ArtifactUnreadable,
    );
  });

  it('stops when the signal fires', async () => {
    const reason = new Error('stop');

    await expect(
      openRelease(makeRelease(), { workDir: join(work, 'out'), signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
  });
});

/** A release with compiled packages, source packages or both, made with GNU tar. */
function makeCompiledRelease(licenseDigest?: string): string {
  makeRelease();
  write('compiled/bin/tool', 'a program');
  tar('-C', 'compiled', '-czf', 'release/compiled.tgz', '.');
  mkdirSync(join(work, 'release/compiled_packages'));
  execFileSync('mv', [join(work, 'release/compiled.tgz'), join(work, 'release/compiled_packages/tool.tgz')]);
  write('licence/LICENSE', 'do what you like');
  tar('-C', 'licence', '-czf', 'release/license.tgz', '.');
  write('release/LICENSE', 'do what you like');
  const compiled = digestOf('sha256', 'release/compiled_packages/tool.tgz');
  write(
    'release/release.MF',
    `name: demo
version: "2"
commit_hash: abc123
uncommitted_changes: true
jobs:
- {name: web, version: v, fingerprint: v, sha1: ${digestOf('sha1', 'web.tgz')}}
compiled_packages:
- name: tool
  version: f1
  fingerprint: f1
  sha1: sha256:${compiled}
  stemcell: ubuntu-noble/1.484
  dependencies: []
license: {version: l1, fingerprint: l1, sha1: ${licenseDigest ?? digestOf('sha1', 'release/license.tgz')}}
`,
  );
  rmSync(join(work, 'release/packages'), { recursive: true });
  tar('-C', 'release', '-czf', 'release.tgz', '.');
  return join(work, 'release.tgz');
}

describe('openRelease of a compiled release', () => {
  it('gives its packages, their stemcell and the licence', async () => {
    const release = await openRelease(makeCompiledRelease(), { workDir: join(work, 'out') });

    expect(release.manifest).toMatchObject({
      commitHash: 'abc123',
      uncommittedChanges: true,
      packages: [],
      compiledPackages: [
        { name: 'tool', fingerprint: 'f1', stemcell: 'ubuntu-noble/1.484', dependencies: [] },
      ],
      license: { fingerprint: 'l1' },
    });
    const archive = release.compiledPackages.get('tool')?.path ?? '';
    expect(execFileSync('tar', ['-xzOf', archive, './bin/tool']).toString()).toBe('a program');
  });

  it('refuses a licence with another digest than the release states', async () => {
    const path = makeCompiledRelease('0'.repeat(40));

    await expect(openRelease(path, { workDir: join(work, 'out') })).rejects.toThrow(
      "release.tgz, entry 'license.tgz' has the sha1 digest",
    );
  });

  it('names a compiled package that is missing', async () => {
    makeCompiledRelease();
    tar('-C', 'release', '-czf', 'release.tgz', './release.MF', './jobs');

    await expect(openRelease(join(work, 'release.tgz'), { workDir: join(work, 'out') })).rejects.toThrow(
      "holds no 'compiled_packages/tool.tgz'",
    );
  });

  it('reads fingerprints and digests that Ruby wrote as !binary', async () => {
    makeRelease();
    const asRuby = (text: string) => `!binary |-\n    ${Buffer.from(text).toString('base64')}`;
    write(
      'release/release.MF',
      `---\nname: demo\nversion: '1'\njobs:\n- name: web\n  version: ${asRuby('v')}\n  fingerprint: ${asRuby('v')}\n  sha1: ${asRuby(digestOf('sha1', 'web.tgz'))}\npackages: []\n`,
    );
    tar('-C', 'release', '-czf', 'release.tgz', '.');

    const release = await openRelease(join(work, 'release.tgz'), { workDir: join(work, 'out') });

    expect(release.jobs.get('web')?.entry.fingerprint).toBe('v');
  });
});

describe('a machine that lacks something', () => {
  it.each(['xz', 'bzip2'])('says which program reads %s', async (program) => {
    const path = makeRelease({ outer: program === 'xz' ? '-J' : '-j' });
    vi.stubEnv('PATH', join(work, 'nothing'));
    try {
      const opening = openRelease(path, { workDir: join(work, 'out') });

      await expect(opening).rejects.toThrow(
        `release.tgz is compressed with ${program}, and this machine has no program '${program}'.`,
      );
      await expect(opening).rejects.toMatchObject({
        advice: expect.stringContaining(`Install the package that brings '${program}'`) as string,
      });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  /** A file system of 1 MiB, in a namespace of its own. */
  it('says that the disk is full, and where', () => {
    write('s/image', randomBytes(3 << 20));
    write('s/stemcell.MF', 'name: s\nversion: "1"\ncloud_properties: {}\n');
    tar('-C', 's', '-czf', 's.tgz', 'stemcell.MF', 'image');
    const script = `
      const { openStemcell } = await import(${JSON.stringify(join(import.meta.dirname, 'open-stemcell.ts'))});
      await openStemcell(${JSON.stringify(join(work, 's.tgz'))}, { workDir: ${JSON.stringify(join(work, 'small/out'))} })
        .catch((error) => console.log(JSON.stringify([error.code, error.message, error.advice])));`;
    mkdirSync(join(work, 'small'));

    const output = execFileSync('unshare', [
      ...(process.getuid?.() === 0 ? ['--mount'] : ['--mount', '--map-root-user']),
      'sh',
      '-c',
      'mount -t tmpfs -o size=1m none "$0" && exec "$1" --input-type=module-typescript -e "$2"',
      join(work, 'small'),
      process.execPath,
      script,
    ]).toString();

    const [code, message, advice] = JSON.parse(output) as string[];
    expect(code).toBe('E_ARTIFACT_NO_ROOM');
    expect(message).toBe(`There is no room for '${join(work, 'small/out/image')}'.`);
    expect(advice).toContain('TMPDIR');
  });
});

describe('openStemcell', () => {
  function makeStemcell(
    sha1: string,
    image = Buffer.concat([Buffer.alloc(3 << 20), Buffer.from('x')]),
  ): string {
    write('s/image', image);
    write(
      's/stemcell.MF',
      `name: s\nversion: "1.2"\nsha1: ${sha1 === '' ? digestOf('sha1', 's/image') : sha1}\ncloud_properties: {a: 1}\n`,
    );
    tar('-C', 's', '-czf', 's.tgz', 'stemcell.MF', 'image');
    return join(work, 's.tgz');
  }

  it('unpacks the image, with holes where it is empty', async () => {
    const stemcell = await openStemcell(makeStemcell(''), { workDir: join(work, 'out') });

    expect(stemcell.manifest.cloudProperties).toEqual({ a: 1 });
    expect(readFileSync(stemcell.imagePath).equals(readFileSync(join(work, 's/image')))).toBe(true);
    expect(statSync(stemcell.imagePath).blocks * 512).toBeLessThan(1 << 20);
  });

  it('accepts the empty image of a light stemcell', async () => {
    const stemcell = await openStemcell(makeStemcell('', Buffer.alloc(0)), { workDir: join(work, 'out') });

    expect(statSync(stemcell.imagePath).size).toBe(0);
  });

  it('refuses an image that is not what stemcell.MF says', async () => {
    await expect(openStemcell(makeStemcell('0'.repeat(40)), { workDir: join(work, 'out') })).rejects.toThrow(
      "s.tgz, entry 'image' has the sha1 digest",
    );
  });

  it('refuses what has no image', async () => {
    makeStemcell('');
    tar('-C', 's', '-czf', 's.tgz', 'stemcell.MF');

    await expect(openStemcell(join(work, 's.tgz'), { workDir: join(work, 'out') })).rejects.toThrow(
      "s.tgz holds no 'image': it is not a stemcell.",
    );
  });
});

describe('unpackTar refuses what would leave the directory', () => {
  type Header = Parameters<ReturnType<typeof pack>['entry']>[0];
  async function archive(...headers: Header[]): Promise<Buffer> {
    const packed = pack();
    for (const header of headers) packed.entry(header, header.type === undefined ? 'content' : '');
    packed.finalize();
    const chunks: Buffer[] = [];
    for await (const chunk of packed as AsyncIterable<Buffer>) chunks.push(chunk);
    return gzipSync(Buffer.concat(chunks));
  }

  it.each<[string, Header[], string]>([
    ['a path upwards', [{ name: 'a/../../evil' }], "entry 'a/../../evil' has a path with '..' in it"],
    ['an absolute path', [{ name: '/etc/evil' }], "entry '/etc/evil' has an absolute path"],
    [
      'a character device',
      [{ name: 'null', type: 'character-device' }],
      "entry 'null' is a character device",
    ],
    ['a block device', [{ name: 'sda', type: 'block-device' }], "entry 'sda' is a block device"],
    ['a pipe', [{ name: 'pipe', type: 'fifo' }], "entry 'pipe' is a fifo"],
    [
      'a link upwards',
      [{ name: 'a/l', type: 'symlink', linkname: '../../evil' }],
      "is a link to '../../evil', outside",
    ],
    ['an absolute link', [{ name: 'l', type: 'symlink', linkname: '/etc' }], "is a link to '/etc', outside"],
    [
      'a hard link upwards',
      [{ name: 'h', type: 'link', linkname: '../evil' }],
      "is a hard link to a path with '..'",
    ],
    [
      'an absolute hard link',
      [{ name: 'h', type: 'link', linkname: '/etc/passwd' }],
      'is a hard link to an absolute path',
    ],
    [
      'a hard link to nothing',
      [{ name: 'h', type: 'link', linkname: 'x' }],
      "is a hard link to 'x', which is no file",
    ],
    ['a link without a target', [{ name: 'l', type: 'symlink' }], "entry 'l' is a link to nothing"],
    ['a hard link without a target', [{ name: 'h', type: 'link' }], "entry 'h' is a link to nothing"],
    [
      'a file written through a link',
      [{ name: 'd/', type: 'directory' }, { name: 'l', type: 'symlink', linkname: 'd' }, { name: 'l/f' }],
      "entry 'l/f' is written through the link 'l'",
    ],
  ])('%s', async (_name, headers, problem) => {
    const target = join(work, 'a', 'target');

    const unpacking = unpackTar(archiveBytes('bad.tgz', await archive(...headers)), target);

    await expect(unpacking).rejects.toThrow(ArchiveUnsafe);
    await expect(unpacking).rejects.toThrow(problem);
    await expect(unpacking).rejects.toThrow('bad.tgz');
    expect(existsSync(join(work, 'evil')) || existsSync(join(work, 'a', 'evil'))).toBe(false);
  });

  it('a bomb', async () => {
    const bomb = await (async () => {
      const packed = pack();
      packed.entry({ name: 'zeros' }, Buffer.alloc(200 << 20));
      packed.finalize();
      const chunks: Buffer[] = [];
      for await (const chunk of packed as AsyncIterable<Buffer>) chunks.push(chunk);
      return gzipSync(Buffer.concat(chunks));
    })();

    const unpacking = unpackTar(archiveBytes('bomb.tgz', bomb), join(work, 'out'));

    await expect(unpacking).rejects.toThrow(ArchiveUnsafe);
    await expect(unpacking).rejects.toThrow(
      "bomb.tgz, entry 'zeros': the archive unpacks to far more than it should",
    );
  });

  it('more entries than allowed', async () => {
    const many = await archive({ name: 'a' }, { name: 'b' }, { name: 'c' });
    const limits = { maxEntries: 2, maxBytes: 1 << 20, maxRatio: 100 };

    await expect(unpackTar(archiveBytes('many.tgz', many), join(work, 'out'), { limits })).rejects.toThrow(
      ArchiveUnsafe,
    );
  });

  it.each(['-z', '-J', '-j', '--zstd'])('a truncated archive (%s)', async (compression) => {
    write('in/big', Buffer.from(Array.from({ length: 300_000 }, (_value, index) => (index * 7919) % 251)));
    tar('-C', 'in', compression, '-cf', 'cut.tar', '.');
    truncateSync(join(work, 'cut.tar'), Math.floor(statSync(join(work, 'cut.tar')).size / 2));

    const unpacking = unpackTar(archiveFile(join(work, 'cut.tar')), join(work, 'out'));

    await expect(unpacking).rejects.toThrow(ArchiveDamaged);
    await expect(unpacking).rejects.toThrow('cut.tar');
  });
});

describe('archives agree with GNU tar', () => {
  it('unpacks what tar packs: long names, modes, links', async () => {
    const long = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(120)}`;
    write(`in/${long}`, 'deep');
    write('in/bin/run', '#!/bin/sh\n');
    chmodSync(join(work, 'in/bin/run'), 0o755);
    symlinkSync('bin/run', join(work, 'in/link'));
    linkSync(join(work, 'in/bin/run'), join(work, 'in/hard'));
    for (const format of ['gnu', 'pax']) {
      tar('-C', 'in', `--format=${format}`, '-czf', 'in.tgz', '.');

      await unpackTar(archiveFile(join(work, 'in.tgz')), join(work, format));

      expect(execFileSync('diff', ['-r', 'in', format], { cwd: work }).toString()).toBe('');
      expect(statSync(join(work, format, 'hard')).ino).toBe(statSync(join(work, format, 'bin/run')).ino);
      expect(statSync(join(work, format, 'bin/run')).mode & 0o777).toBe(0o755);
    }
  });

  it('packs what tar unpacks, and the same bytes for the same entries', async () => {
    const segment = fc.stringMatching(/^[a-z][a-z0-9._-]{0,30}$/);
    const files = fc.uniqueArray(
      fc.record({
        path: fc
          .array(segment, { minLength: 1, maxLength: 4 })
          .map((parts) => parts.map((part, at) => `${at}${part}`).join('/')),
        content: fc.uint8Array({ maxLength: 3000 }),
      }),
      { selector: (file) => file.path, minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(files, async (generated) => {
        const entries = generated.filter(
          ({ path }) => !generated.some((other) => other.path.startsWith(`${path}/`)),
        );
        rmSync(join(work, 'round'), { recursive: true, force: true });
        mkdirSync(join(work, 'round'));

        const first = await packTarGz(entries, join(work, 'one.tgz'));
        const second = await packTarGz([...entries].reverse(), join(work, 'two.tgz'));
        tar('-C', 'round', '-xzf', 'one.tgz');

        expect(second.digest).toBe(first.digest);
        expect(first.digest).toBe(`sha256:${digestOf('sha256', 'one.tgz')}`);
        for (const { path, content } of entries)
          expect(Buffer.compare(readFileSync(join(work, 'round', path)), content)).toBe(0);
      }),
      { numRuns: 25 },
    );
  });

  it('any damage ends in an expected error or in nothing at all', async () => {
    write('in/a', 'some content');
    write('in/b/c', 'more content');
    for (const compression of ['', '-z']) {
      tar('-C', 'in', ...(compression === '' ? [] : [compression]), '-cf', 'fuzz.tar', '.');
      const original = readFileSync(join(work, 'fuzz.tar'));
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat({ max: original.length - 1 }), fc.nat({ max: 255 })), {
            minLength: 1,
            maxLength: 12,
          }),
          fc.nat({ max: original.length }),
          async (changes, length) => {
            const damaged = Buffer.from(original.subarray(0, length));
            for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
            try {
              for await (const entry of readArchive(archiveBytes('fuzz.tar', damaged))) {
                expect(entry.path.split('/')).not.toContain('..');
                expect(entry.path.startsWith('/')).toBe(false);
                for await (const chunk of entry.content) expect(chunk.length).toBeGreaterThan(0);
              }
            } catch (error) {
              if (!isOperationalError(error)) throw error;
            }
          },
        ),
        { numRuns: 300 },
      );
    }
  });
});

describe('fetchArtifact', () => {
  const content = Buffer.from('the artifact');
  const sha256 = `sha256:${createHash('sha256').update(content).digest('hex')}`;

  async function serving(
    answer: (
      count: number,
      url: string,
    ) => { readonly status: number; readonly body: Buffer; readonly headers?: Record<string, string> },
    use: (origin: string, count: () => number) => Promise<void>,
  ): Promise<void> {
    let count = 0;
    const server = createServer((request, response) => {
      count += 1;
      const { status, body, headers } = answer(count, request.url ?? '');
      response.writeHead(status, headers ?? {}).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    try {
      await use(
        `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
        () => count,
      );
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }
  const options = () => ({ cacheDir: join(work, 'cache'), retryPolicy: { attempts: 3, delayMs: 1 } });

  it('uses a local file in place', async () => {
    write('local.tgz', 'x');

    const fetched = await fetchArtifact({ url: `file://${join(work, 'local.tgz')}`, sha1: 'abc' }, options());

    expect(fetched).toEqual({ path: join(work, 'local.tgz'), fromCache: false, unverified: 'abc' });
  });

  it('downloads once, whatever the URL', async () => {
    await serving(
      () => ({ status: 200, body: content }),
      async (origin, count) => {
        const first = await fetchArtifact({ url: `${origin}/a`, sha1: sha256 }, options());
        const second = await fetchArtifact({ url: `${origin}/b`, sha1: sha256 }, options());

        expect(readFileSync(first.path)).toEqual(content);
        expect(second).toEqual({ path: first.path, fromCache: true });
        expect(count()).toBe(1);
      },
    );
  });

  it('downloads again what was damaged in the cache', async () => {
    await serving(
      () => ({ status: 200, body: content }),
      async (origin) => {
        const { path } = await fetchArtifact({ url: `${origin}/a`, sha1: sha256 }, options());
        writeFileSync(path, 'damaged');

        const again = await fetchArtifact({ url: `${origin}/a`, sha1: sha256 }, options());

        expect(again.fromCache).toBe(false);
        expect(readFileSync(again.path)).toEqual(content);
      },
    );
  });

  it('tries three times, also after a wrong digest, and follows redirects', async () => {
    await serving(
      (count, url) =>
        count === 1
          ? { status: 503, body: Buffer.from('busy') }
          : count === 2
            ? { status: 200, body: Buffer.from('cut') }
            : url === '/a'
              ? { status: 302, body: Buffer.alloc(0), headers: { location: '/moved' } }
              : { status: 200, body: content },
      async (origin, count) => {
        const { path } = await fetchArtifact({ url: `${origin}/a`, sha1: sha256 }, options());

        expect(readFileSync(path)).toEqual(content);
        expect(count()).toBe(4);
      },
    );
  });

  it('gives up on a wrong digest and keeps nothing', async () => {
    await serving(
      () => ({ status: 200, body: Buffer.from('something else') }),
      async (origin, count) => {
        const fetching = fetchArtifact({ url: `${origin}/a`, sha1: sha256 }, options());

        await expect(fetching).rejects.toThrow(DigestMismatch);
        expect(count()).toBe(3);
        expect(execFileSync('ls', ['-A', join(work, 'cache')]).toString()).toBe('');
      },
    );
  });

  it('names the status of the server, and never the password of the URL', async () => {
    await serving(
      () => ({ status: 404, body: Buffer.alloc(0) }),
      async (origin, count) => {
        const url = origin.replace('http://', 'http://someone:s3cret-word@');

        const fetching = fetchArtifact({ url: `${url}/a`, sha1: sha256 }, options());

        await expect(fetching).rejects.toThrow(
          /Failed to download from '.*<redacted>@.*': the server answered 404/,
        );
        await expect(fetching).rejects.not.toThrow('s3cret-word');
        expect(count()).toBe(1);
      },
    );
  });

  it('refuses to download what cannot be verified', async () => {
    await expect(fetchArtifact({ url: 'http://127.0.0.1:1/a' }, options())).rejects.toThrow(DownloadFailed);
  });
});
