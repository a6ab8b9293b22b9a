/** Linux errno values that decide what a client is told, and that mapping (ICMP-7, ICMP-8). */
import { constants } from "node:os";
import * as abi from "../../../assembly/abi.ts";
import type { Unreachable } from "../../chain/types.ts";

export const { EADDRNOTAVAIL, EAGAIN, EINPROGRESS, EIO, EPERM, ETIMEDOUT } = constants.errno;
const { ECONNREFUSED, EMSGSIZE } = constants.errno;

const {
  EHOSTUNREACH,
  ENETUNREACH,
  EACCES,
  ENETDOWN,
  ENODEV,
  EHOSTDOWN = 112,
} = constants.errno as Record<string, number>;

/** How a SYN is turned down when connecting upstream failed with `errno`. */
export function rejectForErrno(errno: number): number {
  switch (errno) {
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ETIMEDOUT:
      return abi.REJECT_HOST_UNREACHABLE;
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case ENODEV:
      return abi.REJECT_NET_UNREACHABLE;
    case EACCES:
    case EPERM:
      return abi.REJECT_PROHIBITED;
    default:
      return abi.REJECT_RST;
  }
}

/** How a SYN is turned down when the chain says why (relay.md, divergence 3). */
export function rejectForReason(reason: Unreachable): number {
  switch (reason) {
    case "host-unreachable":
    case "timeout":
      return abi.REJECT_HOST_UNREACHABLE;
    case "network-unreachable":
      return abi.REJECT_NET_UNREACHABLE;
    case "prohibited":
      return abi.REJECT_PROHIBITED;
    default:
      return abi.REJECT_RST;
  }
}

/** The ICMP error for a datagram that upstream could not deliver; -1 = none. */
export function datagramError(errno: number): number {
  switch (errno) {
    case ECONNREFUSED:
      return abi.REJECT_PORT_UNREACHABLE;
    case EMSGSIZE:
      return abi.REJECT_TOO_BIG;
    case EHOSTUNREACH:
    case EHOSTDOWN:
      return abi.REJECT_HOST_UNREACHABLE;
    case ENETUNREACH:
    case ENETDOWN:
      return abi.REJECT_NET_UNREACHABLE;
    case EACCES:
    case EPERM:
      return abi.REJECT_PROHIBITED;
    default:
      return -1;
  }
}
