/**
 * Direct upstream: one kernel socket a flow, driven through the addon. Payload goes from the core's
 * receive blocks into send(), and from recv() into the core's send blocks; it is never seen by
 * JavaScript.
 *
 * Back-pressure: the client's window opens by what send() took (recvConsume); a full send buffer in
 * the core stops the watch for readability until EV_WRITABLE.
 */
import * as abi from "../../../assembly/abi.ts";
import type { Endpoint } from "../../chain/types.ts";
import type { Core } from "../../core/core.ts";
import type { FlowCarrier, FlowFacts } from "../../core/flow.ts";
import type { Pump } from "../../core/pump.ts";
import type { DialDeadlines, Dialling } from "./deadline.ts";
import { EADDRNOTAVAIL, EAGAIN, EINPROGRESS, EIO, EPERM, ETIMEDOUT } from "./errno.ts";
import { rejectForErrno } from "./errno.ts";
import type { Out } from "./outs.ts";
import { FAILED, READABLE, WRITABLE, type Native, type Watch } from "../../sys/native.ts";
import type { LoopGuard } from "../../sys/loop-guard.ts";
import type { Poller } from "../../sys/poll.ts";

/** What all direct sockets of a service share. */
export interface DirectContext {
  readonly native: Native;
  readonly poller: Poller;
  readonly region: number;
  readonly pump: Pump;
  readonly dials: DialDeadlines;
  /** UDP-14: bytes of a mapping that may wait in its socket. */
  readonly queueBytes: number;
  /** Devices or addresses of the service (`interface`) with its `so_mark`; at least one. */
  readonly outs: readonly Out[];
  /** Asked for sockets without a device: they must not come back through our own. */
  readonly guard: LoopGuard;
  /** Whether rules of the service let datagrams from there pass; absent: all may. */
  readonly mayHear?: (source: Endpoint) => boolean;
  /** A destination was refused, because the way to it leads into the device of that name. */
  looped(device: string, destination: string): void;
  /** A socket failed before it could connect: for the log. */
  dialFailed(flow: FlowFacts, errno: number): void;
}

/** Our own device that a socket to this address would enter; undefined: none. */
function loopOf({ guard }: DirectContext, out: Out, address: Uint8Array): string | undefined {
  const { isBound, options } = out;
  return isBound ? undefined : guard.deviceTo(address, options.mark, options.localAddress);
}

/** Whether a socket to this address would enter our own device; then it is logged. */
export function mayEnter(
  context: DirectContext,
  out: Out,
  address: Uint8Array,
  text: string,
): boolean {
  const own = loopOf(context, out, address);
  if (own === undefined) return false;
  context.looped(own, text);
  return true;
}

/**
 * A socket that is not connected, by the first way out that serves its family, can be opened and
 * leads to its first destination: the descriptor and the way, or why the first of them failed.
 */
export function openBy(
  context: DirectContext,
  first: Uint8Array,
  open: (out: Out) => number,
): { readonly fd: number; readonly out: Out } | number {
  const { outs } = context;
  const family = first.length === 4 ? 4 : 6;
  let errno = 0;
  for (const [index, out] of outs.entries()) {
    try {
      // The last one's way is looked at with each destination.
      const leads = index === outs.length - 1 || loopOf(context, out, first) === undefined;
      const fits = out.family === 0 || out.family === family;
      if (fits && leads) return { fd: open(out), out };
      errno ||= fits ? EPERM : EADDRNOTAVAIL;
    } catch (error) {
      errno ||= (error as { errno?: number }).errno ?? 0;
    }
  }
  return errno;
}

/** Bytes asked of the core for one recv; it answers with what its buffers allow. */
const WANT_BYTES = 262_144;
/** recv() calls of one readiness, so that one flow cannot keep the loop (FLOW-14). */
const RECV_ROUNDS = 4;

export class DirectFlow implements FlowCarrier, Dialling {
  readonly #context: DirectContext;
  readonly #core: Core;
  readonly #flow: FlowFacts;
  readonly #handle: number;
  /** Which of the ways out is tried. */
  #out = 0;
  /** Why the first of them failed. */
  #errno = 0;
  #isTimed = false;
  #fd = -1;
  #watch: Watch | undefined;
  #events = 0;
  #connected = false;
  #finPending = false;
  #finSent = false;
  #eof = false;
  #over = false;

  constructor(context: DirectContext, flow: FlowFacts) {
    this.#context = context;
    this.#core = context.pump.core;
    this.#flow = flow;
    this.#handle = flow.handle;
    this.#dial();
  }

  readable(): void {
    if (this.#connected) this.#upward();
  }

  writable(): void {
    if (this.#connected && !this.#eof) this.#downward();
  }

  fin(): void {
    this.#finPending = true;
    if (this.#connected) this.#upward();
  }

  closed(code: number): void {
    if (!this.#over) this.#drop(code !== abi.CLOSE_DONE);
    this.#core.x.release(this.#handle);
  }

  dialTimedOut(): void {
    if (this.#over || this.#connected) return;
    this.#refuse(ETIMEDOUT);
    this.#context.pump.touch();
  }

  /** By one way out after the other, until one does not fail at once. */
  #dial(): void {
    for (;;) {
      const out = this.#context.outs[this.#out];
      const errno = out === undefined ? EPERM : this.#begin(out);
      if (errno === 0 || !this.#failedBy(errno)) return;
    }
  }

  /** 0: under way. */
  #begin(out: Out): number {
    const { native, poller } = this.#context;
    const { family, localBytes, localPort, localHost } = this.#flow;
    if (out.family !== 0 && out.family !== family) return EADDRNOTAVAIL;
    const own = loopOf(this.#context, out, localBytes);
    if (own !== undefined) {
      if (this.#out === this.#context.outs.length - 1) this.#context.looped(own, localHost);
      return EPERM;
    }
    try {
      this.#fd = native.socket(family, "stream", out.options);
      native.setNoDelay(this.#fd, true);
      const answer = native.connect(this.#fd, localBytes, localPort);
      if (answer < 0 && answer !== -EINPROGRESS) return -answer;
      this.#events = WRITABLE;
      this.#watch = poller.watch(this.#fd, WRITABLE, this.#ready);
      // All ways have one time together.
      if (!this.#isTimed) this.#context.dials.add(this);
      this.#isTimed = true;
      return 0;
    } catch (error) {
      return (error as { errno?: number }).errno || EIO;
    }
  }

  /** True: there is another way to try. */
  #failedBy(errno: number): boolean {
    this.#errno ||= errno;
    if (this.#out + 1 >= this.#context.outs.length) {
      this.#refuse(this.#errno);
      return false;
    }
    this.#out++;
    this.#watch?.close();
    this.#watch = undefined;
    if (this.#fd >= 0) this.#context.native.close(this.#fd);
    this.#fd = -1;
    return true;
  }

  readonly #ready = (events: number): void => {
    if (this.#over) return;
    if (!this.#connected) {
      this.#finishConnect();
      return;
    }
    if ((events & WRITABLE) !== 0) this.#upward();
    if ((events & (READABLE | FAILED)) !== 0 && !this.#isOver()) {
      if (this.#eof || (this.#events & READABLE) === 0) {
        if ((events & FAILED) !== 0) this.#failed();
      } else this.#downward();
    }
    this.#context.pump.touch();
  };

  #finishConnect(): void {
    const errno = this.#context.native.socketError(this.#fd);
    if (errno !== 0) {
      if (this.#failedBy(errno)) this.#dial();
      this.#context.pump.touch();
      return;
    }
    this.#connected = true;
    this.#context.dials.remove(this);
    this.#core.x.accept(this.#handle, this.#context.pump.now());
    this.#want(READABLE);
    // In immediate mode bytes (and the FIN) may have come before the connection stood.
    this.#upward();
    this.#context.pump.touch();
  }

  /** Client to upstream: as much as the socket takes. */
  #upward(): void {
    const { native, region, pump } = this.#context;
    const { x } = this.#core;
    for (;;) {
      const count = x.recvPeek(this.#handle);
      if (count <= 0) break;
      const sent = native.sendSpans(region, this.#fd, abi.SPANS_BASE, count);
      if (sent < 0) {
        if (sent === -EAGAIN) this.#want(this.#events | WRITABLE);
        else this.#failed();
        return;
      }
      x.recvConsume(this.#handle, sent, pump.now());
    }
    if ((this.#events & WRITABLE) !== 0) this.#want(this.#events & ~WRITABLE);
    if (this.#finPending && !this.#finSent) {
      this.#finSent = true;
      if (native.shutdownWrite(this.#fd) < 0) this.#failed();
    }
  }

  /** Upstream to client: as much as the core's send buffer takes. */
  #downward(): void {
    const { native, region, pump } = this.#context;
    const { x, u32 } = this.#core;
    for (let round = 0; round < RECV_ROUNDS; round++) {
      const count = x.sendReserve(this.#handle, WANT_BYTES);
      if (count <= 0) {
        this.#want(this.#events & ~READABLE);
        return;
      }
      const got = native.recvSpans(region, this.#fd, abi.SPANS_BASE, count);
      if (got < 0) {
        if (got !== -EAGAIN) this.#failed();
        else this.#want(this.#events | READABLE);
        return;
      }
      if (got === 0) {
        this.#eof = true;
        this.#want(this.#events & ~READABLE);
        x.shutdown(this.#handle, pump.now());
        return;
      }
      let room = 0;
      for (let index = 0; index < count; index++) {
        room += u32[(abi.SPANS_BASE >> 2) + 2 * index + 1] ?? 0;
      }
      x.sendCommit(this.#handle, got, pump.now());
      if (got < room) break;
    }
    this.#want(this.#events | READABLE);
  }

  #want(events: number): void {
    if (events === this.#events || this.#watch === undefined) return;
    this.#events = events;
    this.#watch.set(events);
  }

  #isOver(): boolean {
    return this.#over;
  }

  /** The socket failed: the client gets a RST. */
  #failed(): void {
    if (this.#over) return;
    this.#drop(true);
    this.#core.x.abort(this.#handle, this.#context.pump.now());
  }

  #refuse(errno: number): void {
    this.#context.dialFailed(this.#flow, errno);
    this.#drop(true);
    this.#core.x.reject(this.#handle, rejectForErrno(errno), this.#context.pump.now());
  }

  #drop(reset: boolean): void {
    this.#over = true;
    if (!this.#connected) this.#context.dials.remove(this);
    this.#watch?.close();
    this.#watch = undefined;
    if (this.#fd < 0) return;
    if (reset) this.#context.native.reset(this.#fd);
    else this.#context.native.close(this.#fd);
    this.#fd = -1;
  }
}
