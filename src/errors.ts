/**
 * The one error type of the host. `code` is stable and documented (`TSGOST_ERR_…`); `exitCode` is
 * what the command line ends with: 2 argv and configuration, 1 the system, 70 our own defect.
 */

export const EXIT_OK = 0;
export const EXIT_SYSTEM = 1;
export const EXIT_USAGE = 2;
export const EXIT_DEFECT = 70;

export interface ErrorDetails {
  readonly cause?: unknown;
  /** Default: 1, the system. */
  readonly exitCode?: number;
  /** The option or `file:line:column` that the message begins with. */
  readonly place?: string;
}

export class TsgostError extends Error {
  readonly code: string;
  readonly exitCode: number;
  readonly place: string;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "TsgostError";
    this.code = code;
    this.exitCode = details.exitCode ?? EXIT_SYSTEM;
    this.place = details.place ?? "";
  }
}

/** A mistake of argv (exit code 2): name the option, the value and the remedy. */
export function usageError(message: string): TsgostError {
  return new TsgostError("TSGOST_ERR_USAGE", message, { exitCode: EXIT_USAGE });
}

/** The place of what a sub-command's options made: messages name the option themselves. */
export const OPTIONS_PLACE = "--";

/** A mistake of the configuration (exit code 2); `place` is the option or `file:line:column`. */
export function configError(place: string, message: string, cause?: unknown): TsgostError {
  const text = place === "" || place === OPTIONS_PLACE ? message : `${place}: ${message}`;
  return new TsgostError("TSGOST_ERR_CONFIG", text, {
    exitCode: EXIT_USAGE,
    place,
    cause,
  });
}

/** An invariant broke (exit code 70). */
export function defect(message: string, cause?: unknown): TsgostError {
  return new TsgostError("TSGOST_ERR_DEFECT", message, { exitCode: EXIT_DEFECT, cause });
}

/** The text of whatever was thrown, for one line of a log; never throws, never empty. */
export function messageOf(error: unknown): string {
  try {
    if (error instanceof AggregateError && error.message === "" && error.errors.length > 0) {
      return messageOf(error.errors[0]);
    }
    if (error instanceof Error) {
      if (error.message !== "") return oneLine(error.message);
      const code = codeOf(error);
      return code === "" ? error.name : code;
    }
    const text = oneLine(String(error));
    return text === "" ? "unknown error" : text;
  } catch {
    return "unknown error";
  }
}

/** `code` of a system error or TsgostError, "" where there is none. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : "";
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

function oneLine(text: string): string {
  return text.replace(CONTROL, " ").trim();
}
