import { posix } from 'node:path';

export interface PathContext {
  /** Absolute directory of the manifest. */
  readonly manifestDirectory: string;
  /** What `~` stands for. */
  readonly homeDirectory: string;
}

/**
 * A release's or stemcell's `url` made absolute (reference create-env §5.5). A bare path stays a bare path, which is
 * no valid URL.
 */
export function resolveUrl(url: string, context: PathContext): string {
  if (url.startsWith('http')) return url;
  if (url.startsWith('file://')) return `file://${resolvePath(url.slice('file://'.length), context)}`;
  return resolvePath(url, context);
}

export function resolvePath(path: string, context: PathContext): string {
  if (path === '~' || path.startsWith('~/')) return posix.join(context.homeDirectory, path.slice(1));
  return posix.isAbsolute(path) ? path : posix.join(context.manifestDirectory, path);
}

export function isArtifactUrl(url: string): boolean {
  return /^(?:file|https?):\/\/./.test(url);
}

export function isHttpUrl(url: string): boolean {
  return /^https?:\/\//.test(url);
}
