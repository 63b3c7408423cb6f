import { OperationalError, isJsonObject, messageOf, type Json, type JsonObject } from '@microbosh/errors';

/** The state file cannot be understood. */
export class StateFileInvalid extends OperationalError {
  readonly code = 'E_STATE_FILE_INVALID';
}

/** Keys that this program does not know, kept as they are. */
interface WithUnknownKeys {
  readonly unknown: JsonObject;
}

export interface DiskRecord extends WithUnknownKeys {
  readonly id: string;
  readonly cid: string;
  readonly size: number;
  readonly cloud_properties: JsonObject;
}

export interface StemcellRecord extends WithUnknownKeys {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** 0 when the stemcell states none. */
  readonly api_version: number;
  readonly cid: string;
}

export interface ReleaseRecord extends WithUnknownKeys {
  readonly id: string;
  readonly name: string;
  readonly version: string;
}

/** The state file of create-env (reference create-env §7): same keys, `""` means none. */
export interface DeploymentState extends WithUnknownKeys {
  readonly director_id: string;
  readonly installation_id: string;
  readonly current_vm_cid: string;
  readonly current_stemcell_id: string;
  readonly current_disk_id: string;
  readonly current_release_ids: readonly string[] | null;
  readonly current_manifest_sha: string;
  readonly disks: readonly DiskRecord[] | null;
  readonly stemcells: readonly StemcellRecord[] | null;
  readonly releases: readonly ReleaseRecord[] | null;
}

export const emptyDeploymentState: DeploymentState = {
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
  unknown: {},
};

/** Reads a state file of create-env, of bosh-init, or of this program. Throws `StateFileInvalid`. */
export function parseDeploymentState(text: string, file: string): DeploymentState {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (error) {
    throw invalid(file, messageOf(error));
  }
  if (!isJsonObject(root)) throw invalid(file, 'it is not a JSON object');
  const fields = new Fields(root, file, '');
  const state = {
    director_id: fields.text('director_id'),
    installation_id: fields.text('installation_id'),
    current_vm_cid: fields.text('current_vm_cid'),
    current_stemcell_id: fields.text('current_stemcell_id'),
    current_disk_id: fields.text('current_disk_id'),
    current_release_ids: fields.list('current_release_ids')?.map((id) => expectText(id, file)) ?? null,
    current_manifest_sha: fields.text('current_manifest_sha'),
    disks: fields.records('disks', (disk) => ({
      id: disk.text('id'),
      cid: disk.text('cid'),
      size: disk.number('size'),
      cloud_properties: disk.map('cloud_properties'),
      unknown: disk.rest(),
    })),
    stemcells: fields.records('stemcells', (stemcell) => ({
      id: stemcell.text('id'),
      name: stemcell.text('name'),
      version: stemcell.text('version'),
      api_version: stemcell.number('api_version'),
      cid: stemcell.text('cid'),
      unknown: stemcell.rest(),
    })),
    releases: fields.records('releases', (release) => ({
      id: release.text('id'),
      name: release.text('name'),
      version: release.text('version'),
      unknown: release.rest(),
    })),
  };
  return { ...state, unknown: fields.rest() };
}

/** The text that create-env can read: four spaces, its keys first, no newline at the end. */
export function serializeDeploymentState(state: DeploymentState): string {
  const { unknown, disks, stemcells, releases, ...plain } = state;
  const document = {
    ...plain,
    disks: disks?.map(({ unknown: more, ...disk }) => ({ ...disk, ...more })) ?? null,
    stemcells:
      stemcells?.map(({ unknown: more, api_version, cid, ...stemcell }) => ({
        ...stemcell,
        ...(api_version === 0 ? {} : { api_version }),
        cid,
        ...more,
      })) ?? null,
    releases: releases?.map(({ unknown: more, ...release }) => ({ ...release, ...more })) ?? null,
    ...unknown,
  };
  return JSON.stringify(document, undefined, 4);
}

/** Reads known keys of one object and remembers which they were. */
class Fields {
  readonly #object: JsonObject;
  readonly #file: string;
  readonly #path: string;
  readonly #known = new Set<string>();

  constructor(object: JsonObject, file: string, path: string) {
    this.#object = object;
    this.#file = file;
    this.#path = path;
  }

  text(name: string): string {
    const value = this.#take(name) ?? '';
    if (typeof value !== 'string') throw this.#wrong(name, 'a string');
    return value;
  }

  number(name: string): number {
    const value = this.#take(name) ?? 0;
    if (typeof value !== 'number' || !Number.isInteger(value)) throw this.#wrong(name, 'a whole number');
    return value;
  }

  map(name: string): JsonObject {
    const value = this.#take(name) ?? {};
    if (!isJsonObject(value)) throw this.#wrong(name, 'an object');
    return value;
  }

  list(name: string): readonly Json[] | null {
    const value = this.#take(name) ?? null;
    if (value !== null && !isList(value)) throw this.#wrong(name, 'a list');
    return value;
  }

  records<Item>(name: string, read: (fields: Fields) => Item): Item[] | null {
    return (
      this.list(name)?.map((item, index) => {
        const path = `${this.#path}/${name}/${index}`;
        if (!isJsonObject(item)) throw invalid(this.#file, `${path} is not an object`);
        return read(new Fields(item, this.#file, path));
      }) ?? null
    );
  }

  rest(): JsonObject {
    return Object.fromEntries(Object.entries(this.#object).filter(([name]) => !this.#known.has(name)));
  }

  #take(name: string): Json | undefined {
    this.#known.add(name);
    return Object.hasOwn(this.#object, name) ? this.#object[name] : undefined;
  }

  #wrong(name: string, expected: string): StateFileInvalid {
    return invalid(this.#file, `${this.#path}/${name} is not ${expected}`);
  }
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

function expectText(value: Json, file: string): string {
  if (typeof value === 'string') return value;
  throw invalid(file, '/current_release_ids has an entry that is not a string');
}

function invalid(file: string, problem: string): StateFileInvalid {
  return new StateFileInvalid(`The state file '${file}' cannot be read: ${problem}`, {
    details: { file },
    advice:
      'Restore the previous copy of the state file. Do not delete it: it is the record of what exists in the cloud.',
  });
}
