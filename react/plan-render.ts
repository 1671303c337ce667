/** The parts of a browser that decide when to render. Absent in Node.js. */
interface Browser {
  readonly document?: { readonly visibilityState: string };
  requestAnimationFrame?(callback: () => void): number;
  cancelAnimationFrame?(id: number): void;
}

const browser = globalThis as Browser;

/** Calls `render` in the next animation frame. Returns a function that prevents the call. */
export function planRender(render: () => void): () => void {
  // A hidden page gets no frames.
  if (browser.requestAnimationFrame === undefined || browser.document?.visibilityState === "hidden") {
    const timer = setTimeout(render, 0);
    return () => clearTimeout(timer);
  }
  const frame = browser.requestAnimationFrame(render);
  return () => browser.cancelAnimationFrame?.(frame);
}
