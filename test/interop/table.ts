/** What the interop checks found: a line each while they run, one Markdown table at the end. */

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

/** Columns in this order; others follow. Of a multiplexed transport there is one a smux version. */
const COLUMNS = "tcp tls ws wss mtls/1 mtls/2 mws/1 mws/2 mwss/1 mwss/2 udp mixed".split(" ");

/** An assertion's message and what it found, in one line. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const first = error.message.split("\n", 1)[0] ?? "";
  if (!("actual" in error)) return first;
  return `${first} found ${JSON.stringify(error.actual)?.slice(0, 300) ?? "nothing"}`;
}

/** What `body` throws, undefined where it passes; `note` takes what it says. */
async function failureOf(
  body: () => Promise<string | undefined>,
  limitMs: number,
): Promise<{ failure?: string; note: string }> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing within ${limitMs} ms`)), limitMs);
    });
    return { note: (await Promise.race([body(), late])) ?? "" };
  } catch (error) {
    return { failure: describe(error), note: "" };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs checks one after the other and keeps what came out. */
export class Table {
  readonly #rows: Row[] = [];
  #repeated = 0;

  /** A check that fails is repeated once before it counts: the machine may be busy. */
  async check(
    spot: Spot,
    check: string,
    body: () => Promise<string | undefined>,
    limitMs = 40_000,
  ): Promise<void> {
    const first = await failureOf(body, limitMs);
    if (first.failure === undefined) {
      this.#add({ ...spot, check, result: "passed", note: first.note });
      return;
    }
    this.#repeated++;
    console.log(`  repeated: ${spot.transport} ${spot.options} ${check}: ${first.failure}`);
    const { failure, note } = await failureOf(body, limitMs);
    const result = failure === undefined ? "passed" : "failed";
    this.#add({ ...spot, check, result, note: failure ?? `${note} (repeated)`.trim() });
  }

  /** A check that makes no sense with this peer, and why. */
  notApplicable(spot: Spot, check: string, note: string): void {
    this.#add({ ...spot, check, result: "not applicable", note });
  }

  #add(row: Row): void {
    this.#rows.push(row);
    const cells = [row.pair.padEnd(22), row.transport.padEnd(6), row.options.padEnd(26)];
    const why = row.note === "" ? "" : `: ${row.note}`;
    console.log(`${MARKS[row.result]} ${cells.join(" ")} ${row.check}${why}`);
  }

  count(result: Result): number {
    return this.#rows.filter((row) => row.result === result).length;
  }

  /** How many checks were run a second time. */
  get repeated(): number {
    return this.#repeated;
  }

  /** A row for each check of each setting, a column a transport; the notes of marks below. */
  markdown(): string {
    const used = new Set(this.#rows.map((row) => row.transport));
    const columns = [...new Set([...COLUMNS, ...used])].filter((column) => used.has(column));
    const lines = new Map<string, Map<string, string>>();
    const notes: string[] = [];
    for (const row of this.#rows) {
      const title = `${row.pair} | ${row.options} | ${row.check}`;
      const line = lines.get(title) ?? new Map<string, string>();
      lines.set(title, line.set(row.transport, this.#cell(row, notes)));
    }
    const table = [
      `| from → to | setting | check | ${columns.join(" | ")} |`,
      `| --- | --- | --- |${" :-: |".repeat(columns.length)}`,
      ...[...lines].map(([title, line]) => {
        const cells = columns.map((column) => line.get(column) ?? "");
        return `| ${title.replaceAll("->", "→")} | ${cells.join(" | ")} |`;
      }),
    ];
    const said = notes.map((text, index) => `* [${index + 1}] ${text}`);
    return [table.join("\n"), ...(said.length === 0 ? [] : [said.join("\n")])].join("\n\n");
  }

  /** The mark, with the number of its reason unless it passed. */
  #cell({ result, note }: Row, notes: string[]): string {
    if (result === "passed") return MARKS.passed;
    const known = notes.indexOf(note);
    const index = known < 0 ? notes.push(note) : known + 1;
    return `${MARKS[result]} [${index}]`;
  }
}
