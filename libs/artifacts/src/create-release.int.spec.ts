import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRelease } from './create-release.ts';
import { DigestMismatch, ReleaseSourceInvalid } from './errors.ts';
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

/** Puts the package `lib` into the release as vendoring does: a lock, an index, an archive in the blobstore. */
function vendor(algorithm: 'sha1' | 'sha256'): string {
  rmSync(join(work, 'src/packages/lib'), { recursive: true });
  write('vendored/packaging', 'echo from another release\n');
  mkdirSync(join(work, 'blobs'), { recursive: true });
  execFileSync('tar', ['-C', join(work, 'vendored'), '-czf', join(work, 'blobs/some-id'), '.']);
  const [hex = ''] = execFileSync(`${algorithm}sum`, [join(work, 'blobs/some-id')])
    .toString()
    .split(' ');
  const digest = algorithm === 'sha1' ? hex : `sha256:${hex}`;
  write('src/packages/lib/spec.lock', 'name: lib\nfingerprint: f00\ndependencies: [base]\n');
  write('src/packages/base/spec', 'name: base\n');
  write('src/packages/base/packaging', 'true\n');
  write(
    'src/.final_builds/packages/lib/index.yml',
    `builds:\n  f00:\n    version: f00\n    blobstore_id: some-id\n    sha1: ${digest}\nformat-version: "2"\n`,
  );
  return digest;
}

describe('a vendored package', () => {
  it.each(['sha1', 'sha256'] as const)(
    'is taken as it was built, with its fingerprint and dependencies (%s)',
    async (algorithm) => {
      const digest = vendor(algorithm);
      write(
        'src/config/final.yml',
        `name: demo\nblobstore:\n  provider: local\n  options: {blobstore_path: ${join(work, 'blobs')}}\n`,
      );

      const created = await createRelease(join(work, 'src'), join(work, 'demo.tgz'));
      const opened = await openRelease(created.path, { workDir: join(work, 'out') });

      expect(opened.manifest.packages.find(({ name }) => name === 'lib')).toEqual({
        name: 'lib',
        version: 'f00',
        fingerprint: 'f00',
        sha1: digest,
        dependencies: ['base'],
      });
      expect(readFileSync(opened.packages.get('lib')?.path ?? '')).toEqual(
        readFileSync(join(work, 'blobs/some-id')),
      );
    },
  );

  it('is fetched from a bucket that anybody may read, and refused when it is another one', async () => {
    vendor('sha256');
    const asked: string[] = [];
    let blob = readFileSync(join(work, 'blobs/some-id'));
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.end(blob);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      write(
        'src/config/final.yml',
        `name: demo\nblobstore:\n  provider: s3\n  options: {bucket_name: b, folder_name: f, host: 127.0.0.1, port: ${port}, use_ssl: false}\n`,
      );

      const { packages } = await createRelease(join(work, 'src'), join(work, 'demo.tgz'));
      expect(packages.map(({ name }) => name)).toContain('lib');
      expect(asked).toEqual(['/b/f/some-id']);

      blob = Buffer.from('another');
      await expect(createRelease(join(work, 'src'), join(work, 'demo.tgz'))).rejects.toThrow(DigestMismatch);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it.each([
    ['gcs', '{bucket_name: b, folder_name: f}', 'storage.googleapis.com', '/b/f/some-id'],
    ['s3', '{bucket_name: b, region: eu-west-1}', 's3.eu-west-1.amazonaws.com', '/b/some-id'],
  ])('is fetched from %s with %s', async (provider, options, host, path) => {
    vendor('sha256');
    write('src/config/final.yml', `name: demo\nblobstore: {provider: ${provider}, options: ${options}}\n`);

    const { asked, packages } = await createBehindProxy(host);

    expect(asked).toEqual([`CONNECT ${host}:443`, `GET ${path}`]);
    expect(packages).toContain('lib');
  });
});

/** Creates the release in a process that reaches no host but one, over TLS and a proxy: that one is a server of ours. */
async function createBehindProxy(host: string): Promise<{ asked: string[]; packages: string[] }> {
  const asked: string[] = [];
  const listen = async (server: Server) => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  const files = ['-keyout', join(work, 'key.pem'), '-out', join(work, 'cert.pem')];
  const names = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...files, ...names],
    {
      stdio: 'pipe',
    },
  );
  const tls = { key: readFileSync(join(work, 'key.pem')), cert: readFileSync(join(work, 'cert.pem')) };
  const blobs = createTlsServer(tls, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end(readFileSync(join(work, 'blobs/some-id')));
  });
  const port = await listen(blobs);
  const proxy = createServer().on('connect', (request, client) => {
    asked.push(`CONNECT ${request.url}`);
    const upstream = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.destroy());
    client.on('error', () => upstream.destroy());
  });
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: work,
    SSL_CERT_FILE: join(work, 'cert.pem'),
    HTTPS_PROXY: `http://127.0.0.1:${await listen(proxy)}`,
  };
  const script = `
    const { createRelease } = await import(${JSON.stringify(join(import.meta.dirname, 'create-release.ts'))});
    const { packages } = await createRelease(${JSON.stringify(join(work, 'src'))}, ${JSON.stringify(join(work, 'demo.tgz'))});
    console.log(JSON.stringify(packages.map(({ name }) => name)));`;
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module-typescript', '-e', script],
      { env, timeout: 60_000 },
    );
    return { asked, packages: JSON.parse(stdout) as string[] };
  } finally {
    for (const server of [blobs, proxy]) {
      server.closeAllConnections();
      server.close();
    }
  }
}

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
    [
      'a vendored package whose build is not listed',
      () => write('src/packages/lib/spec.lock', 'name: lib\nfingerprint: abc\n'),
      'does not list it',
    ],
    [
      'a spec.lock of another package',
      () => write('src/packages/lib/spec.lock', 'name: other\nfingerprint: abc\n'),
      "is that of the package 'other'",
    ],
    [
      'a vendored package in a blobstore that needs credentials',
      () => {
        vendor('sha1');
        write('src/config/final.yml', 'name: demo\nblobstore: {provider: dav}\n');
      },
      "a blobstore of the kind 'dav'",
    ],
  ])('refuses %s', async (_name, spoil, problem) => {
    spoil();

    const creating = createRelease(join(work, 'src'), join(work, 'demo.tgz'));

    await expect(creating).rejects.toThrow(ReleaseSourceInvalid);
    await expect(creating).rejects.toThrow(problem);
  });
});
