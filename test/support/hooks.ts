/** Root hooks of all test files: an uncaught error fails the current test. */
export const mochaHooks: Readonly<Record<"afterEach" | "afterAll", () => void>> = {
  afterEach: throwUnhandled,
  // Errors after the last test, or in a hook of its suite.
  afterAll: throwUnhandled,
};

const unhandled: unknown[] = [];

function throwUnhandled(): void {
  const [first] = unhandled.splice(0);
  if (first !== undefined) throw first;
}

process.on("unhandledRejection", (reason) => unhandled.push(reason));
// Detects listeners that are added and never removed.
process.on("warning", (warning) => {
  if (warning.name === "MaxListenersExceededWarning") unhandled.push(warning);
});

// Many suites stop their Redis. The log lines of the services would hide the test report.
const { warn } = console;
console.warn = (...values: unknown[]): void => {
  if (!String(values[0]).startsWith("redis-sse: Redis at ")) warn(...values);
};
