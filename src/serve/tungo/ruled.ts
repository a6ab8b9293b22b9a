/**
 * Flows and mappings of a service with rules: each TCP flow, and each datagram by its destination,
 * is refused (service bypass), leaves directly by kernel sockets (a bypass of the first hop), or
 * goes through the chain. Used only where there are rules; without them nothing is looked up.
 *
 * A mapping has at most one carrier of each kind, made by the first datagram that needs it. What
 * was found for a destination holds for the records of one call, so that lists may change.
 */
import * as abi from "../../../assembly/abi.ts";
import type { ServiceRouter, Verdict } from "../../chain/router.ts";
import type { Unreachable } from "../../chain/types.ts";
import { addressText } from "../../core/core.ts";
import type { FlowCarrier, FlowFacts, MappingCarrier } from "../../core/flow.ts";
import type { Pump } from "../../core/pump.ts";
import { messageOf } from "../../errors.ts";
import { type ChainContext, ChainedFlow, ChainedMapping } from "./chained.ts";
import { DirectMapping, tellRefused } from "./direct-udp.ts";
import { type DirectContext, DirectFlow } from "./direct.ts";
import { rejectForReason } from "./errno.ts";

export interface RuledContext {
  readonly router: ServiceRouter;
  readonly direct: DirectContext;
  readonly chained: ChainContext;
}

/** Of a datagram. Fails closed: rules that cannot be asked refuse. */
function verdictOf(
  context: RuledContext,
  flow: FlowFacts,
  destination: { readonly host: string; readonly port: number },
): Verdict {
  try {
    return context.router.verdict("udp", destination, { clientIp: flow.remoteHost });
  } catch (error) {
    context.chained.dialFailed(flow, new Error(`rules: ${messageOf(error)}`));
    return "refused";
  }
}

/** The carrier of a TCP flow. */
export function openRuled(context: RuledContext, flow: FlowFacts): FlowCarrier {
  const destination = { host: flow.localHost, port: flow.localPort };
  const { router, direct, chained } = context;
  try {
    const way = router.wayNow("tcp", destination, { clientIp: flow.remoteHost });
    if (way !== undefined && way.via === undefined) return new DirectFlow(direct, flow);
    return new ChainedFlow(chained, flow, way);
  } catch (error) {
    // Refused by the service's bypass, without a way, or by rules that cannot be asked.
    chained.dialFailed(flow, error);
    const { reason = "prohibited" } = error as { reason?: Unreachable };
    return new RefusedFlow(direct.pump, flow, rejectForReason(reason));
  }
}

/** A flow that was turned down at once. */
class RefusedFlow implements FlowCarrier {
  readonly #pump: Pump;
  readonly #handle: number;

  /** `how`: REJECT_…. */
  constructor(pump: Pump, flow: FlowFacts, how: number) {
    this.#pump = pump;
    this.#handle = flow.handle;
    pump.core.x.reject(flow.handle, how, pump.now());
  }

  readable(): void {
    // Nothing is read of what was refused.
  }

  writable(): void {
    // Nor written.
  }

  fin(): void {
    // The rejection ends both directions.
  }

  closed(): void {
    this.#pump.core.x.release(this.#handle);
  }
}

export class RuledMapping implements MappingCarrier {
  readonly #context: RuledContext;
  readonly #flow: FlowFacts;
  #direct: DirectMapping | undefined;
  #chained: ChainedMapping | undefined;

  constructor(context: RuledContext, flow: FlowFacts) {
    this.#context = context;
    this.#flow = flow;
  }

  datagrams(first: number, count: number): void {
    const known = new Map<string, Verdict>();
    let start = first;
    let verdict: Verdict | undefined;
    for (let index = first; index < first + count; index++) {
      const next = this.#verdictAt(index, known);
      if (verdict !== undefined && next !== verdict) {
        this.#carry(verdict, start, index - start);
        start = index;
      }
      verdict = next;
    }
    if (verdict !== undefined) this.#carry(verdict, start, first + count - start);
  }

  closed(): void {
    this.#direct?.drop();
    this.#chained?.drop();
    this.#context.direct.pump.core.x.release(this.#flow.handle);
  }

  #carry(verdict: Verdict, first: number, count: number): void {
    const { direct, chained } = this.#context;
    switch (verdict) {
      case "direct":
        this.#direct ??= new DirectMapping(direct, this.#flow);
        this.#direct.datagrams(first, count);
        return;
      case "chain":
        this.#chained ??= new ChainedMapping(chained, this.#flow);
        this.#chained.datagrams(first, count);
        return;
      case "refused":
        for (let index = first; index < first + count; index++) {
          const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
          tellRefused(direct.pump, this.#flow.handle, record, abi.REJECT_PROHIBITED);
        }
    }
  }

  #verdictAt(index: number, known: Map<string, Verdict>): Verdict {
    const { u8, u16 } = this.#context.direct.pump.core;
    const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
    const far = u8.subarray(record + abi.DGRAM_FAR_OFF, record + abi.DGRAM_FAR_OFF + 16);
    const host = addressText(far, this.#flow.family);
    const port = u16[(record + abi.DGRAM_PORT_OFF) >> 1] ?? 0;
    const key = `${host} ${port}`;
    const verdict = known.get(key) ?? verdictOf(this.#context, this.#flow, { host, port });
    known.set(key, verdict);
    return verdict;
  }
}
