/** The version line, and writing to stdout: needs nothing of the configuration, so it is quick. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Version of the package this file belongs to. */
export function packageVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const path = join(folder, "package.json");
    if (existsSync(path)) {
      const { version } = JSON.parse(readFileSync(path, "utf8")) as { version?: unknown };
      return typeof version === "string" ? version : "unknown";
    }
    if (dirname(folder) === folder) return "unknown";
  }
}

/** `tsgost VERSION (node VERSION OS/ARCH)`. */
export function versionLine(): string {
  const { platform, arch, versions } = process;
  return `tsgost ${packageVersion()} (node ${versions.node} ${platform}/${arch})`;
}

/** Writes to stdout, with a line end. */
export function printOut(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : text + "\n");
}
