/** What the handler `http` says itself: GOST's bytes, and the cause of failed dials (RFC 9209). */
import type { Unreachable } from "../chain/types.ts";
import { type HttpField, encodeHead } from "../proto/http1.ts";

/** Answers with a status and closes. */
export class HttpRefusal extends Error {
  readonly reply: Buffer;

  constructor(message: string, reply: Buffer) {
    super(message);
    this.reply = reply;
  }
}

const TEXTS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  508: "Loop Detected",
};

export function encodeStatus(status: number, fields: readonly HttpField[]): Buffer {
  return encodeHead(`HTTP/1.1 ${status} ${TEXTS[status] ?? "Status"}`, fields);
}

export const CLOSE: HttpField = { name: "Connection", value: "close" };
export const EMPTY: HttpField = { name: "Content-Length", value: "0" };

const ERROR_OF: Readonly<Partial<Record<Unreachable, string>>> = {
  refused: "connection_refused",
  "host-unreachable": "destination_unavailable",
  "network-unreachable": "destination_ip_unroutable",
  timeout: "connection_timeout",
};

/** The cause of a failed dial, where there is a word for it. */
export function causeFields(reason: Unreachable): HttpField[] {
  const error = ERROR_OF[reason];
  if (error === undefined) return [];
  return [{ name: "Proxy-Status", value: `tsgost; error=${error}` }];
}

export function statusOf(reason: Unreachable): number {
  if (reason === "prohibited") return 403;
  return reason === "timeout" ? 504 : 503;
}

export function badRequest(message: string): HttpRefusal {
  return new HttpRefusal(message, encodeStatus(400, [CLOSE]));
}
