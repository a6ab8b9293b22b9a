/**
 * UDP to multicast groups (`multicastGroups`): the core lets datagrams to any group through once
 * there is one; here only those to the groups that were named go on, the others are dropped.
 */
import * as abi from "../../../assembly/abi.ts";
import type { Core } from "../../core/core.ts";
import type { FlowFacts, FlowRouter, MappingCarrier } from "../../core/flow.ts";
import type { IpAddress } from "../../config/net.ts";

/** The router with the groups in front of its mappings. */
export function onlyGroups(
  router: FlowRouter,
  groups: readonly IpAddress[],
  core: Core,
): FlowRouter {
  const allowed = new Set(groups.map(({ family, bytes }) => keyOf(family, bytes)));
  return {
    open: (flow) => router.open(flow),
    mapping: (flow: FlowFacts) => new GroupFilter(router.mapping(flow), allowed, core),
    echo: (record) => router.echo(record),
  };
}

function keyOf(family: number, bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, family === 4 ? 4 : 16)).toString("hex");
}

class GroupFilter implements MappingCarrier {
  readonly #carrier: MappingCarrier;
  readonly #allowed: ReadonlySet<string>;
  readonly #core: Core;

  constructor(carrier: MappingCarrier, allowed: ReadonlySet<string>, core: Core) {
    this.#carrier = carrier;
    this.#allowed = allowed;
    this.#core = core;
  }

  /** Passes on the runs of records that may go. */
  datagrams(first: number, count: number): void {
    let start = first;
    const end = first + count;
    for (let index = first; index < end; index++) {
      if (this.#mayPass(index)) continue;
      if (index > start) this.#carrier.datagrams(start, index - start);
      start = index + 1;
    }
    if (end > start) this.#carrier.datagrams(start, end - start);
  }

  closed(): void {
    this.#carrier.closed();
  }

  #mayPass(index: number): boolean {
    const { u8, u16 } = this.#core;
    const record = abi.DGRAMS_BASE + index * abi.DGRAM_BYTES;
    const family = u16[(record + abi.DGRAM_FAMILY_OFF) >> 1] ?? 0;
    const at = record + abi.DGRAM_FAR_OFF;
    const isGroup = family === 4 ? ((u8[at] ?? 0) & 0xf0) === 0xe0 : u8[at] === 0xff;
    return !isGroup || this.#allowed.has(keyOf(family, u8.subarray(at, at + 16)));
  }
}
