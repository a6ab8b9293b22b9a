/**
 * `npm run requirements [-- ID …] [--missing] [--json]`: each requirement with the tests that cite
 * it and the places of the core that do, by id or RFC section. Exit code 1 if a must has no test.
 */
import { parseArgs } from "node:util";
import { traceability, type Row } from "./collect.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    missing: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

function print({ requirement, tests, places }: Row): void {
  const { id, class: level, text, why } = requirement;
  console.log(`${id}  ${level}  ${text}${why === undefined ? "" : `  [${why}]`}`);
  for (const { path, line, name } of tests) console.log(`    test  ${path}:${line}  ${name}`);
  if (places.length > 0) {
    console.log(`    core  ${places.map(({ path, line }) => `${path}:${line}`).join(" ")}`);
  }
}

function covered(rows: readonly Row[], level: string): string {
  const all = rows.filter(({ requirement }) => requirement.class === level);
  return `${all.filter(({ tests }) => tests.length > 0).length} of ${all.length} ${level}`;
}

const all = traceability();
const rows = all.filter(
  ({ requirement, tests }) =>
    (positionals.length === 0 || positionals.includes(requirement.id)) &&
    (!values.missing || (tests.length === 0 && requirement.class !== "-")),
);
if (values.json) {
  console.log(JSON.stringify(rows, undefined, 1));
} else {
  rows.forEach(print);
  const [stack, labels] = [false, true].map((must) =>
    all.filter(({ requirement }) => requirement.id.startsWith("MUST-") === must),
  );
  console.log(`stack: ${["M", "S", "y"].map((level) => covered(stack!, level)).join(", ")}`);
  console.log(`RFC 9293: ${covered(labels!, "M")}, ${labels!.filter(isFar).length} do not apply`);
}

function isFar({ requirement }: Row): boolean {
  return requirement.class === "-";
}
process.exitCode = all.some(
  ({ requirement, tests }) => requirement.class === "M" && tests.length === 0,
)
  ? 1
  : 0;
