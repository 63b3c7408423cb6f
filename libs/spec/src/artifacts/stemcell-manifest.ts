import { isJsonObject, type JsonObject } from '@microbosh/errors';
import type { StemcellManifest } from '../stemcell-model.ts';
import { childOf, isNull, toJson, type YamlNode } from '../yaml/yaml-node.ts';
import {
  parseArtifactDocument,
  requiredText,
  textsOf,
  writtenText,
  wrongShape,
} from './artifact-document.ts';

/** Reads `stemcell.MF` of any version (reference create-env §6.7). Throws `ArtifactManifestInvalid`, `YamlSyntaxError`. */
export function parseStemcellManifest(text: string, file: string): StemcellManifest {
  const root = parseArtifactDocument(text, file, 'go-yaml-v2');
  const operatingSystem = writtenText(root, 'operating_system');
  const sha1 = writtenText(root, 'sha1');
  return {
    name: requiredText(root, 'name'),
    version: requiredText(root, 'version'),
    ...(operatingSystem === '' ? {} : { operatingSystem }),
    apiVersion: readApiVersion(root),
    stemcellFormats: textsOf(root, 'stemcell_formats'),
    ...(sha1 === '' ? {} : { sha1 }),
    cloudProperties: readCloudProperties(root),
  };
}

function readApiVersion(root: YamlNode): number {
  const field = childOf(root, 'api_version');
  if (field === undefined || isNull(field)) return 1;
  if (field.kind !== 'scalar' || field.type !== 'int')
    throw wrongShape(field, "'api_version' must be a whole number");
  return Number(field.value);
}

function readCloudProperties(root: YamlNode): JsonObject | null {
  const field = childOf(root, 'cloud_properties');
  if (field === undefined || isNull(field)) return null;
  const value = toJson(field);
  if (!isJsonObject(value)) throw wrongShape(field, "'cloud_properties' must be a map");
  return value;
}
