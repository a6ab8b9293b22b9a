/** What the demo prints: what it does, and one line a check with its verdict and figures. */

const NAME_WIDTH = 34;

/** Thrown by a check that found something wrong; its message goes behind the ✗. */
export class CheckFailed extends Error {}

export function fail(message: string): never {
  throw new CheckFailed(message);
}

export class Report {
  passed = 0;
  failed = 0;
  #muted = false;
  readonly #colour = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;

  /** Nothing is printed from now on. */
  mute(): void {
    this.#muted = true;
  }

  section(title: string): void {
    this.#write(`\n${this.#paint(1, title)}\n`);
  }

  note(text: string): void {
    this.#write(`  ${this.#paint(2, text)}\n`);
  }

  /** A command as a person would type it, and where it runs. */
  command(place: string, words: readonly string[]): void {
    const text = words.map((word) => (/[^\w@%+=:,./[\]-]/.test(word) ? `"${word}"` : word));
    this.note(`${place} $ ${text.join(" ")}`);
  }

  /** Runs a check; answers what it answers, or undefined if it failed. */
  async check<T>(name: string, body: () => Promise<Verdict<T>>): Promise<T | undefined> {
    const live = process.stdout.isTTY;
    if (live) this.#write(`… ${name}`);
    let mark: string;
    let text: string;
    let value: T | undefined;
    try {
      const verdict = await body();
      [text, value] = [verdict.text, verdict.value];
      mark = this.#paint(32, "✓");
      this.passed++;
    } catch (error) {
      text = error instanceof Error ? error.message : String(error);
      mark = this.#paint(31, "✗");
      this.failed++;
    }
    const erase = live ? "\r\u001b[K" : "";
    this.#write(`${erase}${mark} ${name.padEnd(NAME_WIDTH)} ${text}\n`);
    return value;
  }

  #write(text: string): void {
    if (!this.#muted) process.stdout.write(text);
  }

  #paint(code: number, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

export interface Verdict<T> {
  /** Figures, printed behind the ✓. */
  readonly text: string;
  readonly value?: T;
}

export function gbits(bytes: number, ms: number): string {
  return `${((bytes * 8) / 1e6 / ms).toFixed(2)} Gbit/s`;
}

export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}

export function msText(ms: number): string {
  return ms < 100
    ? `${ms.toFixed(1)} ms`
    : ms < 10_000
      ? `${ms.toFixed(0)} ms`
      : `${(ms / 1000).toFixed(1)} s`;
}
