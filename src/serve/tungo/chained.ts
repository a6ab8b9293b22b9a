/**
 * Upstream through a chain: one UpStream a TCP flow, one datagram carrier a UDP mapping. Received
 * payload is lent to the stream as views of the core's memory and credited when the transport took
 * it; data from the far end is copied once, into the core's send blocks.
 */
import * as abi from "../../../assembly/abi.ts";
import type { ServiceRouter, Way } from "../../chain/router.ts";
import type { Endpoint, Unreachable, UpDatagrams, UpStream } from "../../chain/types.ts";
import type { Core } from "../../core/core.ts";
import type { FlowCarrier, FlowFacts, MappingCarrier } from "../../core/flow.ts";
import type { Pump } from "../../core/pump.ts";
import { parseIp } from "../../config/net.ts";
import { rejectForReason } from "./errno.ts";
import { addressText } from "../../core/core.ts";

export interface ChainContext {
  readonly router: Pick<ServiceRouter, "connect" | "datagrams">;
  readonly pump: Pump;
  /** UDP-14: bytes of a mapping that wait for a carrier that is not connected yet. */
  readonly queueBytes: number;
  /** A flow could not be connected: for the log. */
  dialFailed(flow: FlowFacts, error: unknown): void;
}

function reasonOf(error: unknown): Unreachable {
  const { reason } = error as { reason?: Unreachable };
  return reason ?? "closed";
}

export class ChainedFlow implements FlowCarrier {
  readonly #context: ChainContext;
  readonly #core: Core;
  readonly #handle: number;
  readonly #dial = new AbortController();
  #stream: UpStream | undefined;
  /** Bytes of the outstanding write; 0 = none. */
  #lent = 0;
  #finPending = false;
  #finSent = false;
  /** What the core's send buffer did not take yet; the stream is paused meanwhile. */
  #backlog: Uint8Array[] = [];
  #ended = false;
  #closed = false;

  /** `way`: where it leads, if that was found out already. */
  constructor(context: ChainContext, flow: FlowFacts, way?: Way) {
    this.#context = context;
    this.#core = context.pump.core;
    this.#handle = flow.handle;
    const destination = { host: flow.localHost, port: flow.localPort };
    const dial = { signal: this.#dial.signal, clientIp: flow.remoteHost };
    context.router.connect(destination, dial, way).then(
      (stream) => this.#connected(stream),
      (error: unknown) => {
        if (this.#closed) return;
        context.dialFailed(flow, error);
        this.#core.x.reject(this.#handle, rejectForReason(reasonOf(error)), context.pump.now());
        context.pump.touch();
      },
    );
  }

  readable(): void {
    this.#upward();
  }

  writable(): void {
    this.#downward();
  }

  fin(): void {
    this.#finPending = true;
    this.#upward();
  }

  closed(code: number): void {
    this.#closed = true;
    this.#dial.abort();
    this.#backlog = [];
    if (code === abi.CLOSE_DONE) this.#stream?.destroy();
    else this.#stream?.reset();
    // Lent blocks are read by the transport until its callback: release waits for it.
    if (this.#lent === 0) this.#core.x.release(this.#handle);
  }

  #connected(stream: UpStream): void {
    if (this.#closed) {
      stream.reset();
      return;
    }
    this.#stream = stream;
    const { pump } = this.#context;
    this.#core.x.accept(this.#handle, pump.now());
    stream.attach({
      data: (chunk) => this.#data(chunk),
      end: () => this.#end(),
      close: () => this.#streamClosed(),
    });
    this.#upward();
    pump.touch();
  }

  /** Client to far end: everything received is lent in one write; one write at a time. */
  #upward(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#lent > 0 || this.#closed) return;
    const count = this.#core.x.recvPeek(this.#handle);
    if (count > 0) {
      const views = this.#core.spans(count);
      let bytes = 0;
      for (const view of views) bytes += view.length;
      this.#lent = bytes;
      stream.write(views, this.#written);
      return;
    }
    if (this.#finPending && !this.#finSent) {
      this.#finSent = true;
      stream.end();
    }
  }

  readonly #written = (error?: Error): void => {
    const bytes = this.#lent;
    this.#lent = 0;
    const { x } = this.#core;
    if (this.#closed) {
      x.release(this.#handle);
      return;
    }
    // After an error the stream's close follows and ends the flow; the bytes are gone either way.
    if (error === undefined) {
      x.recvConsume(this.#handle, bytes, this.#context.pump.now());
      this.#upward();
    }
    this.#context.pump.touch();
  };

  #data(chunk: Uint8Array): void {
    if (this.#closed) return;
    if (this.#backlog.length > 0) {
      this.#backlog.push(chunk.slice());
      return;
    }
    const taken = this.#core.write(this.#handle, chunk, this.#context.pump.now());
    this.#context.pump.touch();
    if (taken < 0 || taken === chunk.length) return;
    this.#backlog.push(chunk.slice(taken));
    this.#stream?.pause();
  }

  #downward(): void {
    const { pump } = this.#context;
    while (this.#backlog.length > 0) {
      const [head] = this.#backlog;
      if (head === undefined) break;
      const taken = this.#core.write(this.#handle, head, pump.now());
      if (taken < 0) return;
      if (taken < head.length) {
        this.#backlog[0] = head.subarray(taken);
        pump.touch();
        return;
      }
      this.#backlog.shift();
    }
    if (this.#ended) this.#core.x.shutdown(this.#handle, pump.now());
    else this.#stream?.resume();
    pump.touch();
  }

  #end(): void {
    if (this.#closed) return;
    this.#ended = true;
    if (this.#backlog.length > 0) return;
    this.#core.x.shutdown(this.#handle, this.#context.pump.now());
    this.#context.pump.touch();
  }

  #streamClosed(): void {
    // Both directions were ended in order: a server that closed at once resets what comes after
    // (a gost server does), and the client must not take that for a failure.
    const isDone = this.#ended && this.#finSent;
    if (this.#closed || isDone) return;
    const { pump } = this.#context;
    this.#core.x.abort(this.#handle, pump.now());
    pump.touch();
  }
}

export class ChainedMapping implements MappingCarrier {
  readonly #context: ChainContext;
  readonly #core: Core;
  readonly #handle: number;
  readonly #family: 4 | 6;
  readonly #dial = new AbortController();
  #carrier: UpDatagrams | undefined;
  #queue: { data: Uint8Array; destination: Endpoint }[] = [];
  #queuedBytes = 0;
  #closed = false;

  constructor(context: ChainContext, flow: FlowFacts) {
    this.#context = context;
    this.#core = context.pump.core;
    this.#handle = flow.handle;
    this.#family = flow.family;
    const dial = { signal: this.#dial.signal, clientIp: flow.remoteHost };
    context.router.datagrams(dial).then(
      (carrier) => this.#connected(carrier),
      (error: unknown) => {
        if (this.#closed) return;
        context.dialFailed(flow, error);
        for (const { destination } of this.#queue) this.#unreachable(destination, reasonOf(error));
        this.#giveUp();
      },
    );
  }

  datagrams(first: number, count: number): void {
    const { u8, u16, u32 } = this.#core;
    for (let index = first; index < first + count; index++) {
      const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
      const ptr = u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0;
      const len = u32[(record + abi.DGRAM_LEN_OFF) >> 2] ?? 0;
      const far = u8.subarray(record + abi.DGRAM_FAR_OFF, record + abi.DGRAM_FAR_OFF + 16);
      const destination = {
        host: addressText(far, this.#family),
        port: u16[(record + abi.DGRAM_PORT_OFF) >> 1] ?? 0,
      };
      const step = (u32[(record + abi.DGRAM_GSO_OFF) >> 2] ?? 0) || Math.max(len, 1);
      for (let at = 0; at < len || at === 0; at += step) {
        this.#send(u8.subarray(ptr + at, ptr + Math.min(at + step, len)), destination);
      }
    }
  }

  closed(): void {
    this.drop();
    this.#core.x.release(this.#handle);
  }

  /** Lets go of the carrier; the mapping itself is somebody else's to release. */
  drop(): void {
    this.#closed = true;
    this.#dial.abort();
    this.#queue = [];
    this.#carrier?.close();
  }

  #send(data: Uint8Array, destination: Endpoint): void {
    if (this.#carrier !== undefined) {
      this.#carrier.send(data, destination);
      return;
    }
    // Every datagram costs its record too, so empty ones cannot pile up.
    const cost = data.length + 128;
    if (this.#queuedBytes + cost > this.#context.queueBytes) return;
    this.#queuedBytes += cost;
    this.#queue.push({ data: data.slice(), destination });
  }

  #connected(carrier: UpDatagrams): void {
    if (this.#closed) {
      carrier.close();
      return;
    }
    this.#carrier = carrier;
    carrier.attach({
      message: (data, source) => this.#message(data, source),
      unreachable: (destination, reason) => this.#unreachable(destination, reason),
      close: () => this.#giveUp(),
    });
    for (const { data, destination } of this.#queue.splice(0)) carrier.send(data, destination);
  }

  #message(data: Uint8Array, source: Endpoint): void {
    if (this.#closed || data.length > 65_535) return;
    const record = this.#stage(source, abi.DGRAM_UDP);
    if (record === 0) return;
    const ptr = this.#core.u32[(record + abi.DGRAM_PTR_OFF) >> 2] ?? 0;
    this.#core.u8.set(data, ptr);
    this.#core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] = data.length;
    this.#core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] = 0;
  }

  #unreachable(destination: Endpoint, reason: Unreachable): void {
    if (this.#closed) return;
    const record = this.#stage(destination, abi.DGRAM_ERROR);
    if (record === 0) return;
    const how = rejectForReason(reason);
    this.#core.u32[(record + abi.DGRAM_LEN_OFF) >> 2] = 0;
    this.#core.u32[(record + abi.DGRAM_GSO_OFF) >> 2] =
      how === abi.REJECT_RST ? abi.REJECT_PORT_UNREACHABLE : how;
  }

  /** A stage record with kind, handle and far end set; 0 if the far end is no address. */
  #stage(far: Endpoint, kind: number): number {
    const address = parseIp(far.host);
    if (address?.family !== this.#family) return 0;
    const record = this.#context.pump.stage();
    this.#core.u32[record >> 2] = kind;
    this.#core.u32[(record >> 2) + 1] = this.#handle;
    this.#core.u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] = this.#family;
    this.#core.u16[(record + abi.DGRAM_PORT_OFF) >> 1] = far.port;
    this.#core.u8.set(address.bytes, record + abi.DGRAM_FAR_OFF);
    return record;
  }

  /** The carrier is gone: the next datagram of this client makes a new mapping. */
  #giveUp(): void {
    if (this.#closed) return;
    this.#core.x.udpClose(this.#handle, this.#context.pump.now());
    this.#context.pump.touch();
  }
}
