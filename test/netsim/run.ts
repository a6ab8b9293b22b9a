/**
 * Measures goodput in virtual time: `npm run netsim -- [--full] [--update] [--cell TEXT]`.
 *
 * Without --full the telling cells only. Prints each line, and what the golden table has instead
 * if it differs; exit code 1 then. --update writes what was measured into the table.
 */
import { parseArgs } from "node:util";
import { CELLS, TELLING_CELLS } from "./cells.ts";
import { measure, readGolden, writeGolden } from "./golden.ts";

const { values } = parseArgs({
  options: {
    full: { type: "boolean", default: false },
    update: { type: "boolean", default: false },
    cell: { type: "string", default: "" },
  },
});

const golden = readGolden();
const chosen = (values.full ? CELLS : TELLING_CELLS).filter(({ name }) =>
  name.includes(values.cell),
);
let changed = 0;
for (const cell of chosen) {
  const line = measure(cell);
  const before = golden.get(cell.name);
  console.log(line);
  if (before === line) continue;
  changed++;
  if (before !== undefined) console.log(`${before.slice(cell.name.length)}  before`);
  golden.set(cell.name, line);
}
console.log(`${chosen.length} cells, ${changed} not as in the golden table`);
if (values.update) {
  const order = new Map(CELLS.map(({ name }) => [name, golden.get(name)]));
  writeGolden(new Map([...order].filter((entry): entry is [string, string] => entry[1] != null)));
} else if (changed > 0) {
  process.exitCode = 1;
}
