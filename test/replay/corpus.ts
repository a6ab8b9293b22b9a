/**
 * Replays a folder of captures and compares with its `truth.json` (made by another program): the
 * numbers of packets, fragments and wrong checksums, and for each connection whose client's bytes
 * are known whole the hash of what was handed upstream. Differences that are explained stand in
 * fixtures/corpus-exceptions.json; all others are faults.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openCapture } from "../../src/pcap/file.ts";
import { captureReader, emptyPacket } from "../../src/pcap/reader.ts";
import { replayCore } from "../../src/replay/core.ts";
import { Replay } from "../../src/replay/engine.ts";
import type { Checksums, FlowRow, Hasher, ReplayResult, Upstream } from "../../src/replay/types.ts";

export interface TruthFlow {
  readonly proto: string;
  readonly src: string;
  readonly sport: number;
  readonly dst: string;
  readonly dport: number;
  readonly client_sha256?: string;
  readonly client_bytes?: number;
  readonly client_gap?: boolean;
  readonly client_overlap_differs?: boolean;
}

export interface TruthFile {
  readonly file: string;
  readonly totals: Readonly<Record<string, number>>;
  readonly flows: readonly TruthFlow[];
}

export interface Exception {
  readonly capture: string;
  /** A key of totals, or "client_sha256 SRC:PORT > DST:PORT #n". */
  readonly field: string;
  readonly truth: string | number;
  readonly ours: string | number;
  readonly reason: string;
}

export interface Difference extends Omit<Exception, "reason"> {
  readonly note: string;
}

export function readTruth(folder: string): readonly TruthFile[] {
  const path = join(folder, "truth.json");
  if (!existsSync(path)) throw new Error(`${path} is missing`);
  return (JSON.parse(readFileSync(path, "utf8")) as { files: TruthFile[] }).files;
}

export function sha256(): Hasher {
  const hash = createHash("sha256");
  return { update: (data) => void hash.update(data), digest: () => hash.digest("hex") };
}

export interface Replayed {
  readonly result: ReplayResult;
  /** Why the capture ended early, or "". */
  readonly error: string;
}

export interface Setting {
  readonly wasm: WebAssembly.Module;
  readonly upstream: Upstream;
  readonly checksums: Checksums;
}

/** Replays one file; a trap or an invariant of ours throws. */
export function replayFile(path: string, setting: Setting): Replayed {
  const source = openCapture(path);
  const { upstream, checksums } = setting;
  const core = replayCore(setting.wasm);
  const replay = new Replay({ core, upstream, checksums, makeHash: sha256 });
  let error = "";
  try {
    const reader = captureReader(source);
    const packet = emptyPacket();
    for (;;) {
      try {
        if (!reader.next(packet)) break;
      } catch (cause) {
        error = cause instanceof Error ? cause.message : String(cause);
        break;
      }
      replay.packet(packet);
    }
  } catch (cause) {
    if (replay.packets > 0) throw cause;
    error = cause instanceof Error ? cause.message : String(cause);
  } finally {
    source.close();
  }
  return { result: replay.finish(), error };
}

const COUNTS = [
  "ip_fragments",
  "bad_ip_checksum",
  "bad_tcp_checksum",
  "bad_udp_checksum",
  "bad_icmp_checksum",
] as const;

/** Numbers of the capture that are not those of truth.json. */
export function countDifferences(truth: TruthFile, { result, error }: Replayed): Difference[] {
  const ours: Record<string, number> = { packets: result.packets };
  for (const name of COUNTS) ours[name] = result.capture[name];
  return Object.entries(ours).flatMap(([field, value]) => {
    const expected = truth.totals[field] ?? 0;
    if (expected === value) return [];
    return [{ capture: truth.file, field, truth: expected, ours: value, note: error }];
  });
}

function nameOf(flow: TruthFlow | FlowRow): string {
  return `${flow.src}:${flow.sport} > ${flow.dst}:${flow.dport}`;
}

/** Connections whose client's bytes truth.json knows as a whole. */
export function comparable(truth: TruthFile): TruthFlow[] {
  return truth.flows.filter(
    (flow) =>
      flow.client_sha256 !== undefined &&
      flow.client_gap !== true &&
      flow.client_overlap_differs !== true,
  );
}

/** Connections with the same ends are told apart by their order. */
export function hashDifferences(truth: TruthFile, { result }: Replayed): Difference[] {
  const seen = new Map<string, number>();
  return comparable(truth).flatMap((flow) => {
    const name = nameOf(flow);
    const index = seen.get(name) ?? 0;
    seen.set(name, index + 1);
    const rows = result.flows.filter((row) => row.proto === "tcp" && nameOf(row) === name);
    const known = truth.flows.filter((each) => each.proto === "tcp" && nameOf(each) === name);
    const row = rows[known.indexOf(flow)];
    const ours = row?.client_sha256 ?? "none";
    if (ours === flow.client_sha256) return [];
    // Nothing was handed upstream where there was nothing to hand.
    if (flow.client_bytes === 0 && row?.client_bytes === 0) return [];
    const field = `client_sha256 ${name}${index === 0 ? "" : ` #${index + 1}`}`;
    const bytes = `${row?.client_bytes ?? 0} of ${flow.client_bytes ?? 0} bytes`;
    const note = `${row?.verdict ?? "no such flow"}, ${bytes}`;
    return [{ capture: truth.file, field, truth: flow.client_sha256 ?? "", ours, note }];
  });
}
