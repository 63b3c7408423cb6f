import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import { bakeMicro } from '@microbosh/stemcell-builder';
import type { Iaas } from '@microbosh/stemcell-builder';
import { root, succeed } from './commands.ts';

const runner = new NodeCommandRunner();

/** A job that serves, over HTTP, what its template shows of the apply spec. */
const greeter: Readonly<Record<string, string>> = {
  'config/final.yml': 'name: greeting\n',
  'jobs/greeter/spec': [
    'name: greeter',
    'templates: {ctl.erb: bin/ctl, run.erb: bin/run, page.erb: config/page}',
    'packages: []',
    'properties:',
    '  greeter.port: {default: 8080}',
    '  ntp: {default: []}',
    '',
  ].join('\n'),
  'jobs/greeter/monit': [
    'check process greeter',
    '  with pidfile /var/vcap/sys/run/greeter.pid',
    '  start program "/var/vcap/jobs/greeter/bin/ctl start"',
    '  stop program "/var/vcap/jobs/greeter/bin/ctl stop"',
    '  group vcap',
    '',
  ].join('\n'),
  'jobs/greeter/templates/page.erb':
    "<%= p('director.name') %> at <%= p('agent.nats.address') %> asks <%= p('ntp').join(',') %>",
  'jobs/greeter/templates/run.erb': `#!/bin/bash
echo "the errand ran" | tee -a /var/vcap/sys/log/greeter/greeter.stdout.log
echo "and complained" >&2
`,
  'jobs/greeter/templates/ctl.erb': `#!/bin/bash
set -eu
pidfile=/var/vcap/sys/run/greeter.pid
case "$1" in
  start)
    mkdir -p /var/vcap/sys/run /var/vcap/sys/log/greeter
    setsid /var/vcap/bosh/bin/node -e '
      const page = require("fs").readFileSync("/var/vcap/jobs/greeter/config/page");
      require("http").createServer((_, answer) => answer.end(page)).listen(<%= p("greeter.port") %>);
      console.log("serving");
    ' >> /var/vcap/sys/log/greeter/greeter.stdout.log 2>&1 < /dev/null &
    echo $! > "$pidfile"
    ;;
  stop)
    kill "$(cat "$pidfile")" && rm -f "$pidfile"
    ;;
esac
`,
};

/** The light stemcell of the local provider with a release baked in, as `build-stemcell --micro` bakes it for a cloud. */
export async function microStemcell(directory: string, iaas: Iaas = 'local'): Promise<string> {
  const release = join(directory, 'greeting.tgz');
  const source = join(directory, 'greeting');
  for (const [path, text] of Object.entries(greeter)) {
    await mkdir(dirname(join(source, path)), { recursive: true });
    await writeFile(join(source, path), text);
  }
  await succeed(['bin/microbosh', 'create-release', source, '--tarball', release]);

  const stemcell = join(directory, 'stemcell');
  const tree = join(directory, 'tree');
  await mkdir(stemcell);
  await mkdir(tree);
  await runner.run(['tar', '-C', stemcell, '-xzf', join(root, 'dist/stemcells/local-host-rootfs.tgz')]);
  await runner.run(['tar', '-C', tree, '-xzf', join(stemcell, 'image')]);
  const spec = await bakeMicro(
    runner,
    tree,
    directory,
    iaas,
    { release, jobs: ['greeter'] },
    () => undefined,
  );
  await writeFile(join(stemcell, 'apply_spec.yml'), spec);
  await runner.run(['tar', '-C', tree, '-czf', join(stemcell, 'image'), 'var']);
  const digest = createHash('sha256')
    .update(await readFile(join(stemcell, 'image')))
    .digest('hex');
  const manifest = await readFile(join(stemcell, 'stemcell.MF'), 'utf8');
  await writeFile(
    join(stemcell, 'stemcell.MF'),
    manifest.replace(/^sha1: .*$/m, `sha1: sha256:${digest}`).replace('host-rootfs\n', 'micro-greeting\n'),
  );
  const tarball = join(directory, 'micro-stemcell.tgz');
  await runner.run(['tar', '-C', stemcell, '-czf', tarball, 'stemcell.MF', 'apply_spec.yml', 'image']);
  return tarball;
}
