/** Command lines of hooks: split as google/shlex does. */
import * as assert from "uvu/assert";
import { splitShellWords } from "../../src/config/shell-words.ts";
import { suite } from "../kit/suite.ts";

const test = suite("config/shell-words");

test("blanks part words, quotations keep them together", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["", []],
    [" \t\n ", []],
    ["ip route  add\tdefault", ["ip", "route", "add", "default"]],
    ["sh -c 'echo \"$HOME\" > x'", ["sh", "-c", 'echo "$HOME" > x']],
    ['a"b c"d', ["ab cd"]],
    ['"a \\" \\\\ b"', ['a " \\ b']],
    ["'a \\ b'", ["a \\ b"]],
    ["a\\ b", ["a b"]],
    ["''", [""]],
    ["echo one # two", ["echo", "one"]],
    ["echo #one\ntwo", ["echo", "two"]],
    ["a#b", ["a#b"]],
    ["echo $HOME > file | cat", ["echo", "$HOME", ">", "file", "|", "cat"]],
  ];
  for (const [text, words] of cases) assert.equal(splitShellWords(text), words, text);
});

test("what is not closed is no command line", () => {
  for (const text of ["'a", '"a', 'a "b \\"', "a\\"]) {
    assert.is(splitShellWords(text), undefined, text);
  }
});

test.run();
