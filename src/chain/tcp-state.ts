/**
 * Was a TCP connection reset? libuv reports a RST that comes together with data as the end of the
 * stream, and an abort must not pass for one. The kernel knows no peer of a reset connection any
 * more; as long as this side has not ended, that tells the two apart.
 */
import type { Socket } from "node:net";

interface WithHandle {
  readonly _handle?: { getpeername?(out: object): number } | null;
}

/** Only meaningful before this side's end was sent. A test holds Node to the handle's function. */
export function wasReset(socket: Socket): boolean {
  const handle = (socket as WithHandle)._handle;
  if (handle?.getpeername === undefined) return false;
  return handle.getpeername({}) !== 0;
}
