import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  StateFileInvalid,
  emptyDeploymentState,
  parseDeploymentState,
  serializeDeploymentState,
} from './deployment-state.ts';
import {
  chooseLegacyDeployment,
  convertLegacyDeployment,
  parseLegacyDeployments,
} from './legacy-deployments.ts';

/** As reference create-env §7 shows it. */
const written = `{
    "director_id": "d1",
    "installation_id": "i1",
    "current_vm_cid": "i-0a1b",
    "current_stemcell_id": "77aa",
    "current_disk_id": "19ce",
    "current_release_ids": [
        "e0c1"
    ],
    "current_manifest_sha": "abc",
    "disks": [
        {
            "id": "19ce",
            "cid": "vol-9",
            "size": 65536,
            "cloud_properties": {
                "type": "gp3"
            }
        }
    ],
    "stemcells": [
        {
            "id": "77aa",
            "name": "bosh-aws",
            "version": "1.484",
            "api_version": 3,
            "cid": "ami-1 light"
        }
    ],
    "releases": [
        {
            "id": "e0c1",
            "name": "bosh",
            "version": "283.1.6"
        }
    ]
}`;

describe('state file', () => {
  it('is written byte for byte as create-env writes it', () => {
    expect(serializeDeploymentState(parseDeploymentState(written, 's.json'))).toBe(written);
  });

  it('has all keys when it is empty, lists as null', () => {
    expect(JSON.parse(serializeDeploymentState(emptyDeploymentState))).toEqual({
      director_id: '',
      installation_id: '',
      current_vm_cid: '',
      current_stemcell_id: '',
      current_disk_id: '',
      current_release_ids: null,
      current_manifest_sha: '',
      disks: null,
      stemcells: null,
      releases: null,
    });
  });

  it('leaves out an API version that the stemcell does not state', () => {
    const state = parseDeploymentState(
      '{"stemcells": [{"id": "a", "name": "n", "version": "1", "cid": "c"}]}',
      's',
    );

    expect(serializeDeploymentState(state)).not.toContain('api_version');
  });

  it('keeps keys that it does not know, at the top and in records', () => {
    const state = parseDeploymentState(
      '{"current_manifest_sha1": "old", "mine": {"a": [1]}, "disks": [{"id": "x", "cid": "c", "lun": 3}]}',
      's',
    );

    expect(state.current_manifest_sha).toBe('');
    expect(JSON.parse(serializeDeploymentState(state))).toMatchObject({
      current_manifest_sha1: 'old',
      mine: { a: [1] },
      disks: [{ id: 'x', cid: 'c', size: 0, cloud_properties: {}, lun: 3 }],
    });
  });

  it('reads a state file made by hand', () => {
    const state = parseDeploymentState(
      '{"current_vm_cid": "i-1", "current_disk_id": "disk1", "disks": [{"id": "disk1", "cid": "vol-1"}]}',
      's',
    );

    expect(state).toMatchObject({ current_vm_cid: 'i-1', disks: [{ id: 'disk1', cid: 'vol-1', size: 0 }] });
  });

  it.each([
    ['', 'Unexpected end of JSON input'],
    ['[]', 'it is not a JSON object'],
    ['{"current_vm_cid": 7}', '/current_vm_cid is not a string'],
    ['{"disks": {}}', '/disks is not a list'],
    ['{"disks": [1]}', '/disks/0 is not an object'],
    ['{"disks": [{"size": "x"}]}', '/disks/0/size is not a whole number'],
    ['{"current_release_ids": [1]}', '/current_release_ids has an entry that is not a string'],
  ])('refuses %j and says to restore the file, not to delete it', (text, problem) => {
    const read = () => parseDeploymentState(text, 's.json');

    expect(read).toThrow(StateFileInvalid);
    expect(read).toThrow(`The state file 's.json' cannot be read: ${problem}`);
  });

  it('loses nothing of any JSON object, or refuses it', () => {
    const known = fc.constantFrom(
      'director_id',
      'disks',
      'stemcells',
      'releases',
      'current_release_ids',
      'x',
      '__proto__',
    );
    const value = fc.oneof(
      fc.string(),
      fc.constant(null),
      fc.array(
        fc.dictionary(fc.constantFrom('id', 'cid', 'size', 'name', 'y'), fc.oneof(fc.string(), fc.nat())),
      ),
      fc.array(fc.string()),
    );
    fc.assert(
      fc.property(fc.dictionary(known, value), (object) => {
        const text = JSON.stringify(object);
        try {
          const again = parseDeploymentState(serializeDeploymentState(parseDeploymentState(text, 's')), 's');
          expect(again).toEqual(parseDeploymentState(text, 's'));
          expect(JSON.parse(serializeDeploymentState(again))).toMatchObject(
            Object.fromEntries(Object.entries(object).filter(([, item]) => item !== null)),
          );
        } catch (error) {
          if (!(error instanceof StateFileInvalid)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('bosh-deployments.yml', () => {
  const file = 'bosh-deployments.yml';

  function convert(text: string, name: string) {
    let count = 0;
    const row = chooseLegacyDeployment(parseLegacyDeployments(text, file), name, file);
    return row === undefined ? undefined : convertLegacyDeployment(row, () => `id-${(count += 1)}`);
  }

  /** As reference micro-deployer §4.1 shows it. */
  const legacy = `---
instances:
- :id: 1
  :name: micro-demo
  :uuid: bm-3c0f5f4e
  :stemcell_cid: 0f8a9f5e-image
  :stemcell_sha1: abc
  :stemcell_name: bosh-stemcell-1
  :config_sha1: def
  :vm_cid: server-1
  :disk_cid: volume-1
- :id: 2
  :name: other
  :uuid: bm-2
  :stemcell_cid:
  :stemcell_name:
  :vm_cid:
  :disk_cid:
disks: []
registry_instances:
- :id: 1
  :instance_id: vm-1
  :settings: '{"vm":{"name":"vm-1"}}'
`;

  it('becomes a state with one current disk of unknown size and a stemcell that is not current', () => {
    expect(convert(legacy, 'micro-demo')).toEqual({
      ...emptyDeploymentState,
      director_id: 'bm-3c0f5f4e',
      current_vm_cid: 'server-1',
      current_disk_id: 'id-1',
      disks: [{ id: 'id-1', cid: 'volume-1', size: 0, cloud_properties: {}, unknown: {} }],
      stemcells: [
        {
          id: 'id-2',
          name: 'bosh-stemcell-1',
          version: '',
          api_version: 0,
          cid: '0f8a9f5e-image',
          unknown: {},
        },
      ],
    });
  });

  it('gives the row of the name, else the only one that records something', () => {
    expect(convert(legacy, 'other')).toEqual({ ...emptyDeploymentState, director_id: 'bm-2' });
    expect(convert(legacy, 'renamed')?.current_vm_cid).toBe('server-1');
  });

  it('is refused when several deployments are recorded and none has the name', () => {
    const two = 'instances:\n- {name: a, vm_cid: i-1}\n- {name: b, disk_cid: v-1}\n';

    expect(() => convert(two, 'c')).toThrow(StateFileInvalid);
    expect(() => convert(two, 'c')).toThrow(
      "records several deployments ('a', 'b'), none of them called 'c'",
    );
    expect(convert(two, 'b')?.disks).toMatchObject([{ cid: 'v-1' }]);
  });

  it('leaves out an image that was there before micro: nothing may delete it', () => {
    const adopted = 'instances:\n- {name: a, vm_cid: i-1, stemcell_cid: ami-1, stemcell_name: ami-1}\n';

    expect(convert(adopted, 'a')).toMatchObject({ current_vm_cid: 'i-1', stemcells: null });
  });

  it('may have plain keys, and numbers as ids stay as they are written', () => {
    const state = convert('instances:\n- {vm_cid: 0123, stemcell_cid: 1_0, disk_cid: 1.10}\n', 'x');

    expect(state).toMatchObject({
      current_vm_cid: '0123',
      disks: [{ cid: '1.10' }],
      stemcells: [{ cid: '1_0', name: 'unknown-stemcell' }],
    });
  });

  it.each(['', '---\n', 'disks: []\n', 'instances: []\n'])('has no state in %j', (text) => {
    expect(convert(text, 'x')).toBeUndefined();
  });

  it('is refused when its rows are no list', () => {
    expect(() => parseLegacyDeployments('instances: {a: b}', file)).toThrow(StateFileInvalid);
  });
});
