/**
 * What systemd is told of this process (sd_notify(3)): that it is ready, reads its configuration
 * again, stops; and that it lives, at half the period of its watchdog. Without NOTIFY_SOCKET
 * nothing happens; a manager that cannot be reached is a warning once and never stops a service.
 */
import { messageOf } from "../errors.ts";
import { ONCE_PER_MS, type Logger } from "../log.ts";
import type { Native } from "./native.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export class ServiceManager {
  readonly #native: () => Pick<Native, "unixSend">;
  readonly #log: Logger;
  readonly #socket: string;
  readonly #watchdogMs: number;
  #watchdog: NodeJS.Timeout | undefined;

  /** `native` is asked for only when there is a manager. */
  constructor(native: () => Pick<Native, "unixSend">, log: Logger, environment: Environment) {
    this.#native = native;
    this.#log = log;
    const socket = environment["NOTIFY_SOCKET"] ?? "";
    this.#socket = /^[@/]/.test(socket) ? socket : "";
    this.#watchdogMs = watchdogMs(environment);
  }

  ready(status: string): void {
    this.#send(`READY=1\nMAINPID=${process.pid}\nSTATUS=${oneLine(status)}`);
    if (this.#socket === "" || this.#watchdogMs <= 0 || this.#watchdog !== undefined) return;
    this.#watchdog = setInterval(() => this.#send("WATCHDOG=1"), this.#watchdogMs / 2);
    this.#watchdog.unref();
  }

  /** To be followed by `ready`. */
  reloading(): void {
    const usec = process.hrtime.bigint() / 1000n;
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${usec}`);
  }

  stopping(): void {
    clearInterval(this.#watchdog);
    this.#watchdog = undefined;
    this.#send("STOPPING=1");
  }

  #send(text: string): void {
    if (this.#socket === "") return;
    try {
      this.#native().unixSend(this.#socket, Buffer.from(text, "utf8"));
    } catch (error) {
      this.#log.once("service manager", ONCE_PER_MS, {
        message: `the service manager at ${this.#socket} was not told: ${messageOf(error)}`,
      });
    }
  }
}

/** WATCHDOG_USEC counts only for the process it names. */
function watchdogMs(environment: Environment): number {
  const pid = environment["WATCHDOG_PID"] ?? "";
  if (pid !== "" && pid !== String(process.pid)) return 0;
  const usec = Number(environment["WATCHDOG_USEC"] ?? "0");
  return Number.isSafeInteger(usec) && usec >= 2000 && usec < 2 ** 40 ? usec / 1000 : 0;
}

function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, " ").slice(0, 512);
}
