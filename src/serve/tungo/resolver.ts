/**
 * Tells systemd-resolved which DNS servers the device has (`dns=`). A system without it, or a
 * refusal, is a warning and no more: traffic is carried all the same.
 */
import { spawn } from "node:child_process";
import { messageOf } from "../../errors.ts";
import type { Logger } from "../../log.ts";

const TIMEOUT_MS = 5000;

export async function setDnsServers(
  device: string,
  servers: readonly string[],
  log: Logger,
): Promise<void> {
  try {
    await run("resolvectl", ["dns", device, ...servers]);
  } catch (error) {
    log.warn(
      `cannot set DNS servers for ${device} (resolvectl: ${messageOf(error)}); continuing, ` +
        "set them in /etc/resolv.conf or remove dns",
    );
  }
}

function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "ignore", timeout: TIMEOUT_MS });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(signal === null ? `exit code ${code ?? -1}` : `ended by ${signal}`));
    });
  });
}
