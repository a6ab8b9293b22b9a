/**
 * Records what passes a device as pcapng (`--pcap FILE`): both directions, without the virtio
 * header, super-packets as they are. "In" is what the stack receives from the device.
 *
 * Blocks are gathered in one buffer and written when it is full, when nothing was written for a
 * while, and at the end. A file that cannot be written (a full disk) ends the recording, is told
 * once, and leaves the device as it is.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import * as abi from "../../assembly/abi.ts";
import { TsgostError } from "../errors.ts";
import { systemError } from "../sys/errno.ts";
import { Blocks } from "./blocks.ts";
import type { Device, DeviceMemory } from "./device.ts";
import {
  DIRECTION_IN,
  DIRECTION_OUT,
  LINKTYPE_ETHERNET,
  LINKTYPE_RAW,
  fileHeader,
  packetBlockBytes,
  writePacketBlock,
} from "./pcapng.ts";

export interface PcapOptions {
  /** The file; an old one is replaced. Only its owner may read it. */
  readonly file: string;
  /** Go on with the file in a new section (pcapng §4.1): a device that was lost came back. */
  readonly append?: boolean;
  /** The device is a TAP. */
  readonly ethernet?: boolean;
  /** The recording ended early. */
  readonly onError?: (error: TsgostError) => void;
}

const BUFFER_BYTES = 512 * 1024;
const FLUSH_MS = 500;

export class PcapDevice implements Device {
  readonly #inner: Device;
  readonly #onError: (error: TsgostError) => void;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #file: string;
  #used = 0;
  #fd: number;
  #timer: NodeJS.Timeout | undefined;
  #blocks: Blocks | undefined;

  /** Throws TSGOST_ERR_PCAP if the file cannot be made. */
  constructor(inner: Device, options: PcapOptions) {
    this.#inner = inner;
    this.#file = options.file;
    this.#onError = options.onError ?? (() => undefined);
    try {
      this.#fd = openSync(options.file, options.append === true ? "a" : "w", 0o600);
    } catch (cause) {
      throw systemError("TSGOST_ERR_PCAP", `cannot write ${options.file}`, cause);
    }
    const header = fileHeader(
      options.ethernet === true ? LINKTYPE_ETHERNET : LINKTYPE_RAW,
      inner.name,
    );
    this.#bytes.set(header);
    this.#used = header.length;
    this.flush();
  }

  get name(): string {
    return this.#inner.name;
  }

  get mtu(): number {
    return this.#inner.mtu;
  }

  get vnetBytes(): number {
    return this.#inner.vnetBytes;
  }

  get offloads(): number {
    return this.#inner.offloads;
  }

  attach(memory: DeviceMemory): void {
    this.#blocks = new Blocks(memory.buffer);
    this.#inner.attach(memory);
  }

  read(max: number): number {
    const count = this.#inner.read(max);
    if (this.#fd < 0 || this.#blocks === undefined) return count;
    const timeUs = nowUs();
    for (let index = 0; index < count; index++) {
      const packet = this.#blocks.received(index);
      const len = packet.length - this.vnetBytes;
      if (len <= 0) continue;
      const data = this.#block(len, timeUs, DIRECTION_IN);
      this.#bytes.set(packet.subarray(this.vnetBytes), data);
    }
    return count;
  }

  write(count: number): number {
    if (this.#fd >= 0 && this.#blocks !== undefined) this.#recordSent(this.#blocks, count);
    return this.#inner.write(count);
  }

  #recordSent(blocks: Blocks, count: number): void {
    const timeUs = nowUs();
    for (let index = 0; index < count; index++) {
      const len = blocks.sentLength(index) - this.vnetBytes;
      if (len <= 0 || len > abi.SLOT_BYTES) continue;
      const data = this.#block(len, timeUs, DIRECTION_OUT);
      blocks.gather(index, this.#bytes, data, this.vnetBytes);
    }
  }

  /** Makes room for a packet and writes its block; answers where its data goes. */
  #block(len: number, timeUs: number, direction: number): number {
    const size = packetBlockBytes(len);
    if (this.#used + size > this.#bytes.length) this.flush();
    const at = this.#used;
    this.#used += size;
    if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.flush(), FLUSH_MS);
      this.#timer.unref();
    }
    return writePacketBlock(this.#view, at, { timeUs, direction, len });
  }

  /** Writes what is buffered. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const end = this.#used;
    this.#used = 0;
    try {
      for (let at = 0; at < end && this.#fd >= 0;) {
        at += writeSync(this.#fd, this.#bytes, at, end - at);
      }
    } catch (cause) {
      this.#end();
      this.#onError(systemError("TSGOST_ERR_PCAP", `cannot write ${this.#file}`, cause));
    }
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeSync(fd);
  }

  onReadable(handler: () => void): void {
    this.#inner.onReadable(handler);
  }

  close(): void {
    this.flush();
    this.#end();
    this.#inner.close();
  }
}

function nowUs(): number {
  return Math.floor((performance.timeOrigin + performance.now()) * 1000);
}
