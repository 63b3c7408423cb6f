import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isOperationalError } from '@microbosh/errors';
import { pack } from 'tar-stream';
import { createRelease } from './create-release.ts';
import { Digester } from './digester.ts';
import { DigestMismatch } from './errors.ts';
import { openRelease } from './open-release.ts';
import { openStemcell } from './open-stemcell.ts';
import { archiveBytes } from './read-archive.ts';
import { unpackTar } from './unpack-archive.ts';

/** Archives that GNU tar made, damaged, and archives that no tar makes; `npm run fuzz` makes many more of them. */
const effort = Number(process.env['FUZZ'] ?? 1);
let work: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'archives-fuzz-'));
  mkdirSync(join(work, 'in/jobs'), { recursive: true });
  mkdirSync(join(work, 'job/templates'), { recursive: true });
  writeFileSync(join(work, 'job/job.MF'), 'name: web\ntemplates: {a: b}\n');
  writeFileSync(join(work, 'job/monit'), 'check');
  writeFileSync(join(work, 'job/templates/a'), '<%= 1 %>');
  execFileSync('tar', ['-C', 'job', '-czf', 'in/jobs/web.tgz', '.'], { cwd: work });
  writeFileSync(
    join(work, 'in/release.MF'),
    'name: r\nversion: 1\njobs: [{name: web, version: v, sha1: ""}]\n',
  );
  writeFileSync(join(work, 'in/stemcell.MF'), 'name: s\nversion: 1\ncloud_properties: {}\n');
  writeFileSync(join(work, 'in/image'), Buffer.alloc(20_000, 'i'));
});
afterAll(() => rmSync(work, { recursive: true }));
beforeEach(() => {
  rmSync(join(work, 'cage'), { recursive: true, force: true });
  mkdirSync(join(work, 'cage'));
});

/** Runs in a cage: whatever the archive says, nothing changes beside the directory that it is unpacked to. */
async function caged(action: (directory: string) => Promise<unknown>): Promise<void> {
  const target = join(work, 'cage/target');
  try {
    await action(target).catch((error: unknown) => {
      if (!isOperationalError(error)) throw error;
    });
    expect(readdirSync(join(work, 'cage')).filter((name) => name !== 'target')).toEqual([]);
    if (!existsSync(target) || !statSync(target).isDirectory()) return;
    for (const path of pathsBelow(target)) {
      if (existsSync(path)) expect(realpathSync(path).startsWith(realpathSync(target))).toBe(true);
    }
  } finally {
    rmSync(join(work, 'cage'), { recursive: true, force: true });
    mkdirSync(join(work, 'cage'));
  }
}

/** Links are named and not followed: they may lead in a circle. */
function pathsBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? [path, ...pathsBelow(path)] : [path];
  });
}

const damages = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 255 })), {
  minLength: 1,
  maxLength: 10,
});

describe('damaged tarballs', () => {
  it.each([
    ['plain', [], 120],
    ['gzip', ['-z'], 120],
    ['zstd', ['--zstd'], 60],
    ['xz', ['-J'], 10],
    ['bzip2', ['-j'], 10],
  ] as const)('%s: a release, a stemcell, or an error for the operator', async (name, flags, runs) => {
    execFileSync('tar', ['-C', 'in', ...flags, '-cf', `${name}.tar`, '.'], { cwd: work });
    const original = readFileSync(join(work, `${name}.tar`));
    await fc.assert(
      fc.asyncProperty(damages, fc.double({ min: 0.1, max: 1, noNaN: true }), async (changes, length) => {
        const bytes = Buffer.from(original.subarray(0, Math.ceil(length * original.length)));
        for (const [at, value] of changes) bytes[Math.floor(at * (bytes.length - 1))] = value;
        const path = join(work, 'damaged.tgz');
        writeFileSync(path, bytes);
        await caged((workDir) => openRelease(path, { workDir }));
        await caged((workDir) => openStemcell(path, { workDir }));
      }),
      { numRuns: runs * effort },
    );
  });
});

describe('archives made to do harm', () => {
  const segment = fc.constantFrom('a', 'b', 'l', '..', '.', '', 'x\0y', 'é', 'a'.repeat(200));
  const path = fc
    .tuple(fc.constantFrom('', '/', './', '//'), fc.array(segment, { minLength: 1, maxLength: 4 }))
    .map(([start, segments]) => start + segments.join('/'));
  const header = fc.record({
    name: path,
    linkname: path,
    type: fc.constantFrom(
      'file',
      'directory',
      'symlink',
      'link',
      'character-device',
      'block-device',
      'fifo',
      'contiguous-file',
    ),
    mode: fc.nat({ max: 0o7777 }),
  });

  it('change nothing outside of their directory', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(header, { minLength: 1, maxLength: 7 }), async (headers) => {
        const packed = pack();
        for (const { type, ...rest } of headers)
          packed.entry({ ...rest, type: type }, type === 'file' ? 'content' : '');
        packed.finalize();
        const chunks: Buffer[] = [];
        for await (const chunk of packed as AsyncIterable<Buffer>) chunks.push(chunk);
        await caged((directory) => unpackTar(archiveBytes('harm.tar', Buffer.concat(chunks)), directory));
      }),
      { numRuns: 250 * effort },
    );
  });
});

describe('the sources of a release', () => {
  const files = {
    'config/final.yml': 'name: r\nblobstore: {provider: local, options: {blobstore_path: blobs}}\n',
    'jobs/web/spec':
      'name: web\ntemplates: {ctl.erb: bin/ctl}\npackages: [lib, old]\nproperties: {port: {default: 80}}\n',
    'jobs/web/monit': 'check process web',
    'jobs/web/templates/ctl.erb': '<%= p("port") %>',
    'packages/lib/spec':
      'name: lib\ndependencies: [old]\nfiles: ["lib/**/*"]\nexcluded_files: ["**/*.tmp"]\n',
    'packages/lib/packaging': 'true',
    'src/lib/a.c': 'int a;',
    'packages/old/spec.lock': 'name: old\nfingerprint: f00\ndependencies: []\n',
    'blobs/some-id': 'content',
    '.final_builds/packages/old/index.yml': `builds:\n  f00: {version: f00, blobstore_id: some-id, sha1: ${createHash('sha1').update('content').digest('hex')}}\nformat-version: "2"\n`,
  };
  const documents = Object.keys(files).filter((name) => /spec|yml$/.test(name));
  const piece = fc.constantFrom(
    '\n',
    '  ',
    '- ',
    ': ',
    '{',
    '}',
    '[',
    ']',
    '"',
    '*',
    '**/',
    '../',
    '~',
    '\0',
    'é',
    '!',
  );

  it('damaged in one document, make a release or an error for the operator, and leave nothing else', async () => {
    const source = join(work, 'source');
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(source, name)), { recursive: true });
      writeFileSync(join(source, name), content);
    }
    await createRelease(source, join(work, 'cage/whole.tgz'));
    rmSync(join(work, 'cage/whole.tgz'));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...documents),
        fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 12 }), piece), {
          minLength: 1,
          maxLength: 3,
        }),
        async (name, changes) => {
          const original = files[name as keyof typeof files];
          const damaged = changes.reduce((text, [at, removed, inserted]) => {
            const start = Math.floor(at * text.length);
            return text.slice(0, start) + inserted + text.slice(start + removed);
          }, original);
          writeFileSync(join(source, name), damaged);
          try {
            await caged((tarball) => createRelease(source, tarball));
          } finally {
            writeFileSync(join(source, name), original);
          }
        },
      ),
      { numRuns: 30 * effort },
    );
  });
});

describe('digests', () => {
  it('of any content, in any pieces are verified; a multi-digest holds for that content alone', () => {
    const content = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 });
    const algorithms = ['sha1', 'sha256', 'sha512'] as const;
    fc.assert(
      fc.property(content, fc.subarray([...algorithms], { minLength: 1 }), (chunks, chosen) => {
        const whole = Buffer.concat(chunks);
        const text = chosen
          .map((algorithm) => `${algorithm}:${createHash(algorithm).update(whole).digest('hex')}`)
          .join(';');
        const digester = Digester.for(text);
        for (const chunk of chunks) digester.update(chunk);
        digester.verify(text, 'x', '');
        expect(digester.sizeBytes).toBe(whole.length);
        const strongest = [...algorithms].reverse().find((algorithm) => chosen.includes(algorithm)) ?? 'sha1';
        const wrong = text.replace(
          new RegExp(`${strongest}:.`),
          (match) => match.slice(0, -1) + (match.endsWith('0') ? '1' : '0'),
        );
        expect(() => digester.verify(wrong, 'x', '')).toThrow(DigestMismatch);
        // A weaker one is not looked at when a stronger one is there.
        if (chosen.length > 1 && strongest !== 'sha1' && chosen.includes('sha1'))
          digester.verify(text.replace(/sha1:[0-9a-f]{40}/, `sha1:${'0'.repeat(40)}`), 'x', '');
      }),
      { numRuns: 200 * effort },
    );
  });

  it('are those of the coreutils', () => {
    writeFileSync(join(work, 'content'), Buffer.alloc(70_000, 'abc'));
    for (const algorithm of ['sha1', 'sha256', 'sha512'] as const) {
      const wanted = execFileSync(`${algorithm}sum`, [join(work, 'content')])
        .toString()
        .split(' ')[0];
      const digester = new Digester([algorithm]);
      digester.update(readFileSync(join(work, 'content')));
      expect(digester.hex(algorithm)).toBe(wanted);
    }
  });
});
