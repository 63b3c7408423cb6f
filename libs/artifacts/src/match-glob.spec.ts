import { describe, expect, it } from 'vitest';
import { matchesGlob } from './match-glob.ts';

describe('matchesGlob', () => {
  it.each([
    ['a/b.c', 'a/b.c', true],
    ['a/b.c', 'a/*', true],
    ['a/b/c', 'a/*', false],
    ['a/b/c', 'a/**/*', true],
    ['a/c', 'a/**/*', true],
    ['a', '**/*', true],
    ['a/.git/x', 'a/**/*', true],
    ['x/y/z.go', '**/*.go', true],
    ['z.go', '**/*.go', true],
    ['z.goo', '**/*.go', false],
    ['a1', 'a?', true],
    ['a/', 'a?', false],
    ['b2', '[a-c][0-9]', true],
    ['d2', '[a-c][0-9]', false],
    ['d2', '[!a-c]2', true],
    ['x.tar', 'x.{tar,zip}', true],
    ['x.rar', 'x.{tar,zip}', false],
    ['a+b(1).txt', 'a+b(1).txt', true],
    ['aab', 'a+b', false],
    ['a/b', './a/b', true],
    ['a/b/c', 'a/**', true],
  ])('%s against %s: %s', (path, pattern, expected) => {
    expect(matchesGlob(path, pattern)).toBe(expected);
  });
});
