import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const main = join(import.meta.dirname, '../main.ts');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'artifact-commands-'));
  write(
    'src/jobs/web/spec',
    'name: web\ntemplates: {ctl: bin/ctl}\npackages: [app]\nproperties: {port: {}}\nconsumes: [{name: db, type: sql}]\n',
  );
  write('src/jobs/web/monit', 'check process web\n');
  write('src/jobs/web/templates/ctl', '<%= p("port") %>\n');
  write('src/packages/app/spec', 'name: app\nfiles: [app/run]\n');
  write('src/packages/app/packaging', 'cp -a app/run $BOSH_INSTALL_TARGET\n');
  write('src/src/app/run', '#!/bin/sh\n');
  write('src/config/final.yml', 'name: demo\n');
  write('src/LICENSE', 'do what you like\n');
  write('stemcell/image', 'an image');
  write(
    'stemcell/stemcell.MF',
    `name: st\nversion: "1.10"\nsha1: ${sha('sha1', 'stemcell/image')}\noperating_system: ubuntu-noble\napi_version: 3\nstemcell_formats: [aws-raw]\ncloud_properties: {disk: 5}\n`,
  );
  execFileSync('tar', ['-C', 'stemcell', '-czf', 'stemcell.tgz', 'stemcell.MF', 'image'], { cwd: folder });
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
}

const sha = (algorithm: string, path: string) =>
  createHash(algorithm)
    .update(readFileSync(join(folder, path)))
    .digest('hex');

function microbosh(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, HOME: folder };
    execFile(
      process.execPath,
      [main, ...argv],
      { cwd: folder, env, timeout: 60_000 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

describe('create-release and inspect-release', () => {
  it('make a tarball that GNU tar reads, and show what is in it', async () => {
    const created = await microbosh(
      'create-release',
      'src',
      '--tarball',
      'out.tgz',
      '--release-version',
      '7',
    );

    expect(created.code, created.stderr).toBe(0);
    expect(created.stdout).toContain(`sha1: sha256:${sha('sha256', 'out.tgz')}`);
    expect(statSync(join(folder, 'out.tgz')).mode & 0o777).toBe(0o644);
    const listed = execFileSync('tar', ['-tzf', 'out.tgz'], { cwd: folder }).toString();
    for (const part of ['release.MF', 'jobs/web.tgz', 'packages/app.tgz', 'license.tgz', 'LICENSE'])
      expect(listed).toContain(`./${part}\n`);

    const shown = await microbosh('inspect-release', 'out.tgz');

    expect(shown.code, shown.stderr).toBe(0);
    expect(shown.stdout).toMatch(/^Name +demo\nVersion +7\nCommit +non-git\nDigest +sha256:[0-9a-f]{64}\n/);
    expect(shown.stdout).toMatch(/^Job +web\/[0-9a-f]{64}: app$/m);
    expect(shown.stdout).toMatch(/^Package +app\/[0-9a-f]{64}$/m);
    expect(shown.stdout).toMatch(/^Licence +[0-9a-f]{64}$/m);
  });

  it('answer with one object each under --json', async () => {
    const created = await microbosh(
      'create-release',
      'src',
      '--tarball',
      'json.tgz',
      '--name',
      'other',
      '--json',
    );
    const shown = await microbosh('inspect-release', 'json.tgz', '--json');

    const made = JSON.parse(created.stdout) as { jobs: { fingerprint: string }[] };
    expect(made).toMatchObject({
      name: 'other',
      version: '0+dev.1',
      path: join(folder, 'json.tgz'),
      sha1: `sha256:${sha('sha256', 'json.tgz')}`,
    });
    expect(JSON.parse(shown.stdout)).toMatchObject({
      name: 'other',
      version: '0+dev.1',
      sha1: `sha256:${sha('sha256', 'json.tgz')}`,
      jobs: [
        {
          name: 'web',
          fingerprint: made.jobs[0]?.fingerprint,
          packages: ['app'],
          templates: { ctl: 'bin/ctl' },
          properties: ['port'],
          consumes: [{ name: 'db', type: 'sql' }],
          provides: [],
        },
      ],
      packages: [{ name: 'app', dependencies: [] }],
      compiled_packages: [],
      license: { sha1: expect.stringMatching(/^sha256:/) as string },
    });
  });

  it('name the commit that the sources are from', async () => {
    execFileSync('cp', ['-r', 'src', 'git'], { cwd: folder });
    const git = (...argv: string[]) =>
      execFileSync('git', ['-c', 'user.name=n', '-c', 'user.email=e', ...argv], { cwd: join(folder, 'git') })
        .toString()
        .trim();
    git('init', '-q');
    git('add', '.');
    git('commit', '-qm', 'first');
    write('git/src/app/run', 'changed');

    await microbosh('create-release', 'git', '--tarball', 'git.tgz');
    const { stdout } = await microbosh('inspect-release', 'git.tgz');

    expect(stdout).toContain(
      `Commit        ${git('rev-parse', '--short', 'HEAD')} (with uncommitted changes)`,
    );
  });

  it.each([
    [['inspect-release', 'nothing.tgz'], 'nothing.tgz cannot be read'],
    [['inspect-release', 'stemcell.tgz'], 'stemcell.tgz holds no release.MF: it is not a release.'],
    [
      ['inspect-release', 'out.tgz', '--sha1', `sha256:${'0'.repeat(64)}`],
      'Release out.tgz has the sha256 digest',
    ],
    [['inspect-release', 'out.tgz', '--sha1', 'no digest'], "Unable to parse digest 'no digest'"],
    [['create-release', 'stemcell', '--tarball', 'x.tgz'], 'has no jobs: it is not the source of a release.'],
  ])('%j fails with %s', async (argv, message) => {
    const { code, stdout, stderr } = await microbosh(...argv);

    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(message);
    expect(existsSync(join(folder, 'x.tgz'))).toBe(false);
  });
});

describe('inspect-stemcell', () => {
  it('shows what it is', async () => {
    const { code, stdout, stderr } = await microbosh('inspect-stemcell', 'stemcell.tgz');

    expect(code, stderr).toBe(0);
    expect(stdout).toBe(
      `Name              st
Version           1.10
Operating system  ubuntu-noble
API version       3
Formats           aws-raw
Cloud properties  {"disk":5}
Image             8 bytes, as its digest says
Digest            sha256:${sha('sha256', 'stemcell.tgz')}
`,
    );
  });

  it('answers with one object under --json', async () => {
    const digest = `${sha('sha1', 'stemcell.tgz')};sha512:${sha('sha512', 'stemcell.tgz')}`;
    const { stdout } = await microbosh('inspect-stemcell', 'stemcell.tgz', '--sha1', digest, '--json');

    expect(JSON.parse(stdout)).toEqual({
      name: 'st',
      version: '1.10',
      operating_system: 'ubuntu-noble',
      api_version: 3,
      stemcell_formats: ['aws-raw'],
      cloud_properties: { disk: 5 },
      image_bytes: 8,
      sha1: `sha256:${sha('sha256', 'stemcell.tgz')}`,
      micro: false,
    });
  });

  it('fails as one object under --json', async () => {
    const { code, stdout } = await microbosh('inspect-stemcell', 'out.tgz', '--json');

    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ type: 'error', code: 'E_ARTIFACT_INCOMPLETE', exitCode: 1 });
  });
});
