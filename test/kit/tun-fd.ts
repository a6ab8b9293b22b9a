/**
 * Runs a command with an open TUN as descriptor 3: `tun-fd.ts NAME COMMAND…`. What a supervisor
 * does that makes the device itself and hands it over (`--tun-fd 3`).
 */
import { spawn } from "node:child_process";
import { loadNative } from "../../src/sys/addon.ts";

const [, , name = "", program = "", ...args] = process.argv;
const tun = loadNative().tunOpen({ name, vnet: true });
const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit", tun.fd] });
// Signals come to the whole group, so the command has them already.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => undefined);
child.on("exit", (code) => process.exit(code ?? 1));
