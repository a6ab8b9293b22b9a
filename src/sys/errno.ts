/**
 * Errno numbers as names and words. The words are the C library's, in lower case, because that is
 * what people search for (libuv has its own); system errors of the addon and of Node become
 * TsgostError here.
 */
import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { TsgostError, codeOf, messageOf } from "../errors.ts";

const NUMBERS: Readonly<Record<string, number>> = { ...constants.errno, EBADFD: 77 };

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(NUMBERS).map(([name, number]) => [number, name]),
);

const WORDS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  EAGAIN: "resource temporarily unavailable",
  EBADF: "bad file descriptor",
  EBADFD: "file descriptor in bad state",
  EBUSY: "device or resource busy",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  EEXIST: "file exists",
  EHOSTUNREACH: "no route to host",
  EINVAL: "invalid argument",
  EMFILE: "too many open files",
  EMSGSIZE: "message too long",
  ENAMETOOLONG: "file name too long",
  ENETDOWN: "network is down",
  ENETUNREACH: "network is unreachable",
  ENOBUFS: "no buffer space available",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOMEM: "cannot allocate memory",
  ENXIO: "no such device or address",
  EOPNOTSUPP: "operation not supported",
  EPERM: "operation not permitted",
  EPIPE: "broken pipe",
  ESRCH: "no such process",
  ETIMEDOUT: "connection timed out",
};

/** Name of a positive errno: `ENOENT`, or `E123` for one that nobody knows. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/** Positive number of a name; undefined if there is none here. */
export function errnoNumber(name: string): number | undefined {
  return NUMBERS[name];
}

/** Words for a positive errno: `network is unreachable`. */
export function errnoText(errno: number): string {
  const name = errnoName(errno);
  return WORDS[name] ?? getSystemErrorMap().get(-errno)?.[1] ?? `system error ${errno}`;
}

/** Words for what the addon or Node threw: of its errno if it has one, else its message. */
export function systemText(error: unknown): string {
  const errno = errnoNumber(codeOf(error));
  return errno === undefined ? messageOf(error) : errnoText(errno);
}

/** `what: words` as a TsgostError, with the system's error as its cause. */
export function systemError(code: string, what: string, cause: unknown): TsgostError {
  return new TsgostError(code, `${what}: ${systemText(cause)}`, { cause });
}
