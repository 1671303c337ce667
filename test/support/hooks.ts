/** Root hooks of every file: what nobody catches fails the test in which it happens. */
export const mochaHooks: Readonly<Record<"afterEach" | "afterAll", () => void>> = {
  afterEach: throwUnhandled,
  // What came after the last test, or in a hook of its suite.
  afterAll: throwUnhandled,
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

// Half of the suites stop their Redis: what the services log of it would hide the report.
const { warn } = console;
console.warn = (...values: unknown[]): void => {
  if (!String(values[0]).startsWith("redis-sse: Redis at ")) warn(...values);
};
