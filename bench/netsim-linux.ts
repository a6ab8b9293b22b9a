/**
 * Is the core's loss recovery as good as the kernel's? The cells of test/netsim in real time, over
 * the two-TUN link emulator of the test kit (test/kit/emulator.ts), each twice: between two Linux
 * kernels in namespaces of their own, and between a Linux kernel as the client and the core. The
 * same links, seeds, buffers and congestion control; the ratio of the goodputs is the answer.
 *
 *   npx tsx bench/netsim-linux.ts [--congestion cubic|reno] [--cell TEXT]… [--seeds N] [--mbit N]
 *
 * Needs root. A kernel may refuse cubic in namespaces: it is allowed for the run. On a busy machine
 * only cells whose rate leaves the emulator time are worth running (see --mbit, most Mbit/s).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import * as abi from "../assembly/abi.ts";
import { Lab, type Namespace } from "../src/commands/demo/namespace.ts";
import { CoreHarness } from "../test/kit/core.ts";
import { CoreEnd, LinkEmulator, TunEnd, type LinkEnd } from "../test/kit/emulator.ts";
import { BUFFER_BYTES, CELLS, linkOf, MTU, type Cell } from "../test/netsim/cells.ts";
import { transfer } from "../test/netsim/transfer.ts";

const APPS = new URL("./netsim-apps.ts", import.meta.url).href;
const ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const CLIENT = "10.99.0.1";
const KERNEL = "10.99.0.2";
const CORE = "10.99.0.3";
const PORT = 7000;
const RATE_MBIT_MAX = 200;
const CELL_TIMEOUT_MS = 120_000;

const { values } = parseArgs({
  options: {
    congestion: { type: "string", default: "cubic" },
    cell: { type: "string", multiple: true, default: [] },
    seeds: { type: "string", default: "1" },
    mbit: { type: "string", default: String(RATE_MBIT_MAX) },
  },
});

const isCubic = values.congestion === "cubic";
const seeds = Number(values.seeds);

/** What a cell reaches in virtual time, which says whether it can be run in real time here. */
function virtualMbit(cell: Cell, seed: number): number {
  return transfer(cell, { congestion: isCubic ? "cubic" : "newreno", seed }).kbit / 1000;
}

async function setUp(lab: Lab, name: string, address: string, tun: TunEnd): Promise<Namespace> {
  const namespace = await lab.namespace(name);
  const moved = spawnSync("ip", ["link", "set", tun.name, "netns", String(namespace.pid)]);
  if (moved.status !== 0) throw new Error(moved.stderr.toString());
  await namespace.ip(
    `link set ${tun.name} mtu ${MTU} txqueuelen 20000 up`,
    `addr add ${address}/24 dev ${tun.name}`,
  );
  // The kernel offers half of its buffer as a window, and accounts twice what a segment holds.
  const buffers = `4096 ${256 * 1024} ${2 * BUFFER_BYTES}`;
  const settings = {
    tcp_rmem: buffers,
    tcp_wmem: buffers,
    tcp_congestion_control: values.congestion,
    tcp_no_metrics_save: "1",
  };
  for (const [key, value] of Object.entries(settings)) {
    await namespace.must("sh", "-c", `echo "${value}" > /proc/sys/net/ipv4/${key}`);
  }
  return namespace;
}

/** The far end of a transfer when the core is it: does what netsim-apps.ts serves. */
class CoreHost {
  readonly #cell: Cell;
  readonly #data: Uint8Array;
  #handle = 0;
  #got = 0;
  #sent = 0;
  #isAsked = false;
  #isWritable = false;
  endUs = 0;

  constructor(cell: Cell) {
    this.#cell = cell;
    this.#data = new Uint8Array(cell.bytes);
  }

  readonly serve = (core: CoreHarness): void => {
    for (const { handle, flags } of core.events()) {
      if ((flags & abi.EV_OPEN) !== 0) this.#handle = handle;
      if ((flags & abi.EV_WRITABLE) !== 0) this.#isWritable = true;
      if ((flags & abi.EV_CLOSED) !== 0) core.release(handle);
      else if ((flags & abi.EV_READABLE) !== 0) this.#take(core.read(handle).length, core);
    }
    if (this.#cell.direction === "down" && this.#isAsked && this.#isWritable) this.#write(core);
  };

  #take(bytes: number, core: CoreHarness): void {
    this.#got += bytes;
    this.#isAsked = true;
    if (this.#cell.direction === "down" || this.#got < this.#cell.bytes + 4) return;
    if (this.endUs !== 0) return;
    this.endUs = Number(process.hrtime.bigint() / 1000n);
    core.write(this.#handle, new TextEncoder().encode(String(this.endUs)));
    core.shutdown(this.#handle);
  }

  #write(core: CoreHarness): void {
    const rest = this.#data.subarray(this.#sent);
    const taken = core.write(this.#handle, rest);
    this.#sent += taken;
    if (taken < rest.length) this.#isWritable = false;
  }
}

function makeCore(seed: number): CoreHarness {
  return new CoreHarness({
    build: "simd",
    seed,
    startUs: LinkEmulator.now(),
    options: {
      mtu: MTU,
      connect: abi.CONNECT_IMMEDIATE,
      congestion: isCubic ? abi.CONGESTION_CUBIC : abi.CONGESTION_NEWRENO,
      bufferCap: 64 * 1024 ** 2,
      recvBuffer: 256 * 1024,
      recvBufferMax: BUFFER_BYTES,
      sendBuffer: 256 * 1024,
      sendBufferMax: BUFFER_BYTES,
    },
  });
}

function within<T>(promise: Promise<T>): Promise<T | undefined> {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => done(undefined), CELL_TIMEOUT_MS);
    promise.then(done, fail).finally(() => clearTimeout(timer));
  });
}

/** Mbit/s of one transfer between the client's kernel and what is at the far end. */
async function measure(
  client: Namespace,
  ends: readonly [LinkEnd, LinkEnd],
  [cell, address, seed]: readonly [Cell, string, number],
): Promise<number> {
  const emulator = new LinkEmulator(ends, linkOf(cell), seed);
  const name = cell.direction === "down" ? "download" : "upload";
  const running = client.call(APPS, name, address, PORT, cell.bytes) as Promise<number>;
  const us = await within(running);
  emulator.stop();
  return us === undefined ? NaN : (cell.bytes * 8) / us;
}

function mean(numbers: readonly number[]): number {
  return Math.exp(numbers.reduce((sum, each) => sum + Math.log(each), 0) / numbers.length);
}

function average(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
}

async function compare(): Promise<void> {
  const lab = new Lab("root");
  const tuns = [new TunEnd("k1a%d"), new TunEnd("k1b%d")] as const;
  try {
    const client = await setUp(lab, "client", CLIENT, tuns[0]);
    const server = await setUp(lab, "server", KERNEL, tuns[1]);
    await server.call(APPS, "serve", KERNEL, PORT);
    const ratios: number[] = [];
    console.log(`Mbit/s with ${values.congestion}, mean of ${seeds} seeds: Linux, core, ratio;`);
    console.log("and the core in virtual time against the test peer");
    for (const cell of CELLS) {
      if (values.cell.length > 0 && !values.cell.some((text) => cell.name.includes(text))) continue;
      const results = { linux: [] as number[], core: [] as number[], virtual: [] as number[] };
      for (let seed = 1; seed <= seeds; seed++) results.virtual.push(virtualMbit(cell, seed));
      if (average(results.virtual) > Number(values.mbit)) continue;
      for (let seed = 1; seed <= seeds; seed++) {
        results.linux.push(await measure(client, tuns, [cell, KERNEL, seed]));
        const host = new CoreHost(cell);
        const end = new CoreEnd(makeCore(seed), host.serve);
        results.core.push(await measure(client, [tuns[0], end], [cell, CORE, seed]));
      }
      const [linux, core, virtual] = [results.linux, results.core, results.virtual].map(average);
      ratios.push(core! / linux!);
      const columns = [linux!, core!, core! / linux!, virtual!].map((each) =>
        each.toFixed(2).padStart(8),
      );
      console.log(`${cell.name.padEnd(32)} ${columns.join(" ")}`);
    }
    const least = Math.min(...ratios);
    console.log(
      `${ratios.length} cells: geometric mean ${mean(ratios).toFixed(3)}, least ${least.toFixed(3)}`,
    );
  } finally {
    await lab.close();
    for (const tun of tuns) tun.close();
  }
}

const allowed = readFileSync(ALLOWED, "utf8");
if (isCubic && !allowed.includes("cubic")) writeFileSync(ALLOWED, `${allowed.trim()} cubic`);
try {
  await compare();
} finally {
  if (readFileSync(ALLOWED, "utf8") !== allowed) writeFileSync(ALLOWED, allowed);
}
