import { createHash } from 'node:crypto';

/** Path of a blob below an agent's or a DAV server's root: `<first two hex digits of SHA-1(id)>/<id>`. */
export function blobPath(id: string): string {
  return `${createHash('sha1').update(id).digest('hex').slice(0, 2)}/${id}`;
}

/** Ids are one path segment without tricks: no separators, no control characters, not `.` or `..`. */
export function isBlobId(id: string): boolean {
  return (
    id.length > 0 && id.length <= 255 && id !== '.' && id !== '..' && !/[/\\\u0000-\u001f\u007f]/.test(id)
  );
}
