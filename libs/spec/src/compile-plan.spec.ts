import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CompilePlanImpossible, planCompilation, type CompilePlan } from './compile-plan.ts';
import type { ReleaseManifest, ReleasePackage } from './release-model.ts';

const pack = (
  name: string,
  dependencies: readonly string[] = [],
  fingerprint = `${name}-fp`,
): ReleasePackage => ({
  name,
  version: fingerprint,
  fingerprint,
  sha1: `${name}-sha1`,
  dependencies,
});

const release = (
  name: string,
  packages: readonly ReleasePackage[],
  compiledPackages: readonly ReleasePackage[] = [],
): ReleaseManifest => ({ name, version: '1', jobs: [], packages, compiledPackages });

const namesByLevel = (plan: CompilePlan) =>
  plan.levels.map((keys) => keys.map((key) => plan.packages.get(key)?.name).sort());

describe('compile plan', () => {
  it('puts packages into levels that only need earlier levels, and leaves out what no job needs', () => {
    const plan = planCompilation({
      releases: [
        release('r', [
          pack('top', ['left', 'right']),
          pack('left', ['base']),
          pack('right', ['base']),
          pack('base'),
          pack('unused'),
        ]),
      ],
      jobs: [{ name: 'j', release: 'r', packages: ['top'] }],
    });

    expect(namesByLevel(plan)).toEqual([['base'], ['left', 'right'], ['top']]);
    expect([...plan.packages.values()].map(({ name }) => name)).toEqual(['base', 'left', 'right', 'top']);
    expect([...plan.installed.keys()].sort()).toEqual(['base', 'left', 'right', 'top']);
  });

  it('keeps packages of one name and different content apart', () => {
    const plan = planCompilation({
      releases: [
        release('a', [pack('golang', [], 'one'), pack('app', ['golang'])]),
        release('b', [pack('golang', [], 'two'), pack('tool', ['golang'])]),
      ],
      jobs: [
        { name: 'x', release: 'a', packages: ['app'] },
        { name: 'y', release: 'b', packages: ['tool'] },
      ],
    });
    const golang = [...plan.packages.values()].filter(({ name }) => name === 'golang');
    const tool = [...plan.packages.values()].find(({ name }) => name === 'tool');

    expect(golang.map(({ fingerprint }) => fingerprint)).toEqual(['one', 'two']);
    expect(plan.packages.get(tool?.dependencies[0] ?? '')?.fingerprint).toBe('two');
    expect(plan.warnings).toEqual([
      expect.stringContaining("Package 'golang' is different for job 'x' and job 'y'"),
    ]);
  });

  it('installs the package that a later job names, and not one that is only a dependency', () => {
    const releases = [
      release('a', [pack('p', [], 'one')]),
      release('b', [pack('p', [], 'two'), pack('q', ['p'])]),
    ];
    const installed = (packages: string[]) => {
      const plan = planCompilation({
        releases,
        jobs: [
          { name: 'x', release: 'a', packages: ['p'] },
          { name: 'y', release: 'b', packages },
        ],
      });
      return plan.packages.get(plan.installed.get('p') ?? '')?.fingerprint;
    };

    expect(installed(['p'])).toBe('two');
    expect(installed(['q'])).toBe('one');
  });

  it('compiles equal content of two releases once', () => {
    const plan = planCompilation({
      releases: [release('a', [pack('golang')]), release('b', [pack('golang')])],
      jobs: [
        { name: 'x', release: 'a', packages: ['golang'] },
        { name: 'y', release: 'b', packages: ['golang'] },
      ],
    });

    expect(plan.packages.size).toBe(1);
    expect(plan.warnings).toEqual([]);
  });

  it('tells packages apart whose dependencies differ', () => {
    const plan = planCompilation({
      releases: [
        release('a', [pack('p', ['d']), pack('d', [], '1')]),
        release('b', [pack('p', ['d']), pack('d', [], '2')]),
      ],
      jobs: [
        { name: 'x', release: 'a', packages: ['p'] },
        { name: 'y', release: 'b', packages: ['p'] },
      ],
    });

    expect([...plan.packages.values()].filter(({ name }) => name === 'p')).toHaveLength(2);
  });

  describe('with compiled packages', () => {
    const compiled = { ...pack('p'), sha1: 'compiled-sha1', stemcell: 'ubuntu-noble/1.5' };
    const jobs = [{ name: 'x', release: 'a', packages: ['p'] }];
    const planned = (source: readonly ReleasePackage[], stemcell?: string) => {
      const plan = planCompilation({
        releases: [release('a', source, [compiled])],
        jobs,
        ...(stemcell === undefined ? {} : { stemcell }),
      });
      return { ...[...plan.packages.values()][0], warnings: plan.warnings };
    };

    it('prefers the compiled one for this stemcell', () => {
      expect(planned([pack('p')], 'Ubuntu-noble/1.5')).toMatchObject({
        compiled: true,
        sha1: 'compiled-sha1',
        warnings: [],
      });
    });

    it('takes the source when the compiled one is for another stemcell', () => {
      expect(planned([pack('p')], 'ubuntu-noble/1.6')).toMatchObject({
        compiled: false,
        sha1: 'p-sha1',
        warnings: [],
      });
    });

    it('takes the compiled one with a warning when there is no source', () => {
      expect(planned([], 'ubuntu-noble/1.6')).toMatchObject({
        compiled: true,
        warnings: ["Release 'a' was compiled for stemcell 'ubuntu-noble/1.5', not for 'ubuntu-noble/1.6'"],
      });
    });

    it('takes the compiled one of another release with the same content', () => {
      const plan = planCompilation({
        releases: [release('a', [pack('p')]), release('b', [], [compiled])],
        jobs: [...jobs, { name: 'y', release: 'b', packages: ['p'] }],
      });

      expect([...plan.packages.values()]).toMatchObject([{ compiled: true, release: 'b' }]);
    });
  });

  it.each([
    [[], [], "Expected to find package 'p' since it's a dependency of job 'j'"],
    [[pack('p', ['q'])], [], "Expected to find package 'q' since it's a dependency of package 'p'"],
    [[pack('p', ['q']), pack('q', ['p'])], [], 'Packages depend on each other in a circle: p -> q -> p'],
  ])('is impossible when something is missing: %#', (packages, compiled, message) => {
    const plan = () =>
      planCompilation({
        releases: [release('r', packages, compiled)],
        jobs: [{ name: 'j', release: 'r', packages: ['p'] }],
      });

    expect(plan).toThrow(CompilePlanImpossible);
    expect(plan).toThrow(message);
  });

  it('is impossible when a release is missing', () => {
    expect(() =>
      planCompilation({ releases: [], jobs: [{ name: 'j', release: 'r', packages: [] }] }),
    ).toThrow("Job 'j' refers to release 'r', which is not provided");
  });

  it('orders every graph without circles', () => {
    const graph = fc
      .array(fc.array(fc.nat(), { maxLength: 4 }), { minLength: 1, maxLength: 25 })
      .map((rows) =>
        rows.map((edges, index) =>
          pack(`p${index}`, index === 0 ? [] : [...new Set(edges.map((edge) => `p${edge % index}`))]),
        ),
      );
    fc.assert(
      fc.property(graph, (packages) => {
        const plan = planCompilation({
          releases: [release('r', packages)],
          jobs: [{ name: 'j', release: 'r', packages: packages.map(({ name }) => name) }],
        });
        const levelOf = new Map(
          plan.levels.flatMap((keys, level) => keys.map((key) => [key, level] as const)),
        );

        expect(levelOf.size).toBe(packages.length);
        for (const planned of plan.packages.values()) {
          for (const dependency of planned.dependencies) {
            expect(levelOf.get(dependency)).toBeLessThan(levelOf.get(planned.key) ?? 0);
          }
        }
      }),
    );
  });
});
