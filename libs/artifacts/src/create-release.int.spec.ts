import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRelease } from './create-release.ts';
import { ReleaseSourceInvalid } from './errors.ts';
import { openRelease } from './open-release.ts';

let work: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'create-release-'));
  write(
    'src/jobs/web/spec',
    'name: web\ntemplates: {ctl.erb: bin/ctl}\npackages: [app]\nproperties: {port: {default: 80}}\n',
  );
  write('src/jobs/web/monit', 'check process web');
  write('src/jobs/web/templates/ctl.erb', '<%= p("port") %>');
  write('src/packages/lib/spec', 'name: lib\nfiles: [lib/**/*]\nexcluded_files: ["**/*.tmp"]\n');
  write('src/packages/lib/packaging', 'true\n');
  write('src/packages/app/spec', 'name: app\ndependencies: [lib]\nfiles:\n- app/run\n- archive.tgz\n');
  write('src/packages/app/packaging', 'cp run\n');
  write('src/src/lib/a/b.c', 'int b;');
  write('src/src/lib/.hidden', 'h');
  write('src/src/lib/junk.tmp', 'junk');
  write('src/src/app/run', '#!/bin/sh\n');
  chmodSync(join(work, 'src/src/app/run'), 0o755);
  write('src/blobs/archive.tgz', 'a blob');
  write('src/config/final.yml', 'name: demo\n');
  write('src/LICENSE', 'do what you like');
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), content);
}

const sh = (script: string) =>
  execFileSync('bash', ['-c', script], { cwd: join(work, 'src') })
    .toString()
    .trim();

describe('createRelease', () => {
  it('makes a release that opens again, with the files that the specs name', async () => {
    const created = await createRelease(join(work, 'src'), join(work, 'demo.tgz'), { version: '1.2' });
    const opened = await openRelease(created.path, {
      workDir: join(work, 'out'),
      sha1: created.digest,
      expectedName: 'demo',
    });

    expect(opened.manifest.version).toBe('1.2');
    expect(opened.manifest.packages.map(({ name, dependencies }) => [name, dependencies])).toEqual([
      ['app', ['lib']],
      ['lib', []],
    ]);
    expect([...(opened.jobs.get('web')?.templates.keys() ?? [])]).toEqual(['ctl.erb']);
    const listed = (name: string) =>
      execFileSync('tar', ['-tzf', opened.packages.get(name)?.path ?? ''])
        .toString()
        .split('\n')
        .filter((line) => line !== '' && !line.endsWith('/'));
    expect(listed('lib')).toEqual(['./lib/.hidden', './lib/a/b.c', './packaging']);
    expect(listed('app')).toEqual(['./app/run', './archive.tgz', './packaging']);
    expect(execFileSync('tar', ['-tzf', created.path]).toString()).toContain('./license.tgz');
  });

  it('gives the original fingerprints', async () => {
    const { packages, jobs } = await createRelease(join(work, 'src'), join(work, 'demo.tgz'));

    // The definition in shell, with coreutils.
    const digest = 'd() { printf sha256:%s "$(sha256sum < "$1" | cut -d" " -f1)"; }; ';
    expect(packages.find(({ name }) => name === 'app')?.fingerprint).toBe(
      sh(
        `${digest} printf 'v2app/run%s100755archive.tgz%s100644packaging%slib' "$(d src/app/run)" "$(d blobs/archive.tgz)" "$(d packages/app/packaging)" | sha256sum | cut -d' ' -f1`,
      ),
    );
    expect(jobs[0]?.fingerprint).toBe(
      sh(
        `${digest} printf 'v2job.MF%s100644monit%s100644templates/ctl.erb%s100644' "$(d jobs/web/spec)" "$(d jobs/web/monit)" "$(d jobs/web/templates/ctl.erb)" | sha256sum | cut -d' ' -f1`,
      ),
    );
  });

  it('makes the same bytes from the same sources', async () => {
    await createRelease(join(work, 'src'), join(work, 'one.tgz'));
    await createRelease(join(work, 'src'), join(work, 'two.tgz'));

    expect(readFileSync(join(work, 'one.tgz')).equals(readFileSync(join(work, 'two.tgz')))).toBe(true);
  });

  it('keeps links as links', async () => {
    symlinkSync('a/b.c', join(work, 'src/src/lib/link.c'));

    const created = await createRelease(join(work, 'src'), join(work, 'demo.tgz'));
    const opened = await openRelease(created.path, { workDir: join(work, 'out') });

    const listing = execFileSync('tar', ['-tvzf', opened.packages.get('lib')?.path ?? '']).toString();
    expect(listing).toContain('./lib/link.c -> a/b.c');
  });

  it.each<[string, () => void, string]>([
    [
      'a pattern without files',
      () => write('src/packages/lib/spec', 'name: lib\nfiles: [nope/*]\n'),
      "matches 'nope/*'",
    ],
    [
      'an unknown dependency',
      () => write('src/packages/lib/spec', 'name: lib\ndependencies: [zzz]\n'),
      "needs the package 'zzz'",
    ],
    [
      'a missing template',
      () => rmSync(join(work, 'src/jobs/web/templates/ctl.erb')),
      "lists the template 'ctl.erb'",
    ],
    [
      'no packaging script',
      () => rmSync(join(work, 'src/packages/lib/packaging')),
      'has no script packages/lib/packaging',
    ],
    ['another job name', () => write('src/jobs/web/spec', 'name: other\n'), "the job is called 'other'"],
    ['no jobs', () => rmSync(join(work, 'src/jobs'), { recursive: true }), 'has no jobs'],
    ['a vendored package', () => write('src/packages/lib/spec.lock', 'name: lib\n'), 'is vendored'],
  ])('refuses %s', async (_name, spoil, problem) => {
    spoil();

    const creating = createRelease(join(work, 'src'), join(work, 'demo.tgz'));

    await expect(creating).rejects.toThrow(ReleaseSourceInvalid);
    await expect(creating).rejects.toThrow(problem);
  });
});
