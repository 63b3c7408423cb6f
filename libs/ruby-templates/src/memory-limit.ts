const memorySectionId = 5;

/**
 * A copy of a WebAssembly binary whose own memory cannot grow beyond `maxPages` (64 KiB each). The interpreter's binary
 * sets no limit, and nothing else in Node.js limits the memory of an instance.
 */
export function limitMemory(binary: Uint8Array, maxPages: number): Uint8Array {
  let offset = 8;
  while (offset < binary.length) {
    const sectionStart = offset;
    const id = binary[offset];
    const size = readUnsigned(binary, offset + 1);
    const end = size.end + size.value;
    if (id === memorySectionId) {
      const count = readUnsigned(binary, size.end);
      const flags = readUnsigned(binary, count.end);
      if (count.value !== 1 || (flags.value !== 0 && flags.value !== 1))
        throw new Error('the interpreter has an unexpected memory section');
      const minimum = readUnsigned(binary, flags.end);
      const body = [
        1,
        1,
        ...encodeUnsigned(minimum.value),
        ...encodeUnsigned(Math.max(maxPages, minimum.value)),
      ];
      return Buffer.concat([
        binary.subarray(0, sectionStart),
        Uint8Array.from([memorySectionId, ...encodeUnsigned(body.length), ...body]),
        binary.subarray(end),
      ]);
    }
    offset = end;
  }
  throw new Error('the interpreter has no memory section');
}

function readUnsigned(bytes: Uint8Array, start: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let index = start, factor = 1; index < start + 5; index += 1, factor *= 128) {
    const byte = bytes[index];
    if (byte === undefined) break;
    value += (byte & 0x7f) * factor;
    if ((byte & 0x80) === 0) return { value, end: index + 1 };
  }
  throw new Error('the interpreter has a malformed number');
}

function encodeUnsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}
