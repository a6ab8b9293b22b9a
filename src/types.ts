/**
 * What the layers of the host hand each other without knowing each other: rules, names and people.
 * Implementations: bypass/ (Bypass), dns/ (Names), serve/ (Authenticator, Admission); chain/ and
 * serve/ use them.
 */

export type Network = "tcp" | "udp";

/** Why a target is bypassed. */
export interface BypassHit {
  /** Name of the bypass. */
  readonly bypass: string;
  /** Text of the rule; "" = a whitelist in which nothing matched. */
  readonly rule: string;
}

/** One bypass, or several that act together (spec: any blacklist, or all whitelists). */
export interface Bypass {
  /** undefined: not bypassed. `host` is IP text or a name. */
  match(network: Network, host: string, port: number): BypassHit | undefined;
}

/** Hosts table first, then resolver. */
export interface Names {
  /**
   * Addresses as IP text, the preferred first; never empty. undefined: nothing here is responsible
   * (an IP, no table has it and there is no resolver), the name stays as it is. Throws a
   * TsgostError when the resolver says that there is no such name, or cannot be asked.
   */
  resolve(host: string, signal: AbortSignal): Promise<readonly string[] | undefined>;
}

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export interface Authenticator {
  /** Are these right, for a client at this IP? Takes the same time for every password. */
  accepts(given: Credentials | undefined, clientIp: string): boolean;
}

export interface Admission {
  /** May this client connect at all? */
  admits(clientIp: string): boolean;
}
