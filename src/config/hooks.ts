/**
 * Hook commands of a service: lists in its metadata, as GOST has them, and beyond it also on the
 * command line (`postUp=…`, repeatable). `hooks.shell` and `hooks.timeout` are ours.
 */
import { MetadataReader } from "./metadata.ts";
import type { Metadata, ServiceConfig } from "./model.ts";

export interface HookCommands {
  readonly preUp: readonly string[];
  readonly postUp: readonly string[];
  readonly preDown: readonly string[];
  readonly postDown: readonly string[];
  /** Give each command to /bin/sh -c. */
  readonly shell: boolean;
  /** Of one command. */
  readonly timeoutMs: number;
}

export const HOOK_KEYS = [
  "preUp",
  "postUp",
  "preDown",
  "postDown",
  "hooks.shell",
  "hooks.timeout",
] as const;

const TIMEOUT_MS = 30_000;
const TIMEOUT_MS_MAX = 600_000;

/** Throws TsgostError (exit code 2) for values that are none. */
export function hooksOf(service: ServiceConfig): HookCommands {
  const metadata: Metadata = {
    ...service.handler.metadata,
    ...service.listener.metadata,
    ...service.metadata,
  };
  const reader = new MetadataReader(metadata, service.place);
  return {
    preUp: commandsOf(reader, "preUp"),
    postUp: commandsOf(reader, "postUp"),
    preDown: commandsOf(reader, "preDown"),
    postDown: commandsOf(reader, "postDown"),
    shell: reader.bool("hooks.shell") ?? false,
    timeoutMs: reader.durationMs("hooks.timeout", { min: 1, max: TIMEOUT_MS_MAX }) ?? TIMEOUT_MS,
  };
}

/** A list of commands, or one command: commas are part of it. */
function commandsOf(reader: MetadataReader, key: string): readonly string[] {
  const value = reader.find(key)?.value;
  if (typeof value === "string") return value === "" ? [] : [value];
  return reader.list(key) ?? [];
}
