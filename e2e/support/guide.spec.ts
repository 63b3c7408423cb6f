import { describe, expect, it } from 'vitest';
import { guideCommands } from './guide.ts';

describe('guideCommands', () => {
  it('takes the lines of sh fences, with their section and line, and nothing else', () => {
    const guide = [
      '# Guide',
      'Type `rm -rf /`.',
      '## One',
      '```sh',
      '# a comment',
      'first --flag \\',
      '  --more',
      '',
      'second   # why',
      '```',
      '```yaml',
      'key: value',
      '```',
      '## Two',
      '```sh',
      'third',
      '```',
    ].join('\n');

    expect(guideCommands(guide)).toEqual([
      { line: 6, section: 'One', text: 'first --flag --more' },
      { line: 9, section: 'One', text: 'second   # why' },
      { line: 16, section: 'Two', text: 'third' },
    ]);
  });
});
