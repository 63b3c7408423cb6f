import { messageChain } from '@microbosh/errors';

/** One row of a lab's table: method, case, result. */
interface Row {
  readonly method: string;
  readonly name: string;
  readonly result: 'ok' | 'FAILED' | 'skipped';
  readonly seconds: number;
  readonly remark?: string;
}

/** Runs the cases of a lab one after the other, tells each, and ends with the table's sums. */
export class LabReport {
  readonly #rows: Row[] = [];

  /** A failure is told, and the next case is tried. */
  async case(method: string, name: string, body: () => Promise<unknown>): Promise<boolean> {
    const started = Date.now();
    const seconds = (): number => (Date.now() - started) / 1000;
    try {
      await body();
      this.#add({ method, name, result: 'ok', seconds: seconds() });
      return true;
    } catch (error) {
      const remark = messageChain(error).join(': ');
      this.#add({ method, name, result: 'FAILED', seconds: seconds(), remark });
      return false;
    }
  }

  skip(method: string, name: string): void {
    this.#add({ method, name, result: 'skipped', seconds: 0 });
  }

  /** Something measured, told below the case that it belongs to. */
  figure(label: string, value: string): void {
    console.log(`${' '.repeat(31)}${value.padStart(16)}  ${label}`);
  }

  #add(row: Row): void {
    this.#rows.push(row);
    const { method, name, result, seconds, remark } = row;
    console.log(`${method.padEnd(30)} ${result.padEnd(8)} ${seconds.toFixed(1).padStart(6)} s  ${name}`);
    if (remark !== undefined) console.log(`${' '.repeat(31)}${remark}`);
  }

  /** Prints the sums; the exit status of the lab. */
  end(): number {
    const count = (result: Row['result']): number => this.#rows.filter((row) => row.result === result).length;
    const failed = count('FAILED');
    console.log(`${count('ok')} passed, ${failed} failed, ${count('skipped')} skipped`);
    if (this.#rows.length === 0) console.log('nothing was asked for: no row has these names');
    return failed === 0 && this.#rows.length > 0 ? 0 : 1;
  }
}

/** The method that a rule of the contract is about: its name begins with it. */
export function methodOf(rule: string): string {
  return /\b(?:info|[a-z]+(?:_[a-z]+)+)\b/.exec(rule)?.[0] ?? 'any';
}
