/** What a replay is given and what it answers. */
import type { Core } from "../core/core.ts";

/**
 * What stands behind the stack: the servers of the capture, with the bytes that the capture has of
 * them; a server that sends back what it gets; one that only takes; or nobody.
 */
export type Upstream = "recorded" | "echo" | "sink" | "refuse";
export const UPSTREAMS: readonly Upstream[] = ["recorded", "echo", "sink", "refuse"];

/**
 * verify: a packet whose checksum is wrong in the capture reaches the core wrong, and what a server
 * sent in such a packet does not count. ignore: checksums are made right unseen. repair: likewise,
 * and told how many.
 */
export type Checksums = "verify" | "ignore" | "repair";
export const CHECKSUMS: readonly Checksums[] = ["verify", "ignore", "repair"];

export interface Hasher {
  update(data: Uint8Array): void;
  /** Hexadecimal digits; called once. */
  digest(): string;
}

export interface ReplayOptions {
  readonly core: Core;
  readonly upstream: Upstream;
  readonly checksums: Checksums;
  /** Makes a SHA-256. */
  readonly makeHash: () => Hasher;
  /** Sees each packet that the core puts out (a view, valid during the call) at its time. */
  readonly onOutput?: (packet: Uint8Array, timeUs: number) => void;
}

/** One row of the table: a TCP connection, or the datagrams between two sockets. */
export interface FlowRow {
  readonly proto: "tcp" | "udp";
  /** The side that opened it. */
  readonly src: string;
  readonly sport: number;
  readonly dst: string;
  readonly dport: number;
  /** Packets of both directions in the capture. */
  readonly packets: number;
  /** Of the core's connection, at its end or that of the capture. */
  readonly state: string;
  readonly verdict: string;
  /** Bytes handed upstream, and bytes that upstream sent. */
  readonly client_bytes: number;
  readonly server_bytes: number;
  readonly retransmissions: number;
  /** First 16 hexadecimal digits of the SHA-256 of what was handed upstream (TCP). */
  readonly client_sha256?: string;
  /** Bytes of the server that the capture lacks: zeros were sent. */
  readonly server_filled?: number;
}

/** Counts of the capture itself, before anything is fed. */
export interface CaptureCounts {
  ipv4: number;
  ipv6: number;
  non_ip: number;
  /** Of link types that are not known. */
  unsupported: number;
  truncated: number;
  ip_fragments: number;
  bad_ip_checksum: number;
  bad_tcp_checksum: number;
  bad_udp_checksum: number;
  bad_icmp_checksum: number;
  /** Packets that were fed to the core, and those of the servers' side. */
  fed: number;
  server_side: number;
  repaired: number;
}

export interface ReplayResult {
  packets: number;
  flows: FlowRow[];
  /** Rows that were too many to be kept. */
  flows_omitted: number;
  /** The core's drop counters by reason, those that are not 0. */
  drops: Record<string, number>;
  /** Of all packets that the core put out, one after another. */
  sha256: string;
  out: { packets: number; bytes: number };
  capture: CaptureCounts;
  /** Link types that are not known, with the offset of the first such packet. */
  unsupported_links: { linktype: number; packets: number; offset: number }[];
  /** The core's other counters. */
  counters: Record<string, number>;
  /** Pools of the core that are not at their level after all is closed; empty if all is well. */
  leaks: string[];
}
