export { vcloudUnderTest, type VcloudUnderTest } from './vcloud-under-test.ts';
