/** Root hooks of every run: what nobody catches fails the test in which it happens. */
export const mochaHooks = {
  beforeEach(): void {
    unhandled.length = 0;
  },
  afterEach(): void {
    if (unhandled.length > 0) throw unhandled[0];
  },
};

const unhandled: unknown[] = [];

process.on("unhandledRejection", (reason) => unhandled.push(reason));
// Listeners that are added and never taken away.
process.on("warning", (warning) => {
  if (warning.name === "MaxListenersExceededWarning") unhandled.push(warning);
});
