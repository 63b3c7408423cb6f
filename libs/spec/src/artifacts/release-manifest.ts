import type { ReleaseJobEntry, ReleaseManifest, ReleasePackage } from '../release-model.ts';
import { childOf, isNull, type YamlNode } from '../yaml/yaml-node.ts';
import {
  flag,
  listOf,
  parseArtifactDocument,
  requiredText,
  textsOf,
  writtenText,
  wrongShape,
} from './artifact-document.ts';

/** Reads `release.MF` (reference create-env §6.3). Throws `ArtifactManifestInvalid`, `YamlSyntaxError`. */
export function parseReleaseManifest(text: string, file: string): ReleaseManifest {
  // Old releases were described by Ruby, which wrote the tag of base64 with one mark too few.
  const tagged = text.replaceAll(/((?:sha1|version|fingerprint): )!(binary \|-)/g, '$1!!$2');
  const root = parseArtifactDocument(tagged, file, 'go-yaml-v3');
  const commitHash = writtenText(root, 'commit_hash');
  const uncommittedChanges = flag(root, 'uncommitted_changes');
  return {
    name: requiredText(root, 'name'),
    version: requiredText(root, 'version'),
    ...(commitHash === '' ? {} : { commitHash }),
    ...(uncommittedChanges === undefined ? {} : { uncommittedChanges }),
    jobs: listOf(root, 'jobs').map(readJob),
    packages: listOf(root, 'packages').map(readPackage),
    compiledPackages: listOf(root, 'compiled_packages').map(readPackage),
    ...readLicense(root),
  };
}

function readLicense(root: YamlNode): Pick<ReleaseManifest, 'license'> {
  const node = childOf(root, 'license');
  if (node === undefined || isNull(node)) return {};
  if (node.kind !== 'mapping') throw wrongShape(node, "'license' must be a map");
  const fingerprint = writtenText(node, 'fingerprint') || writtenText(node, 'version');
  return { license: { fingerprint, sha1: writtenText(node, 'sha1') } };
}

function readJob(node: YamlNode): ReleaseJobEntry {
  const version = writtenText(node, 'version');
  return {
    name: requiredText(node, 'name'),
    version,
    fingerprint: writtenText(node, 'fingerprint') || version,
    sha1: writtenText(node, 'sha1'),
  };
}

function readPackage(node: YamlNode): ReleasePackage {
  const stemcell = writtenText(node, 'stemcell');
  return {
    ...readJob(node),
    dependencies: textsOf(node, 'dependencies'),
    ...(stemcell === '' ? {} : { stemcell }),
  };
}
