export { Digester } from './digester.ts';
export * from './errors.ts';
export { fetchArtifact, type FetchedArtifact, type FetchOptions } from './fetch-artifact.ts';
export {
  openJobArchive,
  openRelease,
  type OpenedRelease,
  type OpenOptions,
  type PackageArchive,
} from './open-release.ts';
export { openStemcell, type OpenedStemcell } from './open-stemcell.ts';
export { packTarGz, type PackedArchive, type PackedFile, type PackedLink } from './pack-archive.ts';
export {
  archiveBytes,
  archiveFile,
  readArchive,
  type ArchiveEntry,
  type ArchiveLimits,
  type ArchiveSource,
  type ReadArchiveOptions,
} from './read-archive.ts';
export { unpackTar } from './unpack-archive.ts';
export {
  createRelease,
  type CreatedPart,
  type CreatedRelease,
  type CreateReleaseOptions,
} from './create-release.ts';
