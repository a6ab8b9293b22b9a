/** What a check found: one line, and what to do about it. */
export interface Finding {
  readonly level: "ok" | "note" | "fail";
  readonly check: string;
  readonly text: string;
  /** What to do; absent when all is well. */
  readonly remedy?: string;
}

export function ok(check: string, text: string): Finding {
  return { level: "ok", check, text };
}

/** It works, but somebody may miss something. */
export function note(check: string, text: string, remedy: string): Finding {
  return { level: "note", check, text, remedy };
}

export function fail(check: string, text: string, remedy: string): Finding {
  return { level: "fail", check, text, remedy };
}
