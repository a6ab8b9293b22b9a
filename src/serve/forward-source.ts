/** Whether a datagram is the target's: nobody else's may reach the client. */
import { isIP } from "node:net";
import type { Endpoint } from "../chain/types.ts";
import { ipBytes, ipText } from "../proto/address.ts";

/**
 * The address counts where the target is one; behind a name there may be any, so the port must do.
 * The unspecified address stands for this machine.
 */
export function isFrom(source: Endpoint, target: Endpoint): boolean {
  if (target.port === 0) return true;
  if (source.port !== target.port) return false;
  if (isIP(target.host) === 0 || isIP(source.host) === 0) return true;
  const wanted = plain(target.host);
  return wanted === "0.0.0.0" || wanted === "::" || plain(source.host) === wanted;
}

function plain(host: string): string {
  const bytes = ipBytes(host);
  return bytes === undefined ? host : ipText(bytes);
}
