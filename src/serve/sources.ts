/** What lists that keep people out have in common: without all of it, they do not start. */
import type { SourceConfig } from "../config/model.ts";
import { configError } from "../errors.ts";
import type { SourcePart } from "../sys/source-list.ts";

/** Throws a configuration error if a file or URL is missing in what was read. */
export function demandAllParts(
  parts: readonly SourcePart[],
  source: SourceConfig,
  label: string,
): void {
  const wanted = Number(source.file !== undefined) + Number(source.http !== undefined);
  if (parts.length === wanted) return;
  const { file, http, place } = source;
  const isFile = file !== undefined && !parts.some(({ origin }) => origin === file.path);
  const what = isFile ? `file ${file.path}` : http === undefined ? "a source" : "its URL";
  throw configError(place, `${label}: ${what} could not be read (the log says why)`);
}
