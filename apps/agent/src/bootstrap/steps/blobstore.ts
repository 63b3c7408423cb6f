import { skipped, type BootstrapStep } from '../step.ts';

/** Names what will be used; the blobstore itself is opened by the agent after the bootstrap. */
export const blobstore: BootstrapStep = {
  name: 'blobstore',
  timeoutMs: 1000,
  async run({ settings }) {
    const provider = settings.current().blobstore?.provider;
    return provider === undefined ? skipped('the settings name no blobstore') : { outcome: 'unchanged' };
  },
};
