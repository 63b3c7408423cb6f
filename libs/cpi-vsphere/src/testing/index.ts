export { vsphereUnderTest, type VsphereUnderTest } from './vsphere-under-test.ts';
