/** What the tests of the system layer share: memory with the core's layout, sockets, namespaces. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import * as abi from "../../assembly/abi.ts";
import type { Native } from "../../src/sys/native.ts";

/** Where the tests put data: behind the fixed blocks. */
export const DATA = abi.MEMORY_BASE;
const SLOTS = 80;

/** A memory with the blocks of abi.ts, slots in its RX and STAGE entries, and words to read. */
export class TestMemory {
  readonly buffer = new ArrayBuffer(DATA + SLOTS * abi.SLOT_BYTES);
  readonly bytes = new Uint8Array(this.buffer);
  readonly view = new DataView(this.buffer);
  readonly region: number;

  constructor(native: Native) {
    this.region = native.attach(this.buffer);
    for (let index = 0; index < 40; index++) {
      this.setU32(abi.RX_BASE + index * abi.RX_ENTRY_BYTES, this.slot(index));
    }
    for (let index = 0; index < abi.STAGE_MAX; index++) {
      this.setU32(abi.STAGE_BASE + index * abi.DGRAM_BYTES + abi.DGRAM_PTR_OFF, this.slot(index));
    }
  }

  slot(index: number): number {
    return DATA + index * abi.SLOT_BYTES;
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }

  setU16(at: number, value: number): void {
    this.view.setUint16(at, value, true);
  }

  /** Writes spans {ptr, len} to the SPANS block. */
  spans(...list: readonly (readonly [ptr: number, len: number])[]): number {
    list.forEach(([ptr, len], index) => {
      this.setU32(abi.SPANS_BASE + index * abi.SPAN_BYTES, ptr);
      this.setU32(abi.SPANS_BASE + index * abi.SPAN_BYTES + 4, len);
    });
    return abi.SPANS_BASE;
  }

  /** Writes a datagram record to the DGRAMS block. */
  record(index: number, fields: { ptr: number; len: number; gso?: number; far: Far }): number {
    const at = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
    this.setU32(at + abi.DGRAM_PTR_OFF, fields.ptr);
    this.setU32(at + abi.DGRAM_LEN_OFF, fields.len);
    this.setU32(at + abi.DGRAM_GSO_OFF, fields.gso ?? 0);
    this.setU16(at + abi.DGRAM_FAMILY_OFF, fields.far.address.length === 4 ? 4 : 6);
    this.setU16(at + abi.DGRAM_PORT_OFF, fields.far.port);
    this.bytes.fill(0, at + abi.DGRAM_FAR_OFF, at + abi.DGRAM_FAR_OFF + 16);
    this.bytes.set(fields.far.address, at + abi.DGRAM_FAR_OFF);
    return at;
  }

  /** Writes TX descriptor `index`. */
  tx(
    index: number,
    header: readonly [ptr: number, len: number],
    ...spans: readonly (readonly [ptr: number, len: number])[]
  ): void {
    const at = abi.TX_BASE + index * abi.TX_BYTES;
    this.setU32(at + abi.TX_HEADER_PTR_OFF, header[0]);
    this.setU16(at + abi.TX_HEADER_LEN_OFF, header[1]);
    this.setU16(at + abi.TX_SPAN_COUNT_OFF, spans.length);
    spans.forEach(([ptr, len], span) => {
      this.setU32(at + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES, ptr);
      this.setU32(at + abi.TX_SPANS_OFF + span * abi.SPAN_BYTES + 4, len);
    });
  }
}

export interface Far {
  readonly address: Uint8Array;
  readonly port: number;
}

export function ip4(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}

/** IPv6 from its eight groups in hex. */
export function ip6(text: string): Uint8Array {
  return Uint8Array.from(
    text.split(":").flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]),
  );
}

export const LOOPBACK_4 = ip4("127.0.0.1");
export const LOOPBACK_6 = ip6("0:0:0:0:0:0:0:1");

/** Waits until `condition` holds. */
export async function until(what: string, condition: () => boolean, ms = 10_000): Promise<void> {
  for (const from = performance.now(); !condition();) {
    if (performance.now() - from > ms) throw new Error(`${what} did not happen within ${ms} ms`);
    await new Promise((done) => setTimeout(done, 2));
  }
}

/** Why tests of devices cannot run here; "" if they can. */
export function noDevices(): string {
  if (process.getuid?.() !== 0) return "needs root";
  return existsSync("/dev/net/tun") ? "" : "needs /dev/net/tun";
}

/** Moves this thread into a network namespace of its own; answers how to end it. */
export async function enterNamespace(native: Native): Promise<() => void> {
  // Ends with this process, whatever happens, because its input does.
  const child = spawn("unshare", ["--net", "cat"], { stdio: ["pipe", "ignore", "ignore"] });
  const { pid } = child;
  if (pid === undefined) throw new Error("unshare cannot be run");
  const own = readlinkSync("/proc/self/ns/net");
  const home = openSync("/proc/thread-self/ns/net", "r");
  await until("a namespace", () => readlinkSync(`/proc/${pid}/ns/net`) !== own);
  native.setNetns(`/proc/${pid}/ns/net`);
  child.unref();
  (child.stdin as unknown as Socket).unref();
  return () => {
    native.setNetns(`/proc/self/fd/${home}`);
    closeSync(home);
    child.kill("SIGKILL");
  };
}

/** Runs a command in this thread's namespace; answers its exit code and output. */
export async function runTool(
  command: string,
  ...args: readonly string[]
): Promise<{ code: number; output: string }> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  return new Promise((done, fail) => {
    child.on("error", fail);
    child.on("close", (code) => done({ code: code ?? -1, output }));
  });
}
