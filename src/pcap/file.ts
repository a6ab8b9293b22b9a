/** Files as sources of captures. Read synchronously and forwards only, so that pipes do as well. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { TsgostError, codeOf } from "../errors.ts";
import type { ByteSource } from "./window.ts";

export interface FileSource extends ByteSource {
  close(): void;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "no permission to read it",
  EISDIR: "it is a folder",
};

function cannotRead(file: string, cause: unknown): TsgostError {
  const code = codeOf(cause);
  const why = REASONS[code] ?? code;
  return new TsgostError("TSGOST_ERR_PCAP", `cannot read ${file}: ${why}`, { cause });
}

/** Throws TSGOST_ERR_PCAP if the file cannot be read. */
export function openCapture(file: string): FileSource {
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (cause) {
    throw cannotRead(file, cause);
  }
  if (fstatSync(fd).isDirectory()) {
    closeSync(fd);
    throw new TsgostError("TSGOST_ERR_PCAP", `cannot read ${file}: ${REASONS["EISDIR"] ?? ""}`);
  }
  return {
    name: file,
    read(into: Uint8Array): number {
      try {
        return readSync(fd, into, 0, into.length, null);
      } catch (cause) {
        throw cannotRead(file, cause);
      }
    },
    close(): void {
      closeSync(fd);
    },
  };
}
