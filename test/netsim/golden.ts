/** The golden table: a line a cell, with one result for each congestion control of the sender. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../lint/sources.ts";
import type { Build } from "../kit/core.ts";
import type { Cell, Congestion } from "./cells.ts";
import { transfer, type Outcome } from "./transfer.ts";

const FILE = join(ROOT, "fixtures/golden/netsim.txt");

const HEAD = [
  "# Goodput of one transfer in virtual time, core against test peer; `npm run netsim -- --full",
  "# --update` writes it. Direction, rate, round trip, loss and order both ways; bytes; for each",
  "# congestion control (the client's own when it sends): kbit/s, repeated segments, timeouts.",
];

/** Whose congestion control the line tells of: an upload is the peer's business. */
export function controlsOf(cell: Cell): readonly Congestion[] {
  return cell.direction === "down" ? ["newreno", "cubic"] : ["newreno"];
}

function columns({ kbit, retransmits, timeouts }: Outcome): string {
  return `${String(kbit).padStart(7)} ${String(retransmits).padStart(5)} ${timeouts}`;
}

/** Runs a cell and writes its line. */
export function measure(cell: Cell, build: Build = "simd"): string {
  const results = controlsOf(cell).map((congestion) => {
    const name = cell.direction === "down" ? congestion : "peer";
    return `${name} ${columns(transfer(cell, { congestion, build }))}`;
  });
  return [cell.name.padEnd(32), String(cell.bytes).padStart(8), ...results].join("  ");
}

/** Lines of the table by the name of their cell. */
export function readGolden(): Map<string, string> {
  const lines = readFileSync(FILE, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, 32).trimEnd(), line]));
}

export function writeGolden(lines: ReadonlyMap<string, string>): void {
  writeFileSync(FILE, [...HEAD, ...lines.values()].join("\n") + "\n");
}
