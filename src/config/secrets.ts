/**
 * Users and passwords that are not written in the configuration: a file with lines
 * `user [password]` (a client presents the first, a server admits all), or a variable TSGOST_AUTH_…
 * with `user[:password]`. Argv and configuration files are seen by more people than these.
 */
import { readFileSync, statSync } from "node:fs";
import { codeOf, configError, messageOf } from "../errors.ts";
import type { Auth, Place } from "./model.ts";

export const AUTH_VARIABLE_PREFIX = "TSGOST_AUTH_";

const FILE_BYTES_MAX = 10 * 1024 * 1024;
const USERS_MAX = 100_000;

export interface Resolved {
  /** At least one. */
  readonly auths: readonly Auth[];
  readonly warning?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Users with their passwords in place; throws TsgostError (exit code 2). */
export function resolveAuths(auth: Auth, place: Place, environment: Environment): Resolved {
  if (auth.env !== undefined) {
    return { auths: [fromEnvironment(auth.env, place, environment)] };
  }
  return auth.file === undefined ? { auths: [auth] } : fromFile(auth, auth.file, place);
}

function fromEnvironment(name: string, place: Place, environment: Environment): Auth {
  const word = name.toUpperCase().replace(/[^A-Z0-9]/g, "_");
  const variable = word.startsWith(AUTH_VARIABLE_PREFIX) ? word : AUTH_VARIABLE_PREFIX + word;
  const value = environment[variable] ?? "";
  if (value === "") {
    throw configError(place, `authEnv: the variable ${variable} is not set (user:password)`);
  }
  const colon = value.indexOf(":");
  if (colon < 0) return { username: value, password: "" };
  return { username: value.slice(0, colon), password: value.slice(colon + 1) };
}

/** What the configuration says beside the file is one user more, the first. */
function fromFile(auth: Auth, path: string, place: Place): Resolved {
  const lines = readBounded(path, place).split(/\r?\n/);
  const users = lines.filter((line) => /^\s*[^\s#]/.test(line)).map(userOf);
  if (users.length > USERS_MAX) {
    throw configError(place, `authFile: ${path} has more than ${USERS_MAX} users`);
  }
  const own = auth.username === "" ? [] : [{ username: auth.username, password: auth.password }];
  const auths = [...own, ...users];
  if (auths.length === 0) {
    throw configError(place, `authFile: ${path} has no line "user password"`);
  }
  if (!isOpen(path)) return { auths };
  return { auths, warning: `authFile: ${path} can be read by everybody; chmod 600 it` };
}

function userOf(line: string): Auth {
  const match = /^\s*(\S+)\s*(.*?)\s*$/.exec(line);
  return { username: match?.[1] ?? "", password: match?.[2] ?? "" };
}

function readBounded(path: string, place: Place): string {
  try {
    if (statSync(path).size > FILE_BYTES_MAX) {
      throw configError(place, `authFile: ${path} is larger than ${FILE_BYTES_MAX} bytes`);
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "TSGOST_ERR_CONFIG") throw error;
    const why = codeOf(error) === "ENOENT" ? "no such file" : messageOf(error);
    throw configError(place, `authFile: ${path}: ${why}`, error);
  }
}

function isOpen(path: string): boolean {
  if (process.platform === "win32") return false;
  return (statSync(path).mode & 0o004) !== 0;
}
