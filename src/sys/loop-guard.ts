/**
 * Keeps tsgost's own sockets out of its own devices: asks the kernel which way a packet would take
 * (RTM_GETROUTE, with the socket's mark), and whether that is one of ours. Sockets that are bound
 * to a device need no look.
 */
import { TsgostError } from "../errors.ts";
import type { Native } from "./native.ts";
import { Netlink } from "./netlink.ts";

export class LoopGuard {
  readonly #netlink: Netlink;
  /** Indices of our devices in this network namespace, with their names. */
  readonly #devices = new Map<number, string>();

  constructor(native: Native) {
    this.#netlink = new Netlink(native);
  }

  add(index: number, name: string): void {
    if (index > 0) this.#devices.set(index, name);
  }

  /** The device is gone, or in another namespace. */
  remove(index: number): void {
    this.#devices.delete(index);
  }

  /**
   * The device of ours that a packet to `address` (4 or 16 bytes) would enter, or undefined; `from`
   * is the address that its socket is bound to.
   */
  deviceTo(address: Uint8Array, mark?: number, from?: Uint8Array): string | undefined {
    if (this.#devices.size === 0) return undefined;
    try {
      const answer = this.#netlink.routeTo({
        dst: addressOf(address),
        ...(from === undefined ? {} : { src: addressOf(from) }),
        ...(mark === undefined ? {} : { mark }),
      });
      return this.#devices.get(answer.device);
    } catch (error) {
      // No way at all: connecting will say so, and say why.
      if (error instanceof TsgostError) return undefined;
      throw error;
    }
  }
}

function addressOf(bytes: Uint8Array): { family: 4 | 6; bytes: Uint8Array } {
  return { family: bytes.length === 4 ? 4 : 6, bytes };
}
