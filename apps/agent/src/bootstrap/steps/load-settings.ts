import type { BootstrapStep } from '../step.ts';

export const loadSettings: BootstrapStep = {
  name: 'load settings',
  timeoutMs: 300_000,
  async run({ settings, signal }) {
    const loaded = await settings.load(signal);
    if (!loaded.changed) return { outcome: 'unchanged' };
    return { outcome: 'done', changes: ['keep the settings as last good ones'] };
  },
};
