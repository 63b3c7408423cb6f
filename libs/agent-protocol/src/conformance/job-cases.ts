import { setTimeout as sleep } from 'node:timers/promises';
import type { Json, JsonObject } from '@microbosh/errors';
import { noDigest, on, sha1, tarball } from './method-cases.ts';
import {
  expectException,
  expectThat,
  expectValue,
  objectOf,
  stringOf,
  valueOf,
  type Case,
  type Context,
} from './suite.ts';
import { filesOf } from './tarball.ts';

const job = 'conformance';

/** A job whose service is a sleep, with the scripts that the cases need. */
function jobFiles(base: string, version: string): Readonly<Record<string, string>> {
  const pidfile = `${base}/data/sys/run/${job}/${job}.pid`;
  const ctl = `${base}/jobs/${job}/bin/ctl`;
  const inJob = (files: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(files).map(([name, content]) => [`${job}/${name}`, content]));
  return inJob({
    monit: `check process ${job} with pidfile ${pidfile}\n  start program "${ctl} start" with timeout 20 seconds\n  stop program "${ctl} stop" with timeout 20 seconds\n  group vcap\n`,
    'bin/ctl': `#!/bin/sh\ncase $1 in\nstart) setsid sleep 100000 >/dev/null 2>&1 & echo $! > ${pidfile} ;;\nstop) kill $(cat ${pidfile}); rm -f ${pidfile} ;;\nesac\n`,
    'bin/run': '#!/bin/sh\necho out; echo err >&2; test -z "$WAIT" || sleep 1; exit 3\n',
    'bin/pre-start': '#!/bin/sh\necho "pre-start $WHO"\n',
    'bin/long': '#!/bin/sh\nexec sleep 30\n',
    'bin/broken': '#!/bin/sh\nexit 7\n',
    'bin/drain': `#!/bin/sh\ntest "$1" = job_check_status && echo 0 || echo -1\n`,
    'config/version': version,
  });
}

function specOf(context: Context, archive: JsonObject, more: JsonObject = {}): JsonObject {
  return {
    deployment: `conformance-${context.run}`,
    ...{ name: 'conformance', index: 0, id: '0', az: 'unknown', networks: {}, packages: {} },
    job: { name: 'conformance', templates: [{ name: job, version: '1' }] },
    rendered_templates_archive: archive,
    configuration_hash: 'conformance',
    ...more,
  };
}

function emptySpec(context: Context): JsonObject {
  return specOf(context, { sha1: '', blobstore_id: '' }, { job: { name: '', templates: [] } });
}

async function archive(context: Context, version = '1'): Promise<JsonObject> {
  const { bytes, sha1: digest } = tarball(jobFiles(context.base, version));
  const id = `conformance-archive-${context.run}-${version}`;
  await context.agent.putBlob(id, bytes);
  return { blobstore_id: id, sha1: digest };
}

async function jobState(context: Context): Promise<string> {
  return stringOf(objectOf(valueOf(await context.agent.call('get_state', []))).job_state, 'job_state');
}

async function untilState(context: Context, wanted: string): Promise<void> {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    if ((await jobState(context)) === wanted) return;
    await sleep(250);
  }
  throw new Error(`the job state is ${await jobState(context)} and not ${wanted}`);
}

const applying: readonly Case[] = [
  on('apply', 'destructive', 'takes the first spec of create-env, which has no jobs', async (context) => {
    expectValue(await context.agent.task('apply', [emptySpec(context)]), 'applied');
    const state = objectOf(valueOf(await context.agent.call('get_state', [])));
    expectThat(state.deployment === `conformance-${context.run}`, 'get_state does not show the spec');
    expectThat(state.configuration_hash === 'conformance', 'get_state does not show the configuration hash');
  }),
  on('prepare', 'destructive', 'installs without enabling', async (context) => {
    const before = JSON.stringify(objectOf(valueOf(await context.agent.call('get_state', []))).job);
    const spec = specOf(context, await archive(context));
    expectValue(await context.agent.task('prepare', [spec]), 'prepared');
    const after = JSON.stringify(objectOf(valueOf(await context.agent.call('get_state', []))).job);
    expectThat(before === after, 'the prepared spec was applied');
  }),
  on('apply', 'destructive', 'installs a job with a package', async (context) => {
    const { bytes, sha1: digest } = tarball({ 'bin/tool': '#!/bin/sh\necho tool\n' });
    const id = `conformance-tool-${context.run}`;
    await context.agent.putBlob(id, bytes);
    const tool = { name: 'tool', version: '1', sha1: digest, blobstore_id: id };
    const spec = specOf(context, await archive(context), { packages: { tool } });
    expectValue(await context.agent.task('apply', [spec]), 'applied');
    const state = objectOf(valueOf(await context.agent.call('get_state', [])));
    const { templates } = objectOf(state.job ?? null);
    expectThat(JSON.stringify(templates).includes(job), 'get_state does not show the job');
    expectThat('tool' in objectOf(state.packages ?? null), 'get_state does not show the package');
  }),
  on(
    'apply',
    'destructive',
    'takes a package from a signed URL',
    async (context) => {
      const { callback } = context;
      const { bytes, sha1: digest } = tarball({ 'bin/tool': '#!/bin/sh\necho signed\n' });
      const tool: JsonObject = {
        ...{ name: 'tool', version: '2', sha1: digest },
        signed_url: callback?.offer('tool', bytes) ?? '',
        blobstore_headers: { ...callback?.headers },
      };
      const spec = specOf(context, await archive(context), { packages: { tool } });
      expectValue(await context.agent.task('apply', [spec]), 'applied');
    },
    'callback',
  ),
  on(
    'apply',
    'destructive',
    'keeps the applied spec when an archive is another than its digest',
    async (context) => {
      const wrong = { ...(await archive(context, '2')), sha1: '0'.repeat(40) };
      const templates = [{ name: job, version: '2' }];
      const spec = specOf(context, wrong, { job: { name: 'conformance', templates } });
      expectException(await context.agent.task('apply', [spec]), /^Action Failed get_task: .*0{40}/);
      const state = objectOf(valueOf(await context.agent.call('get_state', [])));
      expectThat(JSON.stringify(state.job).includes('"1"'), 'get_state shows the spec that failed');
    },
  ),
  on('apply', 'destructive', 'refuses a network that the settings do not know', async (context) => {
    const spec = { ...emptySpec(context), networks: { 'conformance-absent': { type: 'manual' } } };
    expectException(
      await context.agent.task('apply', [spec]),
      /Network 'conformance-absent' is not found in settings/,
    );
  }),
  on('apply', 'none', 'refuses a package without digest', async (context) => {
    const tool = { name: 'tool', version: '1', sha1: '', blobstore_id: 'x' };
    const spec = { ...emptySpec(context), packages: { tool } };
    expectException(
      await context.agent.task('apply', [spec]),
      /Extracting method arguments from payload|no digest/,
    );
  }),
];

const lifeCycle: readonly Case[] = [
  on('start', 'destructive', 'answers started, and the jobs run', async (context) => {
    expectValue(await context.agent.call('start', []), 'started');
    await untilState(context, 'running');
    const { processes } = objectOf(valueOf(await context.agent.call('get_state', [])));
    const [process] = Array.isArray(processes) ? (processes as Json[]) : [];
    const { name, state, mem } = objectOf(process ?? null);
    expectThat(name === job && state === 'running', 'get_state does not show the process');
    objectOf(mem ?? null);
  }),
  on('run_script', 'destructive', 'runs a script with its environment, or none', async ({ agent }) => {
    expectValue(await agent.task('run_script', ['pre-start', { env: { WHO: 'conformance' } }]), {});
    expectValue(await agent.task('run_script', ['pre-start', {}]), {});
    expectValue(await agent.task('run_script', ['no-such-script', {}]), {});
  }),
  on('run_script', 'destructive', 'names the jobs whose script fails', async ({ agent }) =>
    expectException(
      await agent.task('run_script', ['broken', {}]),
      /1 of 1 broken scripts failed\. Failed Jobs: conformance\./,
    ),
  ),
  on('run_script', 'none', 'wants its second argument', async ({ agent }) =>
    expectException(await agent.task('run_script', ['pre-start']), /Not enough arguments, expected 2, got 1/),
  ),
  on('cancel_task', 'destructive', 'does not cancel what cannot be', async (context) => {
    const { agent } = context;
    const { bytes, sha1: digest } = tarball({ packaging: 'sleep 1\n' });
    const id = `conformance-sleep-${context.run}`;
    await agent.putBlob(id, bytes);
    const task = await agent.begin('compile_package', [id, digest, 'sleep', '1', {}]);
    expectException(await agent.call('cancel_task', [task]), /^Action Failed cancel_task: not supported$/);
    valueOf(await agent.end(task));
  }),
  on('run_errand', 'destructive', 'answers output and exit code of a job that fails', async ({ agent }) => {
    expectValue(await agent.task('run_errand', [job]), { stdout: 'out\n', stderr: 'err\n', exit_code: 3 });
  }),
  on('run_errand', 'destructive', 'does not know an errand that is no job', async ({ agent }) =>
    expectException(await agent.task('run_errand', ['absent']), /Could not find errand absent/),
  ),
  on(
    'run_errand',
    'destructive',
    'runs the first job when it is given no name, or wants the template of old',
    async ({ agent }) => {
      const answer = await agent.task('run_errand', []);
      if ('value' in answer) expectValue(answer, { stdout: 'out\n', stderr: 'err\n', exit_code: 3 });
      else expectException(answer, /At least one job template is required to run an errand/);
    },
  ),
  on('drain', 'none', 'refuses the type status', async ({ agent }) =>
    expectException(await agent.task('drain', ['status', {}]), /Unexpected call with drain type 'status'/),
  ),
  on('drain', 'none', 'wants a spec for an update', async ({ agent }) =>
    expectException(await agent.task('drain', ['update']), /Drain update requires new spec/),
  ),
  on('drain', 'destructive', 'waits out a dynamic drain and answers 0', async (context) => {
    expectValue(await context.agent.task('drain', ['shutdown', {}]), 0);
    expectValue(await context.agent.task('drain', ['update', emptySpec(context)]), 0);
  }),
  ...[0, 3].map((protocol) =>
    on('stop', 'destructive', `answers stopped with protocol ${protocol}`, async (context) => {
      valueOf(await context.agent.call('start', []));
      await untilState(context, 'running');
      expectValue(await context.agent.task('stop', [], protocol), 'stopped');
      await untilState(context, 'stopped');
    }),
  ),
];

/** Compilation as both methods do it: by blob, or by signed URL. */
function compile(context: Context, name: string, packaging: string, deps: JsonObject = {}) {
  const { bytes, sha1: digest } = tarball({ packaging, 'src/file': `source of ${name}\n` });
  const id = `conformance-${name}-${context.run}`;
  return {
    digest,
    byBlob: async (sent = digest) => {
      await context.agent.putBlob(id, bytes);
      return context.agent.task('compile_package', [id, sent, name, context.run, deps]);
    },
    byUrl: async (sent = digest) => {
      const { callback } = context;
      if (!callback) throw new Error('no callback server');
      return context.agent.task('compile_package_with_signed_url', [
        {
          package_get_signed_url: callback.offer(`${name}-source`, bytes),
          upload_signed_url: callback.url(`${name}-result`),
          blobstore_headers: { ...callback.headers },
          ...{ digest: sent, name, version: context.run, deps },
        },
      ]);
    },
  };
}

const packaging =
  'set -e\ncp src/file $BOSH_INSTALL_TARGET/file\necho $BOSH_PACKAGE_NAME $BOSH_PACKAGE_VERSION > $BOSH_INSTALL_TARGET/name\ntest "$PWD" = "$BOSH_COMPILE_TARGET"\n';

function resultOf(value: Json): { readonly id?: string; readonly sha1: string } {
  const { result } = objectOf(value);
  const { blobstore_id: id, sha1: digest } = objectOf(result ?? null);
  return { ...(typeof id === 'string' ? { id } : {}), sha1: stringOf(digest, 'sha1') };
}

const compiling: readonly Case[] = [
  on('compile_package', 'destructive', 'answers a blob with what the script installed', async (context) => {
    const result = resultOf(valueOf(await compile(context, 'alone', packaging).byBlob()));
    const content = await context.agent.getBlob(result.id ?? '');
    expectThat(sha1(content) === result.sha1.replace(/^sha1:/, ''), 'sha1 is not that of the blob');
    const files = filesOf(content);
    expectThat(files.get('file') === 'source of alone\n', 'the installed file is not in the result');
    expectThat(files.get('name') === `alone ${context.run}\n`, 'the variables of the environment are others');
  }),
  on('compile_package', 'destructive', 'puts dependencies where the script finds them', async (context) => {
    const first = resultOf(valueOf(await compile(context, 'dependency', packaging).byBlob()));
    const dependency = {
      name: 'dependency',
      version: context.run,
      sha1: first.sha1,
      blobstore_id: first.id ?? '',
    };
    const script = `set -e\ncp ${context.base}/packages/dependency/file $BOSH_INSTALL_TARGET/copied\n`;
    const dependent = compile(context, 'dependent', script, { dependency });
    const result = resultOf(valueOf(await dependent.byBlob()));
    const files = filesOf(await context.agent.getBlob(result.id ?? ''));
    expectThat(files.get('copied') === 'source of dependency\n', 'the dependency was not there');
  }),
  on(
    'compile_package',
    'destructive',
    'tells the end of the output of a script that fails',
    async (context) =>
      expectException(
        await compile(context, 'broken', 'echo on stdout\necho on stderr >&2\nexit 9\n').byBlob(),
        /Compiling package broken: Running packaging script: Running packaging script: .*on stdout.*on stderr/s,
      ),
  ),
  on('compile_package', 'destructive', 'refuses a source that is another than its digest', async (context) =>
    expectException(await compile(context, 'other', packaging).byBlob('0'.repeat(40)), /0{40}/),
  ),
  on('compile_package', 'files', 'refuses a source without digest', async (context) =>
    expectException(await compile(context, 'undigested', packaging).byBlob(''), noDigest),
  ),
  on('compile_package', 'destructive', 'refuses a source without reference', async ({ agent, run }) =>
    expectException(
      await agent.task('compile_package', ['', '0'.repeat(40), 'nothing', run, {}]),
      /No blobstore reference for package 'nothing'/,
    ),
  ),
  on(
    'compile_package_with_signed_url',
    'destructive',
    'sends what the script installed',
    async (context) => {
      const result = resultOf(valueOf(await compile(context, 'signed', packaging).byUrl()));
      const content = context.callback?.received('signed-result') ?? Buffer.alloc(0);
      expectThat(result.sha1.includes(sha1(content)), 'sha1 is not that of the upload');
      expectThat(
        filesOf(content).get('file') === 'source of signed\n',
        'the installed file is not in the result',
      );
    },
    'callback',
  ),
  on(
    'compile_package_with_signed_url',
    'files',
    'refuses a source without digest',
    async (context) => expectException(await compile(context, 'unsigned', packaging).byUrl(''), noDigest),
    'callback',
  ),
];

const ending: readonly Case[] = [
  on('apply', 'destructive', 'removes the jobs that a spec does not name', async (context) => {
    expectValue(await context.agent.task('apply', [emptySpec(context)]), 'applied');
    expectValue(await context.agent.call('start', []), 'started');
    await untilState(context, 'running');
    const { processes } = objectOf(valueOf(await context.agent.call('get_state', [])));
    expectThat(processes === undefined || (processes as Json[]).length === 0, 'a process is left');
  }),
];

/** In this order: what is compiled first needs no jobs, what runs needs what was applied. */
export const jobCases: readonly Case[] = [...compiling, ...applying, ...lifeCycle, ...ending];
