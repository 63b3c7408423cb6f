import { get } from 'node:https';
import { Simulation } from '../apps/deployer/test/simulation.ts';
import { run as runCommand } from '../e2e/support/commands.ts';
import { Example } from '../e2e/support/example.ts';
import { overheadOfRecreation } from './recreation.ts';
import { medianMs, timeMs } from './result.ts';
import type { BenchResult, Figure } from './result.ts';

/** What the deployer itself costs, beside the clouds and agents that it drives. */
export async function run(): Promise<BenchResult> {
  const figures = await packageFigures();
  const example = await Example.create('10.245.91');
  try {
    await example.create();
    figures.push(...(await unchangedFigures(example)));
    figures.push(await downtimeOfOneProperty(example));
    figures.push(...(await overheadOfRecreation(example, 5)));
    return { name: 'deployer: the example on the local provider, packages in a simulated cloud', figures };
  } finally {
    await example.tearDown();
  }
}

async function unchangedFigures(example: Example): Promise<Figure[]> {
  const bareMs = await medianMs(7, () => runCommand([process.execPath, '-e', '0']));
  const unchangedMs = await medianMs(7, () => example.create());
  const planMs = await medianMs(7, () =>
    runCommand(example.command('plan', '--vars-store', example.creds), { env: example.env }),
  );
  return [
    { label: 'bare start of the pinned Node, median of 7', value: bareMs, unit: 'ms' },
    {
      label: 'unchanged create-env, above that',
      value: unchangedMs - bareMs,
      unit: 'ms',
      aim: '<= 400 ms',
    },
    {
      label: 'plan of an unchanged deployment, above that',
      value: planMs - bareMs,
      unit: 'ms',
      aim: '<= 400 ms',
    },
  ];
}

/** From the first request that fails to the first that succeeds again, asked every 20 ms from outside. */
async function downtimeOfOneProperty(example: Example): Promise<Figure> {
  await example.edit((text) =>
    text.replace('      username: admin\n', '      username: admin\n      log_level: debug\n'),
  );
  let deploying = true;
  let firstFailure: number | undefined;
  let lastFailure: number | undefined;
  const watch = (async () => {
    while (deploying) {
      const asked = performance.now();
      try {
        await ask(`https://${example.address}:25777/readyz`);
      } catch {
        firstFailure ??= asked;
        lastFailure = performance.now();
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await example.create();
  deploying = false;
  await watch;
  if (firstFailure === undefined || lastFailure === undefined) {
    throw new Error('the change of a property did not interrupt the service: it was not applied');
  }
  return {
    label: 'change of one property: the service does not answer for',
    value: (lastFailure - firstFailure) / 1000,
    unit: 's',
    aim: '<= 3 s',
  };
}

/** A connection of its own each time, as a client that arrives then would make it. */
function ask(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent: false, rejectUnauthorized: false, timeout: 1_000 }, (response) => {
      response.resume();
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`status ${response.statusCode}`));
      });
    });
    sent.once('timeout', () => sent.destroy(new Error('no answer')));
    sent.once('error', reject);
  });
}

/** Twenty packages of 300 ms each, on a first VM and on another one. */
async function packageFigures(): Promise<Figure[]> {
  const simulation = await Simulation.create();
  try {
    simulation.packages = 20;
    simulation.cloud.compileMs = 300;
    await simulation.wish({ address: '10.0.0.5' });
    const first = await timeMs(() => simulation.here('create'));
    const compiled = simulation.cloud.compiledOrder.length;
    await simulation.wish({ address: '10.0.0.6' });
    const second = await timeMs(() => simulation.here('create'));
    if (compiled !== 20 || simulation.cloud.compiledOrder.length !== 20) {
      throw new Error('the packages were not compiled exactly once');
    }
    return [
      { label: 'first deploy of 20 packages of 300 ms', value: first / 1000, unit: 's' },
      {
        label: 'second deploy on a new VM, beside the first',
        value: second / first,
        unit: 'x',
        aim: '<= 0.2 x',
      },
    ];
  } finally {
    await simulation.close();
  }
}
