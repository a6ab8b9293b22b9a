/**
 * `npm run interop`: tsgost against a real gost v3, whose binary GOST_BIN names. Prints one line a
 * check and a summary; exits 77 without GOST_BIN, 1 if a check failed.
 *
 * Parts: proxies (relay over every transport, both ways; needs nothing), and what needs devices.
 */
import { accessSync, constants } from "node:fs";
import { Gost, Table } from "./peer.ts";
import { checkProxies } from "./proxies.ts";

const EXIT_SKIPPED = 77;

/** Each part checks one area and is independent of the others. */
const PARTS = [{ name: "proxies, without devices", run: checkProxies }] as const;

async function main(): Promise<number> {
  const binary = process.env["GOST_BIN"] ?? "";
  if (binary === "") {
    console.log("interop: skipped, because GOST_BIN does not name a gost v3 binary");
    return EXIT_SKIPPED;
  }
  accessSync(binary, constants.X_OK);
  const gost = new Gost(binary);
  const table = new Table();
  try {
    console.log(`peer: ${await gost.version()}`);
    for (const part of PARTS) {
      console.log(`\n${part.name}`);
      await part.run(gost, table);
    }
  } finally {
    gost.close();
  }
  console.log(`\n${table.rows.length - table.failed} ✓, ${table.failed} ✗`);
  return table.failed === 0 ? 0 : 1;
}

process.exitCode = await main();
