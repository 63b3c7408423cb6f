import { cp, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';

const runner = new NodeCommandRunner();
const program = join(import.meta.dirname, '../../../../libs/cpi/testdata/memory-cpi.py');

async function pack(
  directory: string,
  name: string,
  files: Readonly<Record<string, string>>,
  more?: string,
): Promise<string> {
  const source = join(directory, 'source', name);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(source, path)), { recursive: true });
    await writeFile(join(source, path), content);
  }
  if (more !== undefined) await cp(more, join(source, 'memory-cpi.py'));
  const archive = join(directory, `${name}.tgz`);
  await runner.run(['tar', '-czf', archive, '-C', source, '.']);
  return archive;
}

/** Builds a release of a CPI in Python, whose package needs another one to compile. Answers the tarball. */
export async function buildMemoryCpiRelease(directory: string): Promise<string> {
  const tree = join(directory, 'release');
  const place = async (from: string, to: string) => {
    await mkdir(dirname(join(tree, to)), { recursive: true });
    await cp(from, join(tree, to));
  };
  await place(
    await pack(directory, 'base', {
      packaging: 'set -e\necho "$BOSH_INSTALL_TARGET" > "$BOSH_INSTALL_TARGET/place"\n',
    }),
    'packages/base.tgz',
  );
  await place(
    await pack(
      directory,
      'memory_cpi',
      {
        packaging: [
          'set -e',
          'test "$PWD" = "$BOSH_COMPILE_TARGET" && test "$BOSH_PACKAGE_NAME" = memory_cpi',
          'cp "$BOSH_PACKAGES_DIR/base/place" "$BOSH_INSTALL_TARGET/place-of-base"',
          'cp memory-cpi.py "$BOSH_INSTALL_TARGET/" && chmod +x "$BOSH_INSTALL_TARGET/memory-cpi.py"',
          '',
        ].join('\n'),
      },
      program,
    ),
    'packages/memory_cpi.tgz',
  );
  await place(
    await pack(directory, 'job', {
      'job.MF': [
        'name: memory_cpi',
        'templates: {cpi.erb: bin/cpi, cpi.json.erb: config/cpi.json}',
        'packages: [memory_cpi]',
        'properties: {memory.state: {description: file}, memory.password: {default: none}}',
        '',
      ].join('\n'),
      monit: '',
      'templates/cpi.erb': [
        '#!/bin/bash',
        'export MEMORY_CPI_STATE=<%= p("memory.state") %>',
        'test -f "$BOSH_JOBS_DIR/memory_cpi/config/cpi.json" || exit 9',
        'exec "$BOSH_PACKAGES_DIR/memory_cpi/memory-cpi.py"',
        '',
      ].join('\n'),
      'templates/cpi.json.erb': '<%= JSON.dump("password" => p("memory.password")) %>',
    }),
    'jobs/memory_cpi.tgz',
  );
  await writeFile(
    join(tree, 'release.MF'),
    [
      'name: memory-cpi-release',
      'version: "1"',
      'jobs: [{name: memory_cpi, version: j1, fingerprint: j1, sha1: ""}]',
      'packages:',
      '- {name: base, version: p1, fingerprint: p1, sha1: "", dependencies: []}',
      '- {name: memory_cpi, version: p2, fingerprint: p2, sha1: "", dependencies: [base]}',
      '',
    ].join('\n'),
  );
  const tarball = join(directory, 'release.tgz');
  await runner.run(['tar', '-czf', tarball, '-C', tree, 'release.MF', 'jobs', 'packages']);
  return tarball;
}
