export { awsUnderTest } from './aws-under-test.ts';
