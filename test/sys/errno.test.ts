/** Errno numbers, names and words. */
import { suite } from "../kit/suite.ts";
import * as assert from "uvu/assert";
import { constants } from "node:os";
import { errnoName, errnoNumber, errnoText, systemError, systemText } from "../../src/sys/errno.ts";

const test = suite("sys/errno");

test("names and numbers map both ways, also those that libuv lacks", () => {
  assert.is(errnoName(constants.errno.ENETUNREACH), "ENETUNREACH");
  assert.is(errnoNumber("ENETUNREACH"), constants.errno.ENETUNREACH);
  assert.is(errnoName(77), "EBADFD");
  assert.is(errnoName(9999), "E9999");
  assert.is(errnoNumber("TSGOST_ERR_USAGE"), undefined);
});

test("words are the C library's", () => {
  assert.is(errnoText(constants.errno.EBUSY), "device or resource busy");
  assert.is(errnoText(77), "file descriptor in bad state");
  assert.is(errnoText(constants.errno.EXDEV), "cross-device link not permitted");
  assert.is(errnoText(9999), "system error 9999");
});

test("what was thrown becomes words, and a TsgostError with its cause", () => {
  const thrown = Object.assign(new Error("EPERM: odd, ioctl"), { code: "EPERM" });
  assert.is(systemText(thrown), "operation not permitted");
  assert.is(systemText(new Error("odd")), "odd");
  const error = systemError("TSGOST_ERR_X", "cannot do it", thrown);
  assert.is(error.message, "cannot do it: operation not permitted");
  assert.is(error.code, "TSGOST_ERR_X");
  assert.is(error.cause, thrown);
});

test.run();
