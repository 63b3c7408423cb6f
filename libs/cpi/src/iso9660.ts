const sectorBytes = 2048;

const sectors = { descriptor: 16, terminator: 17, littlePaths: 18, bigPaths: 19, root: 20, file: 21 };

/** A number in both byte orders, as ISO 9660 writes most of its numbers (ECMA-119 §7.2.3, §7.3.3). */
function both32(target: Buffer, value: number, offset: number): void {
  target.writeUInt32LE(value, offset);
  target.writeUInt32BE(value, offset + 4);
}

function both16(target: Buffer, value: number, offset: number): void {
  target.writeUInt16LE(value, offset);
  target.writeUInt16BE(value, offset + 2);
}

/** A directory record (ECMA-119 §9.1); `name` is a byte of 0 or 1 for the directory itself and its parent. */
function directoryRecord(name: Buffer, sector: number, sizeBytes: number, isDirectory: boolean): Buffer {
  const length = 33 + name.length + (name.length % 2 === 0 ? 1 : 0);
  const record = Buffer.alloc(length);
  record[0] = length;
  both32(record, sector, 2);
  both32(record, sizeBytes, 10);
  // 1 January 2000: the same content is the same image.
  record.set([100, 1, 1, 0, 0, 0, 0], 18);
  record[25] = isDirectory ? 2 : 0;
  both16(record, 1, 28);
  record[32] = name.length;
  name.copy(record, 33);
  return record;
}

function pathTable(isBigEndian: boolean): Buffer {
  const table = Buffer.alloc(10);
  table[0] = 1;
  if (isBigEndian) {
    table.writeUInt32BE(sectors.root, 2);
    table.writeUInt16BE(1, 6);
  } else {
    table.writeUInt32LE(sectors.root, 2);
    table.writeUInt16LE(1, 6);
  }
  return table;
}

function volumeDescriptor(label: string, imageSectors: number): Buffer {
  const descriptor = Buffer.alloc(sectorBytes);
  descriptor[0] = 1;
  descriptor.write('CD001', 1, 'latin1');
  descriptor[6] = 1;
  descriptor.fill(0x20, 8, 72);
  descriptor.write(label, 40, 'latin1');
  both32(descriptor, imageSectors, 80);
  both16(descriptor, 1, 120);
  both16(descriptor, 1, 124);
  both16(descriptor, sectorBytes, 128);
  both32(descriptor, 10, 132);
  descriptor.writeUInt32LE(sectors.littlePaths, 140);
  descriptor.writeUInt32BE(sectors.bigPaths, 148);
  directoryRecord(Buffer.from([0]), sectors.root, sectorBytes, true).copy(descriptor, 156);
  descriptor.fill(0x20, 190, 813);
  for (const offset of [813, 830, 847, 864]) descriptor.fill(0x30, offset, offset + 16);
  descriptor[881] = 1;
  return descriptor;
}

/**
 * An ISO 9660 image (level 1) with one file in its root. `name`: up to eight capitals and digits; Linux shows them in lower
 * case.
 */
export function isoImage(name: string, content: Uint8Array): Buffer {
  if (!/^[A-Z0-9_]{1,8}$/.test(name)) throw new RangeError(`'${name}' is no name of ISO 9660 level 1`);
  const fileSectors = Math.max(1, Math.ceil(content.length / sectorBytes));
  const image = Buffer.alloc((sectors.file + fileSectors) * sectorBytes);
  volumeDescriptor(name, sectors.file + fileSectors).copy(image, sectors.descriptor * sectorBytes);
  image[sectors.terminator * sectorBytes] = 255;
  image.write('CD001', sectors.terminator * sectorBytes + 1, 'latin1');
  image[sectors.terminator * sectorBytes + 6] = 1;
  pathTable(false).copy(image, sectors.littlePaths * sectorBytes);
  pathTable(true).copy(image, sectors.bigPaths * sectorBytes);
  const root = Buffer.concat([
    directoryRecord(Buffer.from([0]), sectors.root, sectorBytes, true),
    directoryRecord(Buffer.from([1]), sectors.root, sectorBytes, true),
    directoryRecord(Buffer.from(`${name}.;1`, 'latin1'), sectors.file, content.length, false),
  ]);
  root.copy(image, sectors.root * sectorBytes);
  image.set(content, sectors.file * sectorBytes);
  return image;
}
