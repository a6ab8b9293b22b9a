/**
 * Who may use a service: the handler's own users and those of its authers (any of them will do),
 * and clients whose address needs none (`skipauth`). Comparison takes the same time for every
 * password.
 *
 * Unlike GOST: a user without a password needs `auth.anyPassword=true`, or is refused; an auther
 * whose file or URL cannot be read at the start is an error. Later, its previous users stay.
 *
 * A wrong password costs two hashes and no more: nothing is delayed or queued, and it is logged at
 * most once a minute for a client.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { metaBool, metaList } from "../config/metadata.ts";
import type { Auth, AutherConfig, ServiceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { SourceList, type SourcePart } from "../sys/source-list.ts";
import type { Authenticator, Credentials } from "../types.ts";
import { FailedLogins } from "./failed-logins.ts";
import { IpSet } from "./ip-set.ts";
import { demandAllParts } from "./sources.ts";

const USERS_MAX = 1_000_000;
const LINE_BYTES_MAX = 4096;
const REMEDY = "give one, or allow every password with auth.anyPassword=true";

/** Users and their passwords. */
class Users {
  readonly #passwords = new Map<string, string>();
  /** A user without a password, if there is one. */
  bare: string | undefined;

  add(username: string, password: string): void {
    if (username === "") return;
    this.#passwords.set(username, password);
    if (password === "") this.bare ??= username;
  }

  get size(): number {
    return this.#passwords.size;
  }

  accepts({ username, password }: Credentials, anyPassword: boolean): boolean {
    const stored = this.#passwords.get(username);
    const isSame = equal(password, stored ?? "");
    if (stored === undefined) return false;
    return stored === "" ? anyPassword : isSame;
  }
}

function equal(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}

export interface AutherDeps {
  readonly log: Logger;
}

/** An auther of the configuration with its file or URL; services share it. */
export class Auther {
  readonly #config: AutherConfig;
  readonly #deps: AutherDeps;
  readonly #list: SourceList<Users>;
  #users: Users;
  #hasStarted = false;

  constructor(config: AutherConfig, deps: AutherDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#users = usersOf(config.auths);
    this.#list = new SourceList({
      label: `auther ${config.name}`,
      source: config.source,
      log: deps.log,
      parse: (parts) => this.#parse(parts),
      onUpdate: (users) => this.#take(users),
    });
  }

  get name(): string {
    return this.#config.name;
  }

  /** A user without a password, if there is one. */
  get bareUser(): string | undefined {
    return this.#users.bare;
  }

  /** Reads the sources; throws a configuration error if one cannot be read. */
  async start(): Promise<void> {
    if (!this.#list.isEmpty) await this.#list.start();
    this.#hasStarted = true;
  }

  /** False if a source could not be read. */
  reload(): Promise<boolean> {
    return this.#list.isEmpty ? Promise.resolve(true) : this.#list.reload();
  }

  accepts(given: Credentials, anyPassword: boolean): boolean {
    return this.#users.accepts(given, anyPassword);
  }

  close(): void {
    this.#list.close();
  }

  #parse(parts: readonly SourcePart[]): Users {
    const { name, source, auths } = this.#config;
    if (!this.#hasStarted) demandAllParts(parts, source, `auther ${name}`);
    const users = usersOf(auths);
    for (const part of parts) addLines(users, part);
    return users;
  }

  #take(users: Users): void {
    this.#users = users;
    if (!this.#hasStarted || users.bare === undefined) return;
    const { name } = this.#config;
    const who = JSON.stringify(users.bare);
    this.#deps.log.warn(`auther ${name}: the user ${who} has no password: ${REMEDY}`);
  }
}

function usersOf(auths: readonly Auth[]): Users {
  const users = new Users();
  for (const { username, password } of auths) users.add(username, password);
  return users;
}

/** Lines `user [password]`; only in the first column, `#` starts a comment: passwords have it. */
function addLines(users: Users, { origin, bytes }: SourcePart): void {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  let number = 0;
  for (let from = 0; from < text.length;) {
    const newline = text.indexOf("\n", from);
    const end = newline < 0 ? text.length : newline;
    number++;
    if (end - from > LINE_BYTES_MAX) {
      throw configError(`${origin}:${number}`, `the line has more than ${LINE_BYTES_MAX} bytes`);
    }
    const line = text.slice(from, end);
    const match = line.startsWith("#") ? null : /^\s*(\S+)\s*(.*?)\s*$/.exec(line);
    if (match !== null) users.add(match[1] ?? "", match[2] ?? "");
    if (users.size > USERS_MAX) {
      throw configError(`${origin}:${number}`, `more than ${USERS_MAX} users`);
    }
    from = end + 1;
  }
}

export interface AuthenticatorDeps {
  readonly log: Logger;
  /** Milliseconds of a clock that only goes forward; the default is performance.now. */
  readonly nowMs?: () => number;
}

/**
 * undefined: everybody may, for neither a user nor an auther is configured. `handler.auths` has the
 * handler's own users; `authers`, which have started, are those that it names. Throws a
 * configuration error.
 */
export function authenticatorOf(
  service: ServiceConfig,
  authers: readonly Auther[],
  deps: AuthenticatorDeps,
): Authenticator | undefined {
  const { handler, place } = service;
  const own = handler.auths ?? (handler.auth === undefined ? undefined : [handler.auth]);
  if (own === undefined && authers.length === 0) return undefined;
  const anyPassword = metaBool(handler.metadata, "auth.anyPassword", false);
  const users = usersOf(own ?? []);
  for (const bare of [users.bare, ...authers.map(({ bareUser }) => bareUser)]) {
    if (bare === undefined || anyPassword) continue;
    throw configError(place, `user ${JSON.stringify(bare)} has no password: ${REMEDY}`);
  }
  const free = new IpSet();
  for (const entry of metaList(handler.metadata, "skipauth")) {
    if (free.add(entry)) continue;
    throw configError(place, `skipauth: ${JSON.stringify(entry)} is no address or network`);
  }
  const failed = new FailedLogins(deps.log, deps.nowMs ?? (() => performance.now()));
  return {
    accepts: (given, clientIp) => {
      if (!free.isEmpty && free.has(clientIp)) return true;
      // Not yet given, as in the first request of an HTTP client, is no failure worth a line.
      if (given === undefined) return false;
      const answers = [users, ...authers].map((one) => one.accepts(given, anyPassword));
      const isAccepted = answers.includes(true);
      if (!isAccepted) failed.note(clientIp);
      return isAccepted;
    },
  };
}
