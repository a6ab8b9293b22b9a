/** What the interop checks found: a line each while they run, a Markdown table at the end. */

/** Who talks to whom over what, with which settings. */
export interface Spot {
  readonly pair: string;
  readonly transport: string;
  readonly options: string;
}

/** "not applicable": cannot be had between these two; the note says whose limit that is. */
export type Result = "passed" | "failed" | "not applicable";

export interface Row extends Spot {
  readonly check: string;
  readonly result: Result;
  readonly note: string;
}

const MARKS: Readonly<Record<Result, string>> = {
  passed: "✓",
  failed: "✗",
  "not applicable": "–",
};

/** An assertion's message and what it found, in one line. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const first = error.message.split("\n", 1)[0] ?? "";
  if (!("actual" in error)) return first;
  return `${first} found ${JSON.stringify(error.actual)?.slice(0, 300) ?? "nothing"}`;
}

/** Runs checks one after the other and keeps what came out. */
export class Table {
  readonly #rows: Row[] = [];

  async check(
    spot: Spot,
    check: string,
    body: () => Promise<string | undefined>,
    limitMs = 20_000,
  ): Promise<void> {
    let note = "";
    let result: Result = "passed";
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nothing within ${limitMs} ms`)), limitMs);
      });
      note = (await Promise.race([body(), late])) ?? "";
    } catch (error) {
      result = "failed";
      note = describe(error);
    } finally {
      clearTimeout(timer);
    }
    this.#add({ ...spot, check, result, note });
  }

  /** A check that makes no sense with this peer, and why. */
  notApplicable(spot: Spot, check: string, note: string): void {
    this.#add({ ...spot, check, result: "not applicable", note });
  }

  #add(row: Row): void {
    this.#rows.push(row);
    const cells = [row.pair.padEnd(22), row.transport.padEnd(5), row.options.padEnd(26)];
    const why = row.note === "" ? "" : `: ${row.note}`;
    console.log(`${MARKS[row.result]} ${cells.join(" ")} ${row.check}${why}`);
  }

  count(result: Result): number {
    return this.#rows.filter((row) => row.result === result).length;
  }

  /** One row for what was checked between a pair over a transport, a column for each setting. */
  markdown(): string {
    const groups = new Map<string, Row[]>();
    for (const row of this.#rows) {
      const title = `${row.pair}, ${row.transport}`;
      groups.set(title, [...(groups.get(title) ?? []), row]);
    }
    return [...groups].map(([title, rows]) => section(title, rows)).join("\n\n");
  }
}

function section(title: string, rows: readonly Row[]): string {
  const settings = [...new Set(rows.map((row) => row.options))];
  const checks = [...new Set(rows.map((row) => row.check))];
  const cell = (check: string, options: string): string => {
    const found = rows.find((row) => row.check === check && row.options === options);
    return found === undefined ? "" : MARKS[found.result];
  };
  const lines = [
    [title, ...settings],
    ["---", ...settings.map(() => ":-:")],
    ...checks.map((check) => [check, ...settings.map((options) => cell(check, options))]),
  ];
  const notes = new Map<string, Set<string>>();
  for (const row of rows) {
    if (row.result === "passed") continue;
    const key = `${MARKS[row.result]} ${row.check}: ${row.note}`;
    notes.set(key, (notes.get(key) ?? new Set()).add(row.options));
  }
  const said = [...notes].map(([text, where]) => `* ${text} (${[...where].join("; ")})`);
  const table = lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
  return said.length === 0 ? table : `${table}\n\n${said.join("\n")}`;
}
