/**
 * The ways out of this machine that a service's `interface` lists (chain-and-bypass.md §7), in
 * order: devices that sockets are bound to, and local addresses. A dial that fails by one goes on
 * with the next; `!` behind an entry ends the list there.
 */
import { interfacesOf } from "../../config/interfaces.ts";
import type { SocketOptions } from "../../sys/native.ts";

export interface Out {
  /** Of every socket that leaves this way. */
  readonly options: SocketOptions;
  /** Bound to a device: such sockets cannot come back through our own. */
  readonly isBound: boolean;
  /** Of the local address; 0: it serves both. */
  readonly family: 0 | 4 | 6;
}

/** At least one; without a list the system chooses. */
export function outsOf(list: string | undefined, mark: number | undefined): readonly Out[] {
  const marked = mark === undefined ? {} : { mark };
  const entries = interfacesOf(list === undefined ? {} : { interface: list });
  if (entries.length === 0) return [{ options: marked, isBound: false, family: 0 }];
  const strict = entries.findIndex((entry) => entry.strict);
  const upTo = strict < 0 ? entries : entries.slice(0, strict + 1);
  return upTo.map(({ name, ip }): Out => {
    if (ip === undefined) {
      const device = name === undefined ? {} : { device: name };
      return { options: { ...marked, ...device }, isBound: name !== undefined, family: 0 };
    }
    const localAddress = ip.bytes.subarray(0, ip.family === 4 ? 4 : 16);
    return { options: { ...marked, localAddress }, isBound: false, family: ip.family };
  });
}
