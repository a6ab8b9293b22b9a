/**
 * Splits a command line into words the way GOST's hooks do (google/shlex): blanks part words, '…'
 * is literal, "…" knows \" and \\, a backslash takes the next character as it is, # at the start of
 * a word begins a comment. Nothing is expanded.
 */

/** The words; undefined if a quotation is not closed or the text ends in a backslash. */
export function splitShellWords(text: string): string[] | undefined {
  const words: string[] = [];
  let at = 0;
  while (at < text.length) {
    const first = text.charAt(at);
    if (isBlank(first)) {
      at++;
    } else if (first === "#") {
      const end = text.indexOf("\n", at);
      at = end < 0 ? text.length : end;
    } else {
      const word = readWord(text, at);
      if (word === undefined) return undefined;
      words.push(word.text);
      at = word.end;
    }
  }
  return words;
}

function isBlank(character: string): boolean {
  return character === " " || character === "\t" || character === "\r" || character === "\n";
}

interface Word {
  readonly text: string;
  readonly end: number;
}

function readWord(text: string, start: number): Word | undefined {
  let word = "";
  let at = start;
  while (at < text.length && !isBlank(text.charAt(at))) {
    const character = text.charAt(at);
    if (character === "'" || character === '"') {
      const quoted = readQuoted(text, at + 1, character);
      if (quoted === undefined) return undefined;
      word += quoted.text;
      at = quoted.end;
    } else if (character === "\\") {
      if (at + 1 >= text.length) return undefined;
      word += text.charAt(at + 1);
      at += 2;
    } else {
      word += character;
      at++;
    }
  }
  return { text: word, end: at };
}

/** From behind the opening quotation mark to behind the closing one. */
function readQuoted(text: string, start: number, mark: string): Word | undefined {
  let word = "";
  for (let at = start; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === mark) return { text: word, end: at + 1 };
    if (character === "\\" && mark === '"' && at + 1 < text.length) at++;
    word += text.charAt(at);
  }
  return undefined;
}
