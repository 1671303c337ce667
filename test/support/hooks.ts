import { eventually, settle } from "./eventually.js";
import { countResources, expectNoMoreResources } from "./resources.js";

let before: Readonly<Record<string, number>> = {};

/**
 * Root hooks of every file (they run side by side, in processes that mocha ends): what nobody catches fails the
 * test in which it happens, and a socket or timer that nobody ends fails the file.
 */
export const mochaHooks: Readonly<Record<string, () => void | Promise<void>>> = {
  async beforeAll() {
    await settle(); // mocha's own timer of this hook is one of them, as it is below
    before = countResources();
  },
  afterEach: throwUnhandled,
  async afterAll() {
    // What came after the last test, or in a hook of its suite.
    throwUnhandled();
    // ioredis' own commands on a connection that was refused leave a timer of 5 s.
    await eventually(() => expectNoMoreResources(before, "left by this file"), 12_000);
  },
};

const unhandled: unknown[] = [];

function throwUnhandled(): void {
  const [first] = unhandled.splice(0);
  if (first !== undefined) throw first;
}

process.on("unhandledRejection", (reason) => unhandled.push(reason));
// Listeners that are added and never taken away.
process.on("warning", (warning) => {
  if (warning.name === "MaxListenersExceededWarning") unhandled.push(warning);
});
