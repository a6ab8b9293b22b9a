/**
 * Writes down what a replay does with its core: every call with its answer, and every byte that
 * the host puts into the core's memory. Another WASM runtime plays the tape (player.py) and must
 * get the same answers and, hashing what the core puts out by itself, the same sha256.
 *
 * Form, all little endian: 'W' address u32, length u32, bytes | 'C' length of the name u8, name,
 * number of arguments u8, arguments f64, answer f64 | 'E' 64 hexadecimal digits. Every call of
 * txDone is preceded by hashing the TX descriptors, until 'X'.
 */
import * as abi from "../../assembly/abi.ts";
import { Core, type CoreExports } from "../../src/core/core.ts";
import { openCapture } from "../../src/pcap/file.ts";
import { captureReader, emptyPacket } from "../../src/pcap/reader.ts";
import { replayCore } from "../../src/replay/core.ts";
import { Replay } from "../../src/replay/engine.ts";
import type { Hasher } from "../../src/replay/types.ts";
import { sha256 } from "../replay/corpus.ts";

class Tape {
  readonly parts: Buffer[] = [];

  write(core: Core, ptr: number, bytes: number): void {
    const head = Buffer.alloc(9);
    head.write("W");
    head.writeUInt32LE(ptr, 1);
    head.writeUInt32LE(bytes, 5);
    this.parts.push(head, Buffer.from(core.u8.subarray(ptr, ptr + bytes)));
  }

  call(name: string, args: readonly number[], answer: number): void {
    const head = Buffer.from(`C${String.fromCharCode(name.length)}${name}`, "latin1");
    const numbers = Buffer.alloc(1 + 8 * (args.length + 1));
    numbers.writeUInt8(args.length);
    [...args, answer].forEach((value, index) => numbers.writeDoubleLE(value, 1 + 8 * index));
    this.parts.push(head, numbers);
  }

  mark(text: string): void {
    this.parts.push(Buffer.from(text, "latin1"));
  }
}

/** What the host wrote into the core's memory before a call. */
function writeInputs(tape: Tape, core: Core, name: string, args: readonly number[]): void {
  const word = (address: number): number => core.u32[address >> 2] ?? 0;
  const [first = 0, second = 0] = args;
  if (name === "ingest") {
    for (let index = 0; index < first; index++) {
      const entry = abi.RX_BASE + index * abi.RX_ENTRY_BYTES;
      tape.write(core, entry, abi.RX_ENTRY_BYTES);
      tape.write(core, word(entry), word(entry + 4));
    }
  }
  if (name === "sendCommit") {
    for (let at = abi.SPANS_BASE, left = second; left > 0; at += abi.SPAN_BYTES) {
      const bytes = Math.min(left, word(at + 4));
      tape.write(core, word(at), bytes);
      left -= bytes;
    }
  }
  if (name === "stageSend") {
    for (let index = first; index < first + second; index++) {
      const record = abi.STAGE_BASE + index * abi.DGRAM_BYTES;
      tape.write(core, record, abi.DGRAM_BYTES);
      tape.write(core, word(record + abi.DGRAM_PTR_OFF), word(record + abi.DGRAM_LEN_OFF));
    }
  }
}

/** The core with exports that write down their calls. */
function recorded(core: Core, tape: Tape): Core {
  const x: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(core.x)) {
    if (typeof value !== "function") continue;
    const call = value as (...args: number[]) => number | undefined;
    x[name] = (...args: number[]): number | undefined => {
      writeInputs(tape, core, name, args);
      const answer = call(...args);
      tape.call(name, args, answer ?? 0);
      return answer;
    };
  }
  Object.defineProperty(core, "x", { value: x as unknown as CoreExports });
  return core;
}

/** Replays a capture; the tape of it. */
export function tapeOf(file: string, wasm: WebAssembly.Module): Buffer {
  const tape = new Tape();
  const core = replayCore(wasm);
  tape.write(core, abi.CONFIG_BASE, abi.CONFIG_BYTES);
  tape.write(core, abi.ENTROPY_BASE, abi.ENTROPY_BYTES);
  tape.call("init", [], 0);
  let isFirst = true;
  const makeHash = (): Hasher => {
    const hash = sha256();
    if (!isFirst) return hash;
    isFirst = false;
    const digest = (): string => {
      tape.mark("X");
      return hash.digest();
    };
    return { update: (data) => hash.update(data), digest };
  };
  const replay = new Replay({
    core: recorded(core, tape),
    upstream: "recorded",
    checksums: "repair",
    makeHash,
  });
  const source = openCapture(file);
  const reader = captureReader(source);
  const packet = emptyPacket();
  while (reader.next(packet)) replay.packet(packet);
  source.close();
  const { sha256: digest } = replay.finish();
  tape.mark(`E${digest}`);
  return Buffer.concat(tape.parts);
}
