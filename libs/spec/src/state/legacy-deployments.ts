import { parseYaml } from '../yaml/parse-yaml.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { childOf, isNull, type YamlNode } from '../yaml/yaml-node.ts';
import { StateFileInvalid, emptyDeploymentState, type DeploymentState } from './deployment-state.ts';

/** What `bosh-deployments.yml` of the micro plug-in records of one deployment; `''` is none. */
export interface LegacyDeployment {
  readonly name: string;
  readonly uuid: string;
  readonly vmCid: string;
  readonly diskCid: string;
  readonly stemcellCid: string;
  readonly stemcellName: string;
}

/**
 * The rows of `bosh-deployments.yml` (reference create-env §7.3, micro-deployer §4.1), in their order. Throws
 * `StateFileInvalid`, `YamlSyntaxError`.
 */
export function parseLegacyDeployments(text: string, file: string): LegacyDeployment[] {
  // Ruby symbols as keys: `:vm_cid: x` and `- :id: 1`.
  const plain = text.replaceAll(/^([ \t]*(?:-[ \t]+)*):([A-Za-z_][A-Za-z0-9_]*:)/gm, '$1$2');
  const root = parseYaml(plain, { file, dialect: 'psych' });
  const instances = childOf(root, 'instances');
  if (isNull(root) || isNull(instances)) return [];
  if (instances?.kind !== 'sequence') {
    throw new StateFileInvalid(`The file '${file}' has no list 'instances'`, {
      details: { file },
      advice: 'Restore the file from a copy, or take over the VM and disk by hand.',
    });
  }
  return instances.items.map((row) => ({
    name: textOf(row, 'name'),
    uuid: textOf(row, 'uuid'),
    vmCid: textOf(row, 'vm_cid'),
    diskCid: textOf(row, 'disk_cid'),
    stemcellCid: textOf(row, 'stemcell_cid'),
    stemcellName: textOf(row, 'stemcell_name'),
  }));
}

/**
 * The row to take over: the one of that name, else the only one that records something. create-env takes the first
 * whatever its name, and so another deployment's VM: with several rows and none of the name this throws
 * `StateFileInvalid`. Undefined when nothing is recorded.
 */
export function chooseLegacyDeployment(
  rows: readonly LegacyDeployment[],
  name: string,
  file: string,
): LegacyDeployment | undefined {
  const named = rows.find((row) => row.name === name);
  if (named !== undefined) return named;
  const recorded = rows.filter((row) => row.vmCid !== '' || row.diskCid !== '' || row.stemcellCid !== '');
  if (recorded.length <= 1) return recorded[0];
  throw new StateFileInvalid(
    `'${file}' records several deployments (${recorded.map((row) => `'${row.name}'`).join(', ')}), none of them called '${name}'`,
    {
      details: { file },
      advice:
        'Give the manifest the name of the deployment that it takes over, or move the file away if it takes over none.',
    },
  );
}

export function convertLegacyDeployment(row: LegacyDeployment, newId: () => string): DeploymentState {
  const { diskCid, stemcellCid, stemcellName } = row;
  const diskId = diskCid === '' ? '' : newId();
  // An image that was there before micro: never to be deleted, so it is not taken over.
  const isAdopted = stemcellCid === stemcellName;
  return {
    ...emptyDeploymentState,
    director_id: row.uuid === '' ? newId() : row.uuid,
    current_vm_cid: row.vmCid,
    current_disk_id: diskId,
    // The size is not recorded, so the next deploy migrates to a disk of known size.
    disks: diskCid === '' ? null : [{ id: diskId, cid: diskCid, size: 0, cloud_properties: {}, unknown: {} }],
    stemcells:
      stemcellCid === '' || isAdopted
        ? null
        : [
            {
              id: newId(),
              name: stemcellName || 'unknown-stemcell',
              version: '',
              api_version: 0,
              cid: stemcellCid,
              unknown: {},
            },
          ],
  };
}

function textOf(row: YamlNode, name: string): string {
  const node = childOf(row, name);
  return node?.kind === 'scalar' && !isNull(node) ? (node.text ?? scalarText(node)) : '';
}
