/**
 * `npm run interop`: tsgost against a real gost v3, whose binary GOST_BIN names. Prints one line a
 * check, a Markdown table and a summary; exits 77 without GOST_BIN, 1 if a check failed.
 *
 * Parts: proxies (relay over every plain transport, both ways; needs nothing), mux (the transports
 * with smux inside), and tungo on real devices (needs namespaces, /dev/net/tun and what `npm run
 * build` makes). Words on the command line choose parts by name.
 */
import { accessSync, constants } from "node:fs";
import { Gost, leftovers } from "./peer.ts";
import { checkControl, checkMatrix } from "./matrix.ts";
import { checkMux } from "./mux.ts";
import { checkProxies } from "./proxies.ts";
import { Table } from "./table.ts";
import { checkTungo } from "./tungo.ts";

const EXIT_SKIPPED = 77;

/** Each part checks one area and is independent of the others. */
const PARTS = [
  { name: "proxies", title: "proxies, without devices", run: checkProxies },
  { name: "mux", title: "multiplexed transports", run: checkMux },
  { name: "matrix", title: "dialers and connectors", run: checkMatrix },
  { name: "tungo", title: "tungo, on devices in namespaces", run: checkTungo },
  { name: "control", title: "gost with itself, for comparison", run: checkControl },
] as const;

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
    const wanted = process.argv.slice(2);
    for (const part of PARTS) {
      if (wanted.length === 0 ? part.name === "control" : !wanted.includes(part.name)) continue;
      console.log(`\n${part.title}`);
      await part.run(gost, table);
    }
  } finally {
    gost.close();
  }
  console.log(`\n${table.markdown()}`);
  const failed = table.count("failed");
  const rest = table.count("not applicable");
  const counts = `${table.count("passed")} ✓, ${failed} ✗, ${rest} – (not applicable)`;
  console.log(`\n${counts}; ${table.repeated} repeated`);
  const left = await leftovers(gost.home);
  for (const what of left) console.log(`left behind: ${what}`);
  return failed === 0 && left.length === 0 ? 0 : 1;
}

process.exitCode = await main();
