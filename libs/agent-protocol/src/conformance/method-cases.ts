import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonObject, type Json } from '@microbosh/errors';
import { VitalsSchema } from '../schemas.ts';
import { firstProblem, parseResult } from '../validation.ts';
import {
  expectException,
  expectThat,
  expectValue,
  objectOf,
  stringOf,
  valueOf,
  type Case,
  type Context,
  type Effect,
} from './suite.ts';
import { filesOf, tarball } from './tarball.ts';

function on(method: string, effect: Effect, title: string, run: Case['run'], needs?: Case['needs']): Case {
  return { method, title, effect, run, ...(needs === undefined ? {} : { needs }) };
}

function callbackOf(context: Context) {
  if (!context.callback) throw new Error('no callback server');
  return context.callback;
}

const noDigest = /no digest algorithm found. Supported algorithms: sha1, sha256, sha512/;
const sha1 = (content: Uint8Array) => createHash('sha1').update(content).digest('hex');

const questions: readonly Case[] = [
  on('ping', 'none', 'answers pong', async ({ agent }) => expectValue(await agent.call('ping', []), 'pong')),
  on('noop', 'none', 'answers nope', async ({ agent }) => expectValue(await agent.call('noop', []), 'nope')),
  on('info', 'none', 'answers the API version', async ({ agent }) =>
    expectValue(await agent.call('info', []), { api_version: 1 }),
  ),
  ...[[], ['full'], ['other']].map((args) =>
    on('get_state', 'none', `answers the state for ${JSON.stringify(args)}`, async ({ agent }) => {
      const value = valueOf(await agent.call('get_state', args));
      const state = parseResult('get_state', value);
      expectThat(
        ['running', 'starting', 'failing', 'stopped', 'unknown'].includes(state.job_state),
        `the job state is ${state.job_state}`,
      );
      expectThat(state.agent_id !== '', 'the agent has no id');
      expectThat(
        (args[0] === 'full') === (state.vitals !== undefined),
        'vitals come with "full" and only then',
      );
      const known = objectOf(value);
      for (const key of ['deployment', 'job', 'packages', 'networks', 'persistent_disk', 'resource_pool']) {
        expectThat(key in known, `the key ${key} is missing`);
      }
    }),
  ),
  on('get_state', 'none', 'measures the machine in strings, the uptime in a number', async ({ agent }) => {
    const { vitals } = objectOf(valueOf(await agent.call('get_state', ['full'])));
    const problem = firstProblem(VitalsSchema, vitals);
    expectThat(problem === undefined, `vitals: ${problem ?? ''}`);
    const { load, cpu, mem, disk } = objectOf(vitals ?? null);
    expectThat(Array.isArray(load) && load.length === 3, 'the load has not three parts');
    for (const part of [cpu, mem]) {
      for (const [key, text] of Object.entries(objectOf(part ?? null))) {
        expectThat(typeof text === 'string' && /^\d+(\.\d+)?$/.test(text), `${key} is no number in a string`);
      }
    }
    expectThat(isJsonObject(disk ?? null), 'there are no disks');
  }),
  on('get_bootstrap_report', 'none', 'answers the report, or says that there is none', async ({ agent }) => {
    const answer = await agent.call('get_bootstrap_report', []);
    if ('value' in answer) parseResult('get_bootstrap_report', valueOf(answer));
    else expectException(answer, /There is no bootstrap report|unknown message get_bootstrap_report/);
  }),
  on('list_disk', 'none', 'answers at once before protocol 3', async ({ agent }) => {
    for (const protocol of [0, 1, 2]) {
      const value = valueOf(await agent.call('list_disk', [], protocol));
      expectThat(Array.isArray(value) && value.every((cid) => typeof cid === 'string'), 'not a list of CIDs');
    }
  }),
  on('list_disk', 'none', 'is a task from protocol 3 on', async ({ agent }) =>
    expectThat(Array.isArray(valueOf(await agent.task('list_disk', [], 3))), 'not a list of CIDs'),
  ),
];

const absentTask = '00000000-0000-4000-8000-000000000000';
const tasks: readonly Case[] = [
  on('get_task', 'none', 'does not know the task of another', async ({ agent }) =>
    expectException(
      await agent.call('get_task', [absentTask]),
      new RegExp(`^Action Failed get_task: Task with id ${absentTask} could not be found$`),
    ),
  ),
  on('cancel_task', 'none', 'does not know the task of another', async ({ agent }) =>
    expectException(await agent.call('cancel_task', [absentTask]), /Task with id .* could not be found$/),
  ),
  on('get_task', 'none', 'answers the final value of a task again and again', async ({ agent }) => {
    const id = await agent.begin('list_disk', [], 3);
    const first = await agent.end(id);
    expectValue(await agent.call('get_task', [id]), valueOf(first));
  }),
  on('get_task', 'none', 'answers the failure of a task again and again', async ({ agent }) => {
    const id = await agent.begin('mount_disk', [`absent-${absentTask}`]);
    const first = await agent.end(id);
    expectThat(JSON.stringify(first) === JSON.stringify(await agent.end(id)), 'the second answer differs');
    expectException(first, new RegExp(`^Action Failed get_task: Task ${id} result: `));
  }),
  on('cancel_task', 'none', 'leaves a task alone that has ended', async ({ agent }) => {
    const id = await agent.begin('list_disk', [], 3);
    const first = await agent.end(id);
    expectValue(await agent.call('cancel_task', [id]), 'canceled');
    expectValue(await agent.call('get_task', [id]), valueOf(first));
  }),
];

const disks: readonly Case[] = [
  ...['mount_disk', 'unmount_disk'].map((method) =>
    on(method, 'none', 'names a disk that it does not know', async ({ agent, run }) =>
      expectException(
        await agent.task(method, [`absent-${run}`]),
        /Persistent disk with volume id 'absent-.*' could not be found/,
      ),
    ),
  ),
  on(
    'add_persistent_disk',
    'files',
    'takes a hint as text and as object, and it can be removed',
    async ({ agent, run }) => {
      const cid = `conformance-${run}`;
      const hints: readonly Json[] = [
        '/dev/conformance',
        { path: '/dev/conformance' },
        { id: 'a-b' },
        { lun: '1', host_device_id: '{x}' },
      ];
      for (const hint of hints) expectValue(await agent.task('add_persistent_disk', [cid, hint]), {});
      expectValue(await agent.task('remove_persistent_disk', [cid]), {});
      expectException(await agent.task('unmount_disk', [cid]), /could not be found/);
    },
  ),
  on('remove_persistent_disk', 'files', 'is content when there is no such disk', async ({ agent, run }) =>
    expectValue(await agent.task('remove_persistent_disk', [`absent-${run}`]), {}),
  ),
  on(
    'add_dynamic_disk',
    'files',
    'takes a hint, also again, and the disk is removed',
    async ({ agent, device }) => {
      const { cid, path } = device ?? { cid: '', path: '' };
      expectValue(await agent.task('add_dynamic_disk', [cid, { path }]), {});
      expectValue(await agent.task('add_dynamic_disk', [cid, path]), {});
      expectValue(await agent.call('remove_dynamic_disk', [cid]), {});
    },
    'device',
  ),
  on('remove_dynamic_disk', 'files', 'is content when there is no such disk', async ({ agent, run }) =>
    expectValue(await agent.call('remove_dynamic_disk', [`absent-${run}`]), {}),
  ),
  on(
    'mount_disk',
    'destructive',
    'mounts, lists, migrates and unmounts',
    async ({ agent, disks: named }) => {
      const [from, to] = named ?? ['', ''];
      const listed = async () => [...(valueOf(await agent.call('list_disk', [])) as string[])].sort();
      expectValue(await agent.task('mount_disk', [from]), {});
      expectValue(await agent.task('mount_disk', [from]), {});
      expectThat((await listed()).join() === from, 'list_disk does not name the disk that is mounted');
      expectValue(await agent.task('mount_disk', [to]), {});
      expectThat((await listed()).join() === [from, to].sort().join(), 'list_disk does not name both disks');
      expectValue(await agent.task('migrate_disk', []), {});
      expectThat((await listed()).join() === to, 'after the migration the new disk is not the mounted one');
      const { message } = objectOf(valueOf(await agent.task('unmount_disk', [to])));
      expectThat(/^Unmounted partition of /.test(stringOf(message, 'the message')), 'the message is another');
      const again = objectOf(valueOf(await agent.task('unmount_disk', [to])));
      expectThat(
        /is not mounted$/.test(stringOf(again.message, 'the message')),
        'the second message is another',
      );
      expectValue(await agent.call('list_disk', []), []);
    },
    'disks',
  ),
  on('migrate_disk', 'destructive', 'refuses without two mounted disks', async ({ agent }) =>
    expectException(await agent.task('migrate_disk', []), /^Action Failed get_task: /),
  ),
];

const blobs: readonly Case[] = [
  on('upload_blob', 'files', 'stores what fits its checksum', async ({ agent, run }) => {
    const payload = Buffer.from(`secret ${run}`);
    for (const algorithm of ['sha1', 'sha256', 'sha512']) {
      const hex = createHash(algorithm).update(payload).digest('hex');
      const blob = {
        blob_id: `conformance-${run}`,
        checksum: `${algorithm}:${hex}`,
        payload: payload.toString('base64'),
      };
      expectValue(await agent.task('upload_blob', [blob]), blob.blob_id);
    }
    const { status } = await agent.send('GET', `/blobs/conformance-${run}`);
    expectThat(status === 404, 'a sensitive blob is served');
  }),
  on('upload_blob', 'none', 'refuses what does not fit its checksum', async ({ agent, run }) => {
    const blob = { blob_id: `conformance-${run}`, checksum: '0'.repeat(40), payload: 'AAAA' };
    expectException(
      await agent.task('upload_blob', [blob]),
      /Payload corrupted. Checksum mismatch. Expected '0{40}'/,
    );
  }),
  ...['job', 'agent', 'system', 'job,agent'].map((types) =>
    on('fetch_logs', 'files', `packs ${types} into a blob with its digest`, async ({ agent }) => {
      const value = objectOf(valueOf(await agent.task('fetch_logs', [types, ['**/*.log']])));
      const content = await agent.getBlob(stringOf(value.blobstore_id, 'blobstore_id'));
      expectThat(content.readUInt16BE(0) === 0x1f8b, 'the blob is no gzip');
      expectThat(
        sha1(content) === stringOf(value.sha1, 'sha1').replace(/^sha1:/, ''),
        'sha1 is not that of the blob',
      );
      for (const name of filesOf(content).keys()) {
        expectThat(name.endsWith('.log'), `'${name}' does not match the filter`);
        expectThat(types !== 'system' || name.startsWith('var/log/'), `'${name}' is not below var/log`);
      }
    }),
  ),
  on('fetch_logs', 'none', 'refuses another type', async ({ agent }) =>
    expectException(await agent.task('fetch_logs', ['bogus', []]), /Invalid log type/),
  ),
  on(
    'fetch_logs_with_signed_url',
    'files',
    'sends the logs with the headers it was given',
    async (context) => {
      const callback = callbackOf(context);
      const request = {
        signed_url: callback.url('logs'),
        log_type: 'agent',
        filters: [],
        blobstore_headers: { ...callback.headers },
      };
      const value = objectOf(valueOf(await context.agent.task('fetch_logs_with_signed_url', [request])));
      expectThat(
        stringOf(value.sha1, 'sha1').includes(sha1(callback.received('logs'))),
        'sha1 is not that of the upload',
      );
    },
    'callback',
  ),
  on(
    'fetch_logs_with_signed_url',
    'none',
    'tells a refused upload',
    async (context) => {
      const request = { signed_url: callbackOf(context).url('logs'), log_type: 'agent', filters: [] };
      expectException(await context.agent.task('fetch_logs_with_signed_url', [request]), /403/);
    },
    'callback',
  ),
  on('bundle_logs', 'files', 'leaves a bundle that remove_file deletes', async ({ agent }) => {
    const value = objectOf(valueOf(await agent.call('bundle_logs', [{ log_type: 'agent', filters: [] }])));
    const path = stringOf(value.logs_tar_path, 'logs_tar_path');
    expectThat(/^sha512:[0-9a-f]{128}$/.test(stringOf(value.sha512, 'sha512')), 'sha512 has another form');
    expectValue(await agent.call('remove_file', [path]), path);
  }),
  on('remove_file', 'files', 'answers the path, also when the file is gone', async ({ agent }) => {
    const bundle = objectOf(valueOf(await agent.call('bundle_logs', [{ log_type: 'job' }])));
    const path = stringOf(bundle.logs_tar_path, 'logs_tar_path');
    expectValue(await agent.call('remove_file', [path]), path);
    expectValue(await agent.call('remove_file', [path]), path);
  }),
  on('bundle_logs', 'none', 'refuses another type', async ({ agent }) =>
    expectException(await agent.call('bundle_logs', [{ log_type: 'bogus' }]), /Invalid log type/),
  ),
];

const machine: readonly Case[] = [
  on('delete_arp_entries', 'none', 'ignores what cannot be forgotten', async ({ agent }) => {
    for (const ips of [[], ['192.0.2.1', '2001:db8::1'], ['no address']]) {
      expectValue(await agent.call('delete_arp_entries', [{ ips }]), {});
    }
  }),
  on('ssh', 'none', 'refuses another command', async ({ agent }) =>
    expectException(await agent.call('ssh', ['dance', {}]), /Unknown command for SSH method/),
  ),
  on('ssh', 'none', 'cleans up nothing when no user matches', async ({ agent, run }) =>
    expectValue(await agent.call('ssh', ['cleanup', { user_regex: `^bosh_absent_${run}$` }]), {
      command: 'cleanup',
      status: 'success',
    }),
  ),
  on('ssh', 'destructive', 'makes a user for a session and removes it', async ({ agent, run }) => {
    const user = `bosh_${run}`;
    const value = objectOf(
      valueOf(await agent.call('ssh', ['setup', { user, public_key: 'ssh-ed25519 AAAA test' }])),
    );
    expectThat(value.command === 'setup' && value.status === 'success', 'the setup was no success');
    expectThat(
      /^(ssh|ecdsa)-/.test(stringOf(value.host_public_key, 'host_public_key')),
      'the host key is none',
    );
    stringOf(value.ip, 'ip');
    expectValue(await agent.call('ssh', ['cleanup', { user_regex: `^${user}` }]), {
      command: 'cleanup',
      status: 'success',
    });
  }),
  ...(['sync_dns', 'sync_dns_with_signed_url'] as const).flatMap((method) => {
    const isSigned = method === 'sync_dns_with_signed_url';
    const ask = async (context: Context, name: string, digest: string, version: number) =>
      context.agent.call(
        method,
        isSigned
          ? [
              {
                signed_url: callbackOf(context).url(name),
                multi_digest: digest,
                version,
                blobstore_headers: { ...callbackOf(context).headers },
              },
            ]
          : [name, digest, version],
      );
    const offer = async (context: Context, name: string, content: Buffer) => {
      if (isSigned) callbackOf(context).offer(name, content);
      else await context.agent.putBlob(name, content);
    };
    // Far above any version in use: an older one is skipped without a look at it.
    const version = 2_000_000_000 + (isSigned ? 1 : 0);
    const needs = isSigned ? 'callback' : undefined;
    return [
      on(
        method,
        'none',
        'refuses a blob without digest',
        async (context) => expectException(await ask(context, 'absent', '', version + 10), noDigest),
        needs,
      ),
      on(
        method,
        'files',
        'refuses a blob of another version',
        async (context) => {
          const content = Buffer.from(JSON.stringify({ Version: 1, records: [] }));
          await offer(context, `dns-old-${context.run}`, content);
          expectException(
            await ask(context, `dns-old-${context.run}`, sha1(content), version + 10),
            /version from unpacked dns blob does not match version supplied by director/,
          );
        },
        needs,
      ),
      on(
        method,
        'destructive',
        'takes the names, and is content with an older version',
        async (context) => {
          const content = Buffer.from(
            JSON.stringify({ Version: version, records: [['192.0.2.7', 'conformance.test']] }),
          );
          await offer(context, `dns-${context.run}`, content);
          expectValue(await ask(context, `dns-${context.run}`, `sha1:${sha1(content)}`, version), 'synced');
          expectValue(await ask(context, 'absent', sha1(content), version), 'synced');
          expectValue(await ask(context, 'absent', sha1(content), 1), 'synced');
        },
        needs,
      ),
    ];
  }),
  on('update_settings', 'destructive', 'takes certificates and associations', async ({ agent }) =>
    expectValue(await agent.task('update_settings', [{ trusted_certs: '', disk_associations: [] }]), 'ok'),
  ),
  on(
    'update_settings',
    'destructive',
    'refuses an association with an unknown disk',
    async ({ agent, run }) =>
      expectException(
        await agent.task('update_settings', [{ disk_associations: [{ name: 'db', cid: `absent-${run}` }] }]),
        /could not be found|not attached/,
      ),
  ),
  on('associate_disks', 'destructive', 'takes no associations', async ({ agent }) =>
    expectValue(await agent.task('associate_disks', [{ diskAssociations: [] }]), 'associated'),
  ),
  on('release_apply_spec', 'none', 'answers a spec, or that there is none', async ({ agent }) => {
    const answer = await agent.call('release_apply_spec', []);
    if ('value' in answer) objectOf(answer.value);
    else expectException(answer, /^Action Failed release_apply_spec: Opening micro apply spec/);
  }),
  on('prepare_configure_networks', 'restart', 'answers ok', async ({ agent }) =>
    expectValue(await agent.call('prepare_configure_networks', []), 'ok'),
  ),
];

export const methodCases: readonly Case[] = [...questions, ...tasks, ...disks, ...blobs, ...machine];

/** After which the agent is another process: behind all cases that a restart would disturb. */
export const restartCases: readonly Case[] = [
  on('configure_networks', 'restart', 'is a task that survives its own restart', async ({ agent }) => {
    const id = await agent.begin('configure_networks', []);
    for (let attempt = 0; attempt < 60; attempt += 1) {
      const answer = await agent.call('get_task', [id]).catch(() => undefined);
      if (answer && 'exception' in answer) throw new Error(answer.exception.message);
      if (answer?.value === 'ok') return agent.untilBack();
      await sleep(500);
    }
    throw new Error('the task was not answered with ok');
  }),
  on(
    'prepare_network_change',
    'restart',
    'answers ok or true, and the agent comes back',
    async ({ agent }) => {
      const value = valueOf(await agent.call('prepare_network_change', []));
      expectThat(value === 'ok' || value === true, 'the value is another');
      await agent.untilBack();
    },
  ),
];

/** The last one. */
export const powerCases: readonly Case[] = [
  on('shutdown', 'power', 'powers the machine off', async ({ agent }) => {
    const value = valueOf(await agent.call('shutdown', []));
    expectThat(value === '' || value === 'shutdown', 'the value is another');
  }),
];

export { noDigest, on, sha1, tarball };
