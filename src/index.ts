/**
 * The library: run services from a configuration, as the command line does, or take the stack alone
 * (`tsgost/stack`, which needs no Node).
 *
 *     import { run } from "tsgost";
 *     const controller = new AbortController();
 *     await run(config, { dryRun: false, signal: controller.signal });
 */
export { run, type RunOptions } from "./app.ts";
export type * from "./config/model.ts";
export { TsgostError } from "./errors.ts";
export {
  Stack,
  StackFlow,
  type CloseReason,
  type RejectHow,
  type StackDatagram,
  type StackHandler,
  type StackOptions,
} from "./stack.ts";
