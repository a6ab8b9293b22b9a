/** What the near program serves an application. */
import { freePort } from "./peer.ts";
import type { Targets } from "./targets.ts";

/** Ports on 127.0.0.1. */
export interface Doors {
  readonly socks: number;
  readonly http: number;
  readonly tcp: number;
  readonly udp: number;
}

export async function openDoors(): Promise<Doors> {
  return {
    socks: await freePort(),
    http: await freePort(),
    tcp: await freePort(),
    udp: await freePort(),
  };
}

/** Services of GOST's command line. */
export function doorArgs(doors: Doors, targets: Targets): string[] {
  return [
    ...["-L", `http://127.0.0.1:${doors.http}`],
    ...["-L", `tcp://127.0.0.1:${doors.tcp}/127.0.0.1:${targets.echo}`],
    ...["-L", `udp://127.0.0.1:${doors.udp}/127.0.0.1:${targets.udp}?keepalive=true`],
    ...["-L", `socks5://127.0.0.1:${doors.socks}?udp=true&notls=true`],
  ];
}
