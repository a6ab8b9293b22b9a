/**
 * `npm run interop`: tsgost against a real gost v3, whose binary GOST_BIN names. Prints one line a
 * check, a Markdown table and a summary; exits 77 without GOST_BIN, 1 if a check failed.
 *
 * Parts: proxies (relay over every plain transport, our chain and server used as a library), mux
 * (the same with smux inside), matrix (every dialer under every connector, from command lines),
 * services (forwarding, BIND, certificates), hops, and tungo on real devices (needs namespaces,
 * /dev/net/tun and what `npm run build` makes). Words on the command line choose parts by name:
 * `npm run interop -- matrix hops`. Two more run only when named and have gost talk with itself:
 * control and hops-control show whose limit it is that a check meets.
 */
import { accessSync, constants } from "node:fs";
import { Gost, leftovers } from "./peer.ts";
import { checkHops, checkHopsControl } from "./hops.ts";
import { checkControl, checkMatrix } from "./matrix.ts";
import { checkMux } from "./mux.ts";
import { checkProxies } from "./proxies.ts";
import { checkServices } from "./services.ts";
import { Table } from "./table.ts";
import { checkTungo } from "./tungo.ts";

const EXIT_SKIPPED = 77;

/** Each part checks one area and is independent of the others. */
const PARTS = [
  { name: "proxies", title: "proxies, without devices", run: checkProxies },
  { name: "mux", title: "multiplexed transports", run: checkMux },
  { name: "matrix", title: "dialers and connectors", run: checkMatrix },
  { name: "services", title: "forwarding, BIND, certificates", run: checkServices },
  { name: "hops", title: "several hops, bypasses, dead nodes", run: checkHops },
  { name: "tungo", title: "tungo, on devices in namespaces", run: checkTungo },
  { name: "control", title: "gost with itself, for comparison", run: checkControl },
  { name: "hops-control", title: "hops of gost alone, for comparison", run: checkHopsControl },
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
      if (wanted.length === 0 ? part.name.endsWith("control") : !wanted.includes(part.name))
        continue;
      console.log(`\n${part.title}`);
      const from = performance.now();
      await part.run(gost, table);
      console.log(`${part.name}: ${Math.round((performance.now() - from) / 1000)} s`);
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
