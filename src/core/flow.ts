/**
 * What the pump needs from whoever carries flows upstream, and the facts of a flow that it passes.
 * Implementations live in serve/: direct (addon sockets) and chain (streams).
 */
import * as abi from "../../assembly/abi.ts";
import { addressText, type Core } from "./core.ts";

/** Carries one TCP flow. Calls come from the pump, inside a tick; none may call the pump's run. */
export interface FlowCarrier {
  /** The client sent bytes: recvPeek has them. */
  readable(): void;
  /** sendReserve has room again. */
  writable(): void;
  /** The client half-closed: after the last byte upstream gets EOF. */
  fin(): void;
  /** The flow is over (CLOSE_…). The carrier calls release once it lent nothing any more. */
  closed(code: number): void;
}

/** Carries one UDP mapping. */
export interface MappingCarrier {
  /** Datagram records `first` … `first + count - 1` of the DGRAMS block, all of this mapping. */
  datagrams(first: number, count: number): void;
  closed(): void;
}

/** Decides who carries what. */
export interface FlowRouter {
  open(flow: FlowFacts): FlowCarrier;
  mapping(flow: FlowFacts): MappingCarrier;
  /** An echo request (record index in the DGRAMS block) that the core did not answer itself. */
  echo(record: number): void;
}

export interface FlowFacts {
  readonly handle: number;
  /** Address of the record in the core's memory; valid until release. */
  readonly ptr: number;
  readonly family: 4 | 6;
  /** The client's end. */
  readonly remoteHost: string;
  readonly remotePort: number;
  /** The destination that the client asked for. */
  readonly localHost: string;
  readonly localPort: number;
  /** The destination's address, 4 or 16 bytes. */
  readonly localBytes: Uint8Array;
}

/** Reads a flow's or mapping's facts out of its record. */
export function flowFacts(core: Core, handle: number, ptr: number): FlowFacts {
  const family = core.u8[ptr + abi.FLOW_FAMILY_OFF] === 6 ? 6 : 4;
  const at = ptr + abi.FLOW_LOCAL_OFF;
  const local = core.u8.slice(at, at + (family === 4 ? 4 : 16));
  const remote = core.u8.subarray(ptr + abi.FLOW_REMOTE_OFF, ptr + abi.FLOW_REMOTE_OFF + 16);
  return {
    handle,
    ptr,
    family,
    remoteHost: addressText(remote, family),
    remotePort: core.u16[(ptr + abi.FLOW_REMOTE_PORT_OFF) >> 1] ?? 0,
    localHost: addressText(local, family),
    localPort: core.u16[(ptr + abi.FLOW_LOCAL_PORT_OFF) >> 1] ?? 0,
    localBytes: local,
  };
}

/** host:port, with brackets where IPv6 needs them. */
export function endpointText(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
