/**
 * The path as the original saw it: encoded dots and slashes are taken as such, empty and dot segments collapse.
 * Everything after this, routing and access checks alike, sees only the result.
 */
export function cleanPath(url: string): string {
  const end = url.search(/[?#]/);
  const path = end < 0 ? url : url.slice(0, end);
  if (!/%2e|%2f|%5c|\\|\/\/|\/\./i.test(path)) return path;
  const plain = path
    .replace(/%2e/gi, '.')
    .replace(/%2f/gi, '/')
    .replace(/%5c|\\/gi, '/');
  const kept: string[] = [];
  for (const segment of plain.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') kept.pop();
    else kept.push(segment);
  }
  const trailing = kept.length > 0 && /\/\.{0,2}$/.test(plain);
  return `/${kept.join('/')}${trailing ? '/' : ''}`;
}

const MAX_ID_BYTES = 255;

/** 1 to 255 bytes of UTF-8 without control characters and slashes. */
export function isInstanceId(id: string): boolean {
  if (id === '' || Buffer.byteLength(id) > MAX_ID_BYTES || !id.isWellFormed()) return false;
  return !/[\u0000-\u001f\u007f/\\\u2028\u2029\ufffd]/.test(id);
}
