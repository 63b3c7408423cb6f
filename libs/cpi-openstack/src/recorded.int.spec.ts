import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeCommandRunner } from '@microbosh/host';
import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import { FakeOpenstack } from './testing/fake-openstack.ts';
import { lifecycle } from './testing/lifecycle.ts';
import { openstackUnderTest } from './testing/openstack-under-test.ts';
import { RecordedCloud } from './testing/recorded-cloud.ts';
import { differences, routeOf, shapeOf } from './testing/recording.ts';
import type { Exchange, RecordedCall } from './testing/recording.ts';

/** Made by `npm run lab:openstack -- --part requests --record`, on real services. */
interface Recording {
  readonly place: {
    readonly bootStemcell: string;
    readonly networkId: string;
    readonly floatingIp: string;
    readonly vmCloudProperties: JsonObject;
    readonly keyName: string;
    readonly securityGroups: readonly string[];
  };
  readonly calls: readonly RecordedCall[];
}

let directory: string;
let imagePath: string;
let recording: Recording;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-openstack-recorded-'));
  imagePath = join(directory, 'image');
  await writeFile(join(directory, 'root.img'), 'no system at all');
  await new NodeCommandRunner().run(['tar', '-czf', imagePath, '-C', directory, 'root.img']);
  recording = JSON.parse(
    await readFile(join(import.meta.dirname, '../testdata/recorded-zed.json'), 'utf8'),
  ) as Recording;
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const networks = (networkId: string, vip: string): NetworksSpec => ({
  default: {
    type: 'manual',
    ip: '10.77.0.30',
    netmask: '255.255.255.0',
    gateway: '10.77.0.1',
    cloud_properties: { net_id: networkId },
  },
  public: { type: 'vip', ip: vip },
});

function byRoute(exchanges: readonly Exchange[]): ReadonlyMap<string, readonly Exchange[]> {
  const routes = new Map<string, Exchange[]>();
  for (const exchange of exchanges) {
    const route = `${routeOf(exchange)} ${exchange.status}`;
    routes.set(route, [...(routes.get(route) ?? []), exchange]);
  }
  return routes;
}

describe('what real services answered', () => {
  it('is understood by every method, which sends what it sent to them', async () => {
    const { place, calls } = recording;
    const cloud = await RecordedCloud.start();
    const { cpi } = openstackUnderTest(cloud.authUrl, {
      region: 'RegionOne',
      default_key_name: place.keyName,
      default_security_groups: place.securityGroups,
    });
    const wrong: string[] = [];
    const played: string[] = [];
    const lifecyclePlace = {
      imagePath,
      bootStemcell: place.bootStemcell,
      vmCloudProperties: place.vmCloudProperties,
      networks: networks(place.networkId, place.floatingIp),
      hasTokens: true,
    };
    try {
      await lifecycle(cpi, lifecyclePlace, async (name, run) => {
        const call = calls[played.length];
        expect(name).toBe(call?.call);
        if (call === undefined) throw new Error('the recording is shorter');
        cloud.play(call);
        const result = await run();
        played.push(name);
        wrong.push(
          ...cloud.strangers.splice(0).map((request) => `${name} sends ${request}`),
          ...cloud.unsent.map((request) => `${name} does not send ${request}`),
        );
        for (const [route, sent] of byRoute(cloud.sent)) {
          const recorded = byRoute(call.exchanges).get(route) ?? [];
          const shapes = [sent, recorded].map((some) => shapeOf(some.map(({ request }) => request)));
          const [now, then] = shapes;
          if (now !== undefined && then !== undefined)
            wrong.push(...differences(now, then, `${name}: ${route}`));
        }
        return result;
      });
    } finally {
      await cpi.dispose();
      await cloud.stop();
    }
    expect(wrong).toEqual([]);
    expect(played).toHaveLength(calls.length);
  });

  it('holds neither secrets nor the ids of a cloud', async () => {
    const text = await readFile(join(import.meta.dirname, '../testdata/recorded-zed.json'), 'utf8');

    expect(text).not.toMatch(/"(password|adminPass|user_data|public_key)": "(?!removed")/);
    expect(text).not.toMatch(/gAAAA|BEGIN [A-Z ]*KEY|ssh-rsa/);
    expect(text).not.toMatch(/127\.0\.0\.1/);
  });
});

describe('the fake', () => {
  it('answers in the shapes of the real services, field by field', async () => {
    const cloud = await FakeOpenstack.start();
    const answered: Exchange[] = [];
    cloud.onExchange = (exchange) => answered.push(exchange);
    const { cpi } = openstackUnderTest(cloud.authUrl);
    const place = {
      imagePath,
      vmCloudProperties: { instance_type: 'm1.small', availability_zone: 'nova' },
      networks: networks(cloud.networkId, '203.0.113.10'),
      hasTokens: true,
    };
    try {
      await lifecycle(cpi, place, (_, run) => run());
    } finally {
      await cpi.dispose();
      await cloud.stop();
    }
    const real = byRoute(recording.calls.flatMap(({ exchanges }) => exchanges));
    const wrong: string[] = [];
    const fake = byRoute(answered);
    for (const [route, exchanges] of fake) {
      const recorded = real.get(route);
      if (recorded === undefined) {
        wrong.push(`${route}: no real service answered so`);
        continue;
      }
      const answers = (some: readonly Exchange[]) => shapeOf(some.map(({ answer }) => answer));
      wrong.push(...differences(answers(exchanges), answers(recorded), route));
    }

    expect(wrong).toEqual([]);
    expect(fake.size).toBeGreaterThan(30);
  });
});
