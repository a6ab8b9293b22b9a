/**
 * `tsgost demo`: three network namespaces on this machine, real servers, real clients and tsgost in
 * between, first through a relay+wss server and then without a proxy. Prints a line for each check
 * and removes everything; the exit code is 0 only if all checks passed.
 */
import { parseArgs } from "node:util";
import { EXIT_OK, EXIT_SYSTEM, TsgostError, usageError } from "../errors.ts";
import * as checks from "./demo/checks.ts";
import { contentHash } from "./demo/content.ts";
import { power } from "./demo/namespace.ts";
import { fail, msText, Report, sizeText } from "./demo/report.ts";
import type { ServeOptions } from "./demo/servers.ts";
import { HOMELESS, startTsgost, type Tsgost } from "./demo/tsgost.ts";
import { buildWorld, inventory, PLACES, PORTS, type World } from "./demo/world.ts";

export const DEMO_HELP = `Usage: tsgost demo [--size BYTES] [--keep] [--sabotage WHAT]

Shows on this machine, in three network namespaces, that tsgost does what it says.

  --size BYTES      length of the big file, such as 64M; default 1G
  --keep            leave everything up afterwards and say how to use it, until Ctrl-C
  --sabotage WHAT   spoil one thing on purpose, which a check must notice:
                    corrupt (a byte of the download), open-port (where one should be closed),
                    dns (a wrong answer), leave-device (after the end)
`;

const SABOTAGES = ["corrupt", "open-port", "dns", "leave-device"] as const;
type Sabotage = (typeof SABOTAGES)[number];

interface DemoOptions {
  readonly bigBytes: number;
  readonly keep: boolean;
  readonly sabotage?: Sabotage;
}

const MIN_BYTES = 64 * 1024;
const MAX_BYTES = 1024 ** 4;
const STOP_WITHIN_MS = 3_000;
const USER = "demo:wonderland";
const RELAY = ["-L", `relay+wss://${USER}@${PLACES.relay}:${PORTS.relay}`];
const TUNGO = ["tungo", "--net", PLACES.tunNet, "--route", "default", "--interface", "wan0"];
const PROXY = ["-F", `relay+wss://${USER}@${PLACES.relay}:${PORTS.relay}`];

/** Bytes of `64M` and the like (binary units). */
export function parseSize(text: string): number {
  const match = /^(\d{1,15})([KMGT]?)(i?B)?$/i.exec(text);
  const unit = " KMGT".indexOf((match?.[2] ?? "").toUpperCase() || " ");
  const bytes = Number(match?.[1]) * 1024 ** unit;
  if (bytes >= MIN_BYTES && bytes <= MAX_BYTES) return bytes;
  throw usageError(`--size: "${text}" is not a size from 64K to 1T, such as 64M`);
}

function parseDemo(argv: readonly string[]): DemoOptions | undefined {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        size: { type: "string", default: "1G" },
        keep: { type: "boolean", default: false },
        sabotage: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help) return undefined;
  const { keep, sabotage } = values;
  const bigBytes = parseSize(values.size);
  if (sabotage === undefined) return { bigBytes, keep };
  const known = SABOTAGES.find((one) => one === sabotage);
  if (known === undefined) {
    throw usageError(`--sabotage: "${sabotage}" is none of ${SABOTAGES.join(", ")}`);
  }
  return { bigBytes, keep, sabotage: known };
}

/** Everything that has to be undone, and what undoes it when a signal comes. */
class Stage {
  readonly report = new Report();
  readonly stopped: Promise<NodeJS.Signals>;
  readonly options: DemoOptions;
  world: World | undefined;
  #signalled = false;
  #stop: (signal: NodeJS.Signals) => void = () => undefined;

  constructor(options: DemoOptions) {
    this.options = options;
    this.stopped = new Promise((done) => {
      this.#stop = done;
    });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        // The second one does not wait: the agents see their channel end and take all with them.
        if (this.#signalled) process.exit(EXIT_SYSTEM);
        this.#signalled = true;
        this.#stop(signal);
      });
    }
  }

  get ending(): boolean {
    return this.#signalled;
  }
}

async function startServers(world: World, options: DemoOptions): Promise<void> {
  const { sabotage } = options;
  const serve: ServeOptions = {
    addresses: [PLACES.web4, PLACES.web6],
    webPort: PORTS.web,
    echoPort: PORTS.echo,
    dnsAddresses: [PLACES.dns4, PLACES.dns6],
    dnsPort: PORTS.dns,
    names: { [checks.NAME]: [PLACES.web4, PLACES.web6] },
    bigBytes: options.bigBytes,
    closedPort: PORTS.closed,
    ...(sabotage === undefined || sabotage === "leave-device" ? {} : { spoil: sabotage }),
  };
  const module = import.meta.url.replace(/demo\.([tj]s)$/, "demo/servers.$1");
  await world.internet.call(module, "serve", serve);
}

/** The `ready` line for people: device, addresses and MTU of each service. */
function describeReady({ fields, ms }: Tsgost["ready"]): string {
  const services = Array.isArray(fields["services"]) ? (fields["services"] as unknown[]) : [];
  const facts = services.map((service) => {
    return Object.entries(service as Record<string, unknown>)
      .filter(([key]) => key !== "name")
      .map(([key, value]) => `${key} ${Array.isArray(value) ? value.join(", ") : String(value)}`)
      .join("; ");
  });
  return `ready after ${msText(ms)}: ${facts.join("; ")}`;
}

function startRelay(world: World): Promise<Tsgost> {
  return startTsgost(world.internet, RELAY, { env: HOMELESS });
}

async function startTungo(stage: Stage, world: World, chain: readonly string[]): Promise<Tsgost> {
  const command = [...TUNGO, ...chain];
  stage.report.command("gateway", ["tsgost", ...command]);
  const started = await stage.report.check("tungo serves", async () => {
    const value = await startTsgost(world.gateway, command);
    return { text: describeReady(value.ready), value };
  });
  if (started === undefined) throw new TsgostError("TSGOST_ERR_DEMO", "tungo did not start");
  return started;
}

/** Ends tsgost and looks for what it left. */
async function finish(stage: Stage, world: World, was: Finish): Promise<void> {
  await stage.report.check("SIGTERM ends tsgost", async () => {
    const { code, ms } = await was.tungo.stop();
    if (code !== 0) fail(`exit code ${String(code)}`);
    if (ms > STOP_WITHIN_MS) fail(`it took ${msText(ms)}`);
    return { text: `exit code 0 after ${msText(ms)}` };
  });
  if (was.leave) await world.gateway.ip("tuntap add mode tun name tungo");
  await stage.report.check("device, addresses, routes are gone", async () => {
    const after = await inventory(world.gateway);
    const extra = after.filter((line) => !was.before.includes(line));
    const lost = was.before.filter((line) => !after.includes(line));
    if (extra.length > 0) fail(`left behind: ${extra.join(" | ")}`);
    if (lost.length > 0) fail(`taken away: ${lost.join(" | ")}`);
    return { text: `${after.length} entries as before` };
  });
}

interface Finish {
  readonly tungo: Tsgost;
  readonly before: readonly string[];
  readonly leave: boolean;
}

async function proxyPass(stage: Stage, world: World, sha256: string): Promise<void> {
  const { report, options } = stage;
  report.section("1  Through a relay+wss server");
  const before = await inventory(world.gateway);
  report.command("internet", ["tsgost", ...RELAY]);
  const relay = await report.check("relay server serves", async () => {
    const value = await startRelay(world);
    return { text: describeReady(value.ready), value };
  });
  if (relay === undefined) throw new TsgostError("TSGOST_ERR_DEMO", "the server did not start");
  const tungo = await startTungo(stage, world, PROXY);
  const context = { report, client: world.client, bigBytes: options.bigBytes };
  await checks.checkServices(context);
  await checks.checkTransfers(context, sha256);
  await checks.checkTruth(context);
  await finish(stage, world, { tungo, before, leave: false });
  await relay.stop();
}

async function directPass(stage: Stage, world: World, sha256: string): Promise<void> {
  const { report, options } = stage;
  report.section("2  Without a proxy");
  const before = await inventory(world.gateway);
  const tungo = await startTungo(stage, world, []);
  const context = { report, client: world.client, bigBytes: options.bigBytes };
  await checks.checkServices(context);
  await checks.checkTransfers(context, sha256);
  await checks.checkTruth(context);
  await checks.checkPings(context);
  await finish(stage, world, { tungo, before, leave: options.sabotage === "leave-device" });
}

async function keepUp(stage: Stage, world: World): Promise<void> {
  const { report } = stage;
  await startRelay(world);
  await startTsgost(world.gateway, [...TUNGO, ...PROXY]);
  const user = process.geteuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  const enter = (pid: number): string =>
    ["nsenter", "--target", String(pid), ...user, "--net"].join(" ");
  report.section("Everything stays up until Ctrl-C. In another terminal:");
  report.note(`client     ${enter(world.client.pid)}`);
  report.note(`gateway    ${enter(world.gateway.pid)}`);
  report.note(`internet   ${enter(world.internet.pid)}`);
  report.note(`then, in the client:  curl http://${PLACES.web4}/   dig @${PLACES.dns4} demo.test`);
  report.note(`in the gateway:       ip -d link show tungo   ip route   tcpdump -ni tungo`);
  const alive = setInterval(() => undefined, 60_000);
  await stage.stopped;
  clearInterval(alive);
}

async function perform(stage: Stage, world: World): Promise<void> {
  const { options, report } = stage;
  const hash = contentHash(0, options.bigBytes);
  await startServers(world, options);
  const sha256 = await hash;
  report.note(`big file: ${sizeText(options.bigBytes)}, sha256 ${sha256}`);
  await proxyPass(stage, world, sha256);
  await directPass(stage, world, sha256);
  if (options.keep) await keepUp(stage, world);
}

async function removeAll(stage: Stage): Promise<void> {
  const { world, report } = stage;
  if (world === undefined) return;
  const pids = [world.client, world.gateway, world.internet].map(({ pid }) => pid);
  if (stage.ending && !stage.options.keep) {
    report.mute();
    await world.close();
    process.stdout.write("\ninterrupted; everything was removed\n");
    return;
  }
  report.section("3  The end");
  await report.check("namespaces and servers are gone", async () => {
    await world.close();
    const left = pids.filter(isAlive);
    if (left.length > 0) fail(`still there: ${left.join(", ")}`);
    return { text: "nothing is left" };
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The command; answers the exit code. */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const options = parseDemo(argv);
  if (options === undefined) {
    process.stdout.write(DEMO_HELP);
    return EXIT_OK;
  }
  const able = power();
  if (able.kind === "none") {
    const how = able.remedy === "run it as root" ? "run: sudo npm run demo" : able.remedy;
    throw new TsgostError("TSGOST_ERR_DEMO", `the demo cannot run here: ${able.reason}; ${how}`);
  }
  const stage = new Stage(options);
  const { report } = stage;
  report.section("tsgost demo: client – gateway – internet, three network namespaces");
  report.note(`client ${PLACES.client4} – lan0 gateway (TUN, tsgost) wan0 – ${PLACES.web4}`);
  if (able.kind === "user") report.note("not root: inside a user namespace of its own");
  try {
    const world = (stage.world = await buildWorld(able.kind));
    await Promise.race([perform(stage, world), stage.stopped]);
  } catch (error) {
    if (!stage.ending) report.note(error instanceof Error ? error.message : String(error));
    // A check that failed has told why already.
    if (report.failed === 0) report.failed++;
  }
  await removeAll(stage);
  if (stage.ending && !options.keep) return EXIT_SYSTEM;
  report.section(`${report.passed} ✓, ${report.failed} ✗`);
  return report.failed === 0 ? EXIT_OK : EXIT_SYSTEM;
}
