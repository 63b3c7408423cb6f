import { parseYaml } from '../yaml/parse-yaml.ts';
import { scalarText } from '../yaml/emit-yaml.ts';
import { childOf, isNull, type YamlNode } from '../yaml/yaml-node.ts';
import { StateFileInvalid, emptyDeploymentState, type DeploymentState } from './deployment-state.ts';

export interface LegacyImportOptions {
  readonly file: string;
  /** Take the row of this deployment; absent: the first row, as create-env does. */
  readonly name?: string;
  readonly newId: () => string;
}

/**
 * Converts `bosh-deployments.yml` of the micro plug-in (reference create-env §7.3, micro-deployer §4.1). Undefined when
 * it has no row (of that name). Throws `StateFileInvalid`, `YamlSyntaxError`.
 */
export function importLegacyDeployments(
  text: string,
  options: LegacyImportOptions,
): DeploymentState | undefined {
  // Ruby symbols as keys: `:vm_cid: x` and `- :id: 1`.
  const plain = text.replaceAll(/^([ \t]*(?:-[ \t]+)*):([A-Za-z_][A-Za-z0-9_]*:)/gm, '$1$2');
  const root = parseYaml(plain, { file: options.file, dialect: 'psych' });
  const instances = childOf(root, 'instances');
  if (isNull(root) || isNull(instances)) return undefined;
  if (instances?.kind !== 'sequence') {
    throw new StateFileInvalid(`The file '${options.file}' has no list 'instances'`, {
      details: { file: options.file },
      advice: 'Restore the file from a copy, or take over the VM and disk by hand.',
    });
  }
  const row = instances.items.find(
    (item) => options.name === undefined || textOf(item, 'name') === options.name,
  );
  return row === undefined ? undefined : convertRow(row, options.newId);
}

function convertRow(row: YamlNode, newId: () => string): DeploymentState {
  const diskCid = textOf(row, 'disk_cid');
  const stemcellCid = textOf(row, 'stemcell_cid');
  const diskId = diskCid === '' ? '' : newId();
  const uuid = textOf(row, 'uuid');
  return {
    ...emptyDeploymentState,
    director_id: uuid === '' ? newId() : uuid,
    current_vm_cid: textOf(row, 'vm_cid'),
    current_disk_id: diskId,
    // The size is not recorded, so the next deploy migrates to a disk of known size.
    disks: diskCid === '' ? null : [{ id: diskId, cid: diskCid, size: 0, cloud_properties: {}, unknown: {} }],
    stemcells:
      stemcellCid === ''
        ? null
        : [
            {
              id: newId(),
              name: textOf(row, 'stemcell_name') || 'unknown-stemcell',
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
