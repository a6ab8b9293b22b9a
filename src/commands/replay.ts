/**
 * `tsgost replay FILE`: a capture through the stack, in virtual time. The same file gives the same
 * bytes out, on every run and every build of the core; see src/replay/.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, realpathSync, writeSync } from "node:fs";
import type { Core } from "../core/core.ts";
import { endpointText } from "../core/flow.ts";
import { coreModule } from "../core/load.ts";
import {
  EXIT_DEFECT,
  EXIT_OK,
  EXIT_SYSTEM,
  TsgostError,
  defect,
  messageOf,
  usageError,
} from "../errors.ts";
import { openCapture } from "../pcap/file.ts";
import { captureReader, emptyPacket } from "../pcap/reader.ts";
import { replayCore } from "../replay/core.ts";
import { Replay } from "../replay/engine.ts";
import { OutputFile } from "../replay/output.ts";
import {
  CHECKSUMS,
  UPSTREAMS,
  type Checksums,
  type FlowRow,
  type ReplayResult,
  type Upstream,
} from "../replay/types.ts";
import { systemError } from "../sys/errno.ts";
import { parseOptions, type CommandSpec, type CommandValues } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

export const SPEC: CommandSpec = {
  name: "replay",
  summary: "Replay a capture into the stack, in virtual time, and tell what came of it.",
  usage: "tsgost replay FILE [--upstream WHO] [--checksums HOW] [--out FILE] [--json] [--flows]",
  text: [
    "FILE is pcap (micro- or nanoseconds, both byte orders) or pcapng, of link type raw IP, " +
      "Ethernet (VLAN tags, PPPoE and MPLS are passed over), Linux SLL and SLL2, null/loopback, " +
      "PPP or Cisco HDLC. No privilege and no network is needed.",
    "The side that opened a flow is the client: its packets go into the stack. With --upstream " +
      "recorded the servers' bytes are taken from the capture itself, so that the stack " +
      "re-enacts the conversation; acknowledgements and timestamps of the clients are translated to the " +
      "stack's own. The same FILE gives the same sha256 of all packets out, on every run.",
    "Exit codes: 0 replayed; 1 the file cannot be read, is damaged (what was replayed up to " +
      "there is told), or holds only link types that are not known; 2 wrong options; 70 a defect.",
  ],
  options: [
    {
      name: "upstream",
      value: "WHO",
      help: "recorded (default), echo, sink (take all, say nothing) or refuse",
    },
    {
      name: "checksums",
      value: "HOW",
      help:
        "verify (default): wrong ones reach the stack wrong; repair: make them right and say how " +
        "many; ignore: make them right",
    },
    { name: "out", value: "FILE", help: "write the packets that the stack put out, as pcapng" },
    { name: "json", help: "print one JSON object" },
    { name: "flows", help: "print the table of flows, too" },
    { name: "repeat", value: "N", help: "replay N times anew; all must give the same sha256" },
    { name: "help", short: "h", help: "this text" },
  ],
  examples: [
    "tsgost replay trace.pcap --flows",
    "tsgost replay trace.pcapng --json | jq .drops",
    "tsgost replay offloaded.pcap --checksums repair --out replies.pcapng",
    "tsgost replay scan.pcap --upstream refuse --repeat 3",
  ],
  words: { min: 1, max: 1 },
};

const REPEAT_MAX = 10_000;

interface Outcome {
  readonly result: ReplayResult;
  /** Why the capture ended early. */
  readonly error: TsgostError | undefined;
}

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  const [file = ""] = values.words;
  const upstream = choice(values, "upstream", UPSTREAMS);
  const checksums = choice(values, "checksums", CHECKSUMS);
  const repeat = repeatOf(values);
  const out = values.text("out");
  if (out !== "") refuseSame(file, out);
  let outcome: Outcome | undefined;
  for (let round = 0; round < repeat; round++) {
    const again = replayFile(file, { upstream, checksums, out: round === 0 ? out : "" });
    const before = outcome?.result.sha256 ?? again.result.sha256;
    if (again.result.sha256 !== before) {
      throw defect(`replay: run ${round + 1} gave ${again.result.sha256}, not ${before}`);
    }
    outcome = again;
    // A long file of many runs leaves the loop a turn, for signals.
    await new Promise((next) => setImmediate(next));
  }
  return outcome === undefined ? EXIT_OK : report(file, outcome, values);
}

function choice<T extends Upstream | Checksums>(
  values: CommandValues,
  name: string,
  choices: readonly T[],
): T {
  const text = values.text(name);
  const found = text === "" ? choices[0] : choices.find((each) => each === text);
  if (found !== undefined) return found;
  throw usageError(`--${name} must be ${choices.join(", ")}, not ${JSON.stringify(text)}`);
}

function repeatOf(values: CommandValues): number {
  const text = values.text("repeat");
  const number = text === "" ? 1 : /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= REPEAT_MAX) return number;
  throw usageError(`--repeat must be 1 … ${REPEAT_MAX}, not ${JSON.stringify(text)}`);
}

/** The output must not replace what is read. */
function refuseSame(file: string, out: string): void {
  let same = file === out;
  try {
    same ||= realpathSync(file) === realpathSync(out);
  } catch {
    // One of them is not there: they differ, or opening will say so.
  }
  if (same) throw usageError(`--out must not be the capture itself (${out})`);
}

interface RunOptions {
  readonly upstream: Upstream;
  readonly checksums: Checksums;
  readonly out: string;
}

function replayFile(file: string, options: RunOptions): Outcome {
  const source = openCapture(file);
  const output = options.out === "" ? undefined : openOutput(options.out);
  try {
    const reader = captureReader(source);
    const replay = makeReplay(replayCore(coreModule()), options, output);
    const packet = emptyPacket();
    let error: TsgostError | undefined;
    try {
      while (reader.next(packet)) feedOne(replay, packet, file);
    } catch (cause) {
      if (!(cause instanceof TsgostError) || cause.exitCode !== EXIT_SYSTEM) throw cause;
      error = cause;
    }
    const result = replay.finish();
    output?.end();
    return { result, error };
  } finally {
    source.close();
    output?.end();
  }
}

function makeReplay(core: Core, options: RunOptions, output: OutputFile | undefined): Replay {
  return new Replay({
    core,
    upstream: options.upstream,
    checksums: options.checksums,
    makeHash: () => {
      const hash = createHash("sha256");
      return { update: (data) => void hash.update(data), digest: () => hash.digest("hex") };
    },
    ...(output === undefined
      ? {}
      : { onOutput: (data: Uint8Array, timeUs: number) => output.packet(data, timeUs) }),
  });
}

/** One packet; a trap of the core names its place in the file. */
function feedOne(replay: Replay, packet: ReturnType<typeof emptyPacket>, file: string): void {
  try {
    replay.packet(packet);
  } catch (cause) {
    if (cause instanceof TsgostError && cause.exitCode !== EXIT_DEFECT) throw cause;
    const where = `${file}: offset ${packet.offset}: packet ${replay.packets}`;
    throw defect(`${where}: ${messageOf(cause)}`, cause);
  }
}

function openOutput(file: string): OutputFile {
  let fd: number;
  try {
    fd = openSync(file, "w", 0o600);
  } catch (cause) {
    throw systemError("TSGOST_ERR_PCAP", `cannot write ${file}`, cause);
  }
  const write = (bytes: Uint8Array): void => {
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    } catch (cause) {
      throw systemError("TSGOST_ERR_PCAP", `cannot write ${file}`, cause);
    }
  };
  return new OutputFile(write, () => closeSync(fd));
}

/* ---- what is printed ---- */

function report(file: string, { result, error }: Outcome, values: CommandValues): number {
  if (values.has("json")) {
    const { packets, flows, drops, sha256, out, ...rest } = result;
    const failed = error === undefined ? {} : { error: error.message };
    printOut(JSON.stringify({ packets, flows, drops, sha256, out, ...rest, ...failed }));
  } else {
    printText(result, values.has("flows"));
  }
  if (result.leaks.length > 0) throw defect(`replay: leaked: ${result.leaks.join("; ")}`);
  const { unsupported } = result.capture;
  const isNothing = unsupported > 0 && unsupported === result.packets;
  if (error !== undefined) process.stderr.write(`tsgost: ${error.message}\n`);
  if (unsupported > 0) {
    const kinds = result.unsupported_links.map(
      ({ linktype, packets, offset }) =>
        `${packets} of link type ${linktype} (first at offset ${offset})`,
    );
    const text = `${file}: packets of unknown link types were left out: ${kinds.join(", ")}`;
    process.stderr.write(`tsgost: ${text}\n`);
  }
  return error !== undefined || isNothing ? EXIT_SYSTEM : EXIT_OK;
}

function printText(result: ReplayResult, hasFlows: boolean): void {
  if (hasFlows) printOut(flowTable(result.flows));
  const { capture, out } = result;
  const counts = Object.entries(capture)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`);
  const drops = Object.entries(result.drops).map(([name, count]) => `${name} ${count}`);
  printOut(
    [
      `packets  ${result.packets}${counts.length === 0 ? "" : ` (${counts.join(", ")})`}`,
      `flows    ${result.flows.length + result.flows_omitted}`,
      `drops    ${drops.length === 0 ? "none" : drops.join(", ")}`,
      `out      ${out.packets} packets, ${out.bytes} bytes`,
      `sha256   ${result.sha256}`,
    ].join("\n"),
  );
}

function flowTable(flows: readonly FlowRow[]): string {
  const head = ["proto", "client", "server", "state", "up", "down", "rtx", "verdict"];
  const rows = flows.map((flow) => [
    flow.proto,
    endpointText(flow.src, flow.sport),
    endpointText(flow.dst, flow.dport),
    flow.state,
    String(flow.client_bytes),
    String(flow.server_bytes),
    String(flow.retransmissions),
    flow.verdict,
  ]);
  const widths = head.map((_, column) =>
    [head, ...rows].reduce((most, row) => Math.max(most, row[column]?.length ?? 0), 0),
  );
  return [head, ...rows]
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "))
    .map((line) => line.trimEnd())
    .join("\n");
}
