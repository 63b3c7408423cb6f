import { describe, expect, it } from 'vitest';
import { stemcellManifest } from './build-stemcell.ts';
import { kernelArguments, rootUuid } from './disk-image.ts';
import { flavourOf, iaasNames } from './flavour.ts';
import { ovfDescriptor } from './ovf.ts';
import { packagesFor } from './packages.ts';

const facts = {
  name: 'microbosh-qemu-kvm-debian-12',
  version: '1.10',
  os: 'debian-12',
  sha1: 'a'.repeat(40),
  sha256: 'b'.repeat(64),
  rootFilesystemSha256: 'c'.repeat(64),
  diskMiB: 2048,
};

describe('flavours', () => {
  it.each(['vsphere', 'vcloud'] as const)(
    '%s has the full kernel: the cloud kernel cannot read a CD-ROM',
    (iaas) => {
      expect(packagesFor(flavourOf(iaas), false)).toContain('linux-image-amd64');
      expect(flavourOf(iaas).initramfsModules).toEqual(expect.arrayContaining(['vmw_pvscsi', 'ext4']));
    },
  );

  it.each(['qemu', 'openstack'] as const)('%s has the cloud kernel and its disk drivers', (iaas) => {
    expect(packagesFor(flavourOf(iaas), false)).toContain('linux-image-cloud-amd64');
    expect(flavourOf(iaas).initramfsModules).toContain('virtio_blk');
  });

  it('boots aws from nvme and from Xen disks, with drivers for emulated network cards', () => {
    expect(packagesFor(flavourOf('aws'), false)).toContain('linux-image-amd64');
    expect(flavourOf('aws').initramfsModules).toEqual(
      expect.arrayContaining(['nvme', 'xen_blkfront', 'ext4']),
    );
  });

  it('has no kernel for VMs that run on that of their host', () => {
    const packages = packagesFor(flavourOf('local'), false);

    expect(packages.filter((name) => name.startsWith('linux-image'))).toEqual([]);
    expect(packages).not.toContain('tiny-initramfs');
  });

  it('brings compilers only when asked to', () => {
    expect(packagesFor(flavourOf('qemu'), false)).not.toContain('build-essential');
    expect(packagesFor(flavourOf('qemu'), true)).toContain('build-essential');
  });

  it.each(iaasNames)('%s names the agent a source of settings', (iaas) => {
    expect(JSON.stringify(flavourOf(iaas).agentConfig)).toMatch(
      /"Sources":\[\{"Type":"(ConfigDrive|File|HTTP|CDROM)"/,
    );
  });
});

describe('stemcell.MF', () => {
  it('keeps a version that looks like a number a string', () => {
    const manifest = stemcellManifest(flavourOf('qemu'), facts);

    expect(manifest).toContain('\nversion: "1.10"\n');
    expect(manifest).toContain('\napi_version: 3\n');
    expect(manifest).toContain(`\nsha1: "${facts.sha1}"\n`);
    expect(manifest).toContain('"root_filesystem_sha256"');
  });

  it('says how large the disk of the image is, in MiB with its partition table', () => {
    expect(stemcellManifest(flavourOf('openstack'), facts)).toContain('"disk":2049');
    expect(stemcellManifest(flavourOf('local'), facts)).not.toContain('"disk"');
  });
});

describe('boot', () => {
  it('finds the root file system by the identity that the image gives it', () => {
    expect(kernelArguments).toContain(`root=UUID=${rootUuid}`);
  });

  it('describes one machine with the disk, a CD-ROM and a vmxnet3 card', () => {
    const descriptor = ovfDescriptor('sc', { file: 'image-disk1.vmdk', fileSizeBytes: 7, capacityBytes: 9 });

    expect(descriptor).toContain('ovf:href="image-disk1.vmdk" ovf:id="file1" ovf:size="7"');
    expect(descriptor).toContain('ovf:capacity="9"');
    expect(descriptor).toContain('<rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>');
    expect(descriptor.match(/<Item>/g)).toHaveLength(7);
  });
});
