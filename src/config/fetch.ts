/** Fetches the sources (-C) that are URLs, before load.ts reads them: bounded in time and size. */
import { TsgostError, codeOf, configError, messageOf } from "../errors.ts";
import { maskUrl } from "./mask.ts";
import type { SourceTexts } from "./source.ts";

const TIMEOUT_MS = 30_000;
const BYTES_MAX = 10 * 1024 * 1024;

/** The texts of all http:// and https:// sources; throws TsgostError (exit code 1 or 2). */
export async function fetchSources(
  sources: readonly string[],
  timeoutMs = TIMEOUT_MS,
): Promise<SourceTexts> {
  const texts = new Map<string, string>();
  for (const source of new Set(sources)) {
    if (/^https?:\/\//.test(source)) texts.set(source, await fetchText(source, timeoutMs));
  }
  return texts;
}

async function fetchText(source: string, timeoutMs: number): Promise<string> {
  const place = `-C ${maskUrl(source)}`;
  if (!URL.canParse(source)) throw configError(place, "is no URL");
  const url = new URL(source);
  const user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const headers: Record<string, string> =
    user === ":" ? {} : { Authorization: `Basic ${Buffer.from(user).toString("base64")}` };
  url.username = "";
  url.password = "";
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(timeoutMs) });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw failure(place, `the server answered ${response.status}`);
    }
    return await readBounded(response, place);
  } catch (error) {
    if (error instanceof TsgostError) throw error;
    const late = error instanceof Error && error.name === "TimeoutError";
    const why = late ? `no answer within ${timeoutMs / 1000} s` : reasonOf(error);
    throw failure(place, why, error);
  }
}

function failure(place: string, why: string, cause?: unknown): TsgostError {
  return new TsgostError("TSGOST_ERR_CONFIG", `${place}: ${why}`, { cause, place });
}

/** undici hides the system's error behind "fetch failed". */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return codeOf(cause) || messageOf(cause ?? error);
}

async function readBounded(response: Response, place: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    const part = chunk as Uint8Array;
    bytes += part.byteLength;
    if (bytes > BYTES_MAX) throw configError(place, `is larger than ${BYTES_MAX} bytes`);
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString("utf8");
}
